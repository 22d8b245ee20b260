# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""The phases of a release, in their order. Whoever asks about phases asks here; a test holds deploy.yml, rollback.yml and
playbooks/ against it.
"""

from __future__ import annotations

from dataclasses import dataclass

DEPLOY, ROLLBACK = "deploy", "rollback"


@dataclass(frozen=True)
class Phase:
    """One phase: `title` as its import in deploy.yml is called, the kinds of release it is a part of, and whether traffic moves.

    `before_traffic` is true where a release that breaks off here has moved none: it ends as abandoned, not as rolled back.
    """

    name: str
    title: str
    kinds: tuple[str, ...] = (DEPLOY,)
    before_traffic: bool = True


PHASES = (
    Phase("preflight", "Look before anything is touched"),
    Phase("rollback", "Which release to go back to", (ROLLBACK,)),
    Phase("prepare", "What the hosts lack"),
    Phase("backup", "Back up"),
    Phase("build", "Build and ship"),
    Phase("migrate", "Migrate"),
    Phase("index", "Build indexes"),
    Phase("start", "Start the other colour", (DEPLOY, ROLLBACK)),
    Phase("verify", "Verify it before it has traffic", (DEPLOY, ROLLBACK)),
    Phase("switch", "Switch", (DEPLOY, ROLLBACK), before_traffic=False),
    Phase("confirm", "Confirm at the public address", (DEPLOY, ROLLBACK), before_traffic=False),
    Phase("watch", "Watch", before_traffic=False),
    Phase("finish", "Finish", (DEPLOY, ROLLBACK), before_traffic=False),
)
NAMES = tuple(phase.name for phase in PHASES)


def before_traffic(name: str) -> bool:
    """Say whether a release that breaks off in a phase has moved no traffic. False for a name that is no phase."""
    return any(phase.name == name and phase.before_traffic for phase in PHASES)


def of_kind(kind: str) -> list[str]:
    """Return the names of the phases of a kind of release (deploy or rollback), in their order."""
    return [phase.name for phase in PHASES if kind in phase.kinds]


def needs(name: str, kind: str) -> str | None:
    """Return the phase that has to be done before `name` in a kind of release; None for its first, and for no phase of it."""
    names = of_kind(kind)
    place = names.index(name) if name in names else 0
    return names[place - 1] if place else None


def latest(names: list[str | None]) -> str | None:
    """Return the phase that comes last of those named; None where none of them is a phase."""
    known = [name for name in names if name in NAMES]
    return max(known, key=NAMES.index, default=None)
