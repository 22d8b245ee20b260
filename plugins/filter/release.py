# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""Filters of role release: sentences about a release, put together in Python."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import ansible.module_utils

# Ansible ships our module_utils to hosts, but does not put them where its own process finds them.
_OURS = str(Path(__file__).resolve().parents[2] / "module_utils")
if _OURS not in ansible.module_utils.__path__:
    ansible.module_utils.__path__.append(_OURS)

from ansible.module_utils.slipway.release.back import trouble
from ansible.module_utils.slipway.release.words import ending, lost, reason


def release_reason(hostvars: Mapping[str, Any], hosts: Iterable[str], phase: str) -> str:
    """Return why a release is taken back: `hostvars | release_reason(ansible_play_hosts_all, slipway_phase)`."""
    return str(reason(phase, {host: hostvars[host].get("release_failure") for host in hosts}))


def release_edge_trouble(
    hostvars: Mapping[str, Any],
    edges: Iterable[str],
    hosts: Iterable[str],
    release: Mapping[str, Any],
    phase: str,
) -> str:
    """Return why not every edge is back.

    `hostvars | release_edge_trouble(groups.edge, ansible_play_hosts_all, release_this, phase)`.
    In a rescue each host that got there has noted its failure (`release_failure`, empty where it only stopped with the
    others). Of one that has not, nothing is known now, whatever was seen of it earlier in the run.
    """
    noted = {host for host in hosts if "release_failure" in hostvars[host]}
    turned = {
        host: hostvars[host].get("release_edge") if not noted or host in noted else None for host in edges
    }
    had_traffic = phase not in release["before_traffic"]
    return str(trouble(release["previous_colour"], release["colour"], turned, had_traffic))


def release_lost(hostvars: Mapping[str, Any], hosts: Iterable[str], release: Mapping[str, Any]) -> str:
    """Return who has the system now: `hostvars | release_lost(ansible_play_hosts_all, release_this)`; empty where it is ours."""
    seen = [(hostvars[host].get("release_seen") or {}).get("lost") for host in hosts]
    return next((lost(release, holder) for holder in seen if holder), "")


class FilterModule:
    """What Jinja finds here."""

    def filters(self) -> dict[str, Callable[..., str]]:
        """Return the filters by name."""
        return {
            "release_reason": release_reason,
            "release_ending": ending,
            "release_edge_trouble": release_edge_trouble,
            "release_lost": release_lost,
        }
