# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""Who has the ports that a system wants on a host: its own containers may, nobody else."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from ..release.records import Releases, live

# What `published` reads: a container's system, its name, and its ports as `docker ps` writes them.
FORMAT = '{{.Label "slipway.system"}}\t{{.Names}}\t{{.Ports}}'
# Not what is bound to the loopback: a system's ports are on the host's private address.
_PUBLISHED = re.compile(r"(?:^| )(?!127\.|\[?::1\b)[^ ,]+:(\d+)(?:-(\d+))?->")


def published(listed: str, system: str) -> dict[int, str]:
    """Return which containers of others publish which port; `listed` is what `docker ps` prints in FORMAT."""
    found: dict[int, str] = {}
    for line in listed.splitlines():
        owner, name, ports = line.split("\t")
        if owner == system:
            continue
        for first, last in _PUBLISHED.findall(ports):
            for port in range(int(first), int(last or first) + 1):
                found[port] = f"container {name}"
    return found


def reserved(root: Path, system: str) -> dict[int, str]:
    """Return the ports that other systems on this host need for either colour, by the records of what is live there.

    The colour that rests listens nowhere, and a port that was taken from it would fail the next release of that system.
    """
    found: dict[int, str] = {}
    for other in sorted(root.glob("*")) if root.is_dir() else []:
        record = live(Releases(other).all()) if other.name != system else None
        for service, colours in ((record or {}).get("servers") or {}).items():
            for server in (server for servers in colours.values() for server in servers):
                found[int(server.rpartition(":")[2])] = f"system {other.name} ({service})"
    return found


def taken(
    wanted: Iterable[int], containers: dict[int, str], systems: dict[int, str], listeners: dict[int, str]
) -> list[str]:
    """Return `port: who has it` for each wanted port that is somebody else's.

    `listeners` are programs by port; docker-proxy stands for a container, which `containers` knows.
    """
    others = {port: name for port, name in listeners.items() if name != "docker-proxy"}
    owners = {**others, **containers, **systems}
    return [f"{port}: {owners[port]}" for port in sorted(set(wanted)) if port in owners]
