# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""What a person is told of a release that ends: why it is taken back, and what serves then."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..host.fence import who


def reason(phase: str, failures: Mapping[str, str | None]) -> str:
    """Return why a release is taken back, from what each host of the play knows of its failure.

    A host's text is empty where it only had to stop with the others, and None where it did not come to the way back: it is lost.
    """
    told = list(dict.fromkeys(text for text in failures.values() if text))
    lost = [host for host, text in failures.items() if text is None]
    if lost:
        told.append(f"lost {', '.join(lost)}")
    return f"failed in phase {phase}: {'; '.join(told)}"


def lost(release: Mapping[str, Any], holder: Mapping[str, Any]) -> str:
    """Return how a run ends that has lost the system to `holder`."""
    return (
        f"This run has lost the system to {who(holder)}, and has changed nothing since: nothing was put back, as what is there"
        f" is no longer its own. What became of release {release['id']} is for that run to say:"
        " ansible-playbook playbooks/verify.yml shows what is live."
    )


def ending(release: Mapping[str, Any], trouble: str) -> str:
    """Return how a run ends that went the way back; `trouble` says what could not be put back, and is empty where all was."""
    name = release["id"]
    if not release["needed"]:
        return f"There was nothing to ship, and nothing was taken back: {name} stays live as it is."
    if trouble:
        return (
            f"Release {name} could not be taken back altogether: {trouble}"
            " Both colours are left as they are; run the same command again to settle it."
        )
    return f"Release {name} was taken back; {release.get('previous') or 'no release'} serves on."
