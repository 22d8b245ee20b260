# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""The switch: which of the two colours the edge points at.

nginx knows both colours at all times and looks at two flag files with each request: `green` exists, then green is live,
else `blue` exists, then blue is, else none is. One rename or unlink turns it, no reload, so no connection is closed
(measured: 1.5 ms, against 0.15 s and a few resets by reload).
"""

from __future__ import annotations

from pathlib import Path

from ..model.durable import sync


def pointed_at(directory: str | Path) -> str:
    """Return the colour the flags in `directory` point at: blue, green or none."""
    for colour in ("green", "blue"):
        if (Path(directory) / colour).exists():
            return colour
    return "none"


def point(directory: str | Path, colour: str) -> bool:
    """Point the edge at `colour` (blue, green or none); True where it pointed elsewhere.

    The one call that counts is atomic: making `green`, or removing it while `blue` is there.
    """
    flags = Path(directory)
    flags.mkdir(parents=True, exist_ok=True)
    before = pointed_at(flags)
    if colour == "green":
        _make(flags / "green")
    else:
        if colour == "blue":
            _make(flags / "blue")
        (flags / "green").unlink(missing_ok=True)
        if colour == "none":
            (flags / "blue").unlink(missing_ok=True)
    # The switch must survive a power cut.
    sync(flags)
    return before != colour


def _make(flag: Path) -> None:
    if not flag.exists():
        fresh = flag.with_name(f".{flag.name}.new")
        fresh.touch(mode=0o644)
        fresh.rename(flag)
