# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""Whether traffic is back where it was: from what each edge was seen to answer, not from what it was told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# What edge_switch returned on an edge; None where it was not reached.
Turned = Mapping[str, Any] | None


def trouble(colour: str, taken_back: str, edges: Mapping[str, Turned], had_traffic: bool) -> str:
    """Return why not every edge can be said to be back at `colour`; empty where each is, and nothing of the colour
    `taken_back` is needed.

    An edge is back where it points there and a run of answers came from there. Of a release that never had traffic (not
    `had_traffic`) it is enough that the edge never left: whatever `colour` does, the release is not what answers. An edge
    that was rebuilt and points nowhere has nothing to lose.
    """
    said = {host: _trouble(colour, taken_back, turned, had_traffic) for host, turned in edges.items()}
    return "; ".join(f"{host}: {why}" for host, why in said.items() if why)


def _trouble(colour: str, taken_back: str, turned: Turned, had_traffic: bool) -> str:
    if turned is None or "colour" not in turned:
        return str((turned or {}).get("msg") or "did not answer")
    if turned["colour"] == turned.get("before") == "none" and taken_back != "none":
        return ""
    if turned["colour"] != colour:
        return str(turned.get("msg") or f"points at {turned['colour']}")
    never_left = not had_traffic and turned.get("before") == colour
    seen = "confirmed_ms" in turned or colour == "none" or never_left
    return "" if seen else str(turned.get("msg") or f"was not seen to answer from {colour}")
