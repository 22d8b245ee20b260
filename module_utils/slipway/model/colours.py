# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""The two colours of a system: the names of the two sets of containers, of which one is live."""

from __future__ import annotations

COLOURS = ("blue", "green")


def other(colour: str) -> str:
    """Return the colour that is not `colour`; blue where none is."""
    return "green" if colour == "blue" else "blue"
