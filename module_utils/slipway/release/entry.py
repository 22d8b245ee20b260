# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""Whether a phase may begin: only where the one before it has passed."""

from __future__ import annotations

from typing import Any

from ..model import phases

# What may be run alone while no release is under way, on the one that is live: it looks, copies, or brings back what should
# be there. Nothing of it moves traffic away from what is live.
ON_LIVE = ("prepare", "backup", "index", "start", "verify", "switch", "confirm")
# Playbooks that are no phase of a release, and work on what is live only.
BESIDE = ("indexes", "job")


class NotYet(Exception):
    """A phase that may not begin; the message says why, and what comes first."""


def see(record: dict[str, Any], phase: str, run: str) -> None:
    """Raise NotYet unless `phase` may begin on the release under way of `record`.

    `run` is the token of the run that asks. The run that noted a phase and comes to the next one has passed it; any other has
    to find it noted as passed. A phase that was begun may be begun again.
    """
    name = record["id"]
    if record.get("verdict"):
        raise NotYet(
            f"Release {name} has ended ({record['verdict']}), so {phase} has nothing to go on with."
            " See what is live: ansible-playbook playbooks/verify.yml"
        )
    at, kind = str(record.get("phase")), str(record.get("kind", phases.DEPLOY))
    if phase not in phases.of_kind(kind):
        raise NotYet(
            f"Release {name} is a {kind}, which has no {phase}; it is in phase {at}. Nothing was touched."
            f" Settle it: ansible-playbook {kind}.yml"
        )
    before = phases.needs(phase, kind)
    if before is None or phase == at:
        return
    same = bool(run) and record.get("run") == run
    if at == before and (same or record.get("passed") == before):
        return
    if same and record.get("warm") and kind == phases.ROLLBACK and _later(phase, at):
        # Its colour had traffic again before anything else was done.
        return
    seen = (
        f"{at}, which has passed"
        if record.get("passed") == at
        else f"{at}, which is not known to have passed"
    )
    raise NotYet(
        f"{phase} comes after {before}, and release {name} is in phase {seen}. Nothing was touched."
        f" Settle it and ship: ansible-playbook deploy.yml; or go on by hand: ansible-playbook playbooks/{at}.yml first."
    )


def see_alone(begun: dict[str, Any] | None, live: dict[str, Any] | None, phase: str) -> None:
    """Raise NotYet unless `phase` may be run alone: on the release `begun`, where one is under way, else on the one `live`."""
    if begun and phase in BESIDE:
        raise NotYet(
            f"Release {begun['id']} is under way, in phase {begun.get('phase')}, and this works on what is live. Nothing was"
            " touched. Settle it first: ansible-playbook deploy.yml, or rollback.yml"
        )
    if begun:
        see(begun, phase, "")
    elif live and phase not in (*ON_LIVE, *BESIDE):
        raise NotYet(
            f"No release is under way, so {phase} has nothing to work on; {live['id']} is live, and stays as it is."
            f" On a live release can be run: {', '.join(ON_LIVE)}. Ship a new one: ansible-playbook deploy.yml"
        )


def _later(phase: str, at: str) -> bool:
    return phases.NAMES.index(phase) > phases.NAMES.index(at) if at in phases.NAMES else False
