# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""What is wrong with a declaration: where it stands, what was seen and the edit that fixes it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import asdict, dataclass


@dataclass(frozen=True, order=True)
class Problem:
    """One mistake. `line` counts from 1 and is 0 where no line can be named; `fix` may be empty."""

    file: str
    line: int
    key: str
    problem: str
    fix: str = ""

    def text(self) -> str:
        """Return `file:line: key: what is wrong -> fix`, without the parts that are not known."""
        place = f"{self.file}:{self.line}" if self.line else self.file
        said = ": ".join(part for part in (place, self.key, self.problem) if part)
        return f"{said} -> {self.fix}" if self.fix else said

    def as_dict(self) -> dict[str, str | int]:
        """Return the fields as JSON data."""
        return asdict(self)


def near_miss(name: object, known: Iterable[object], cutoff: float = 0.65) -> str:
    """Return the known name that `name` is probably a typing error of, or an empty text.

    `cutoff` is the least share of equal letters (0 to 1, difflib's ratio); 0.65 suits names that are wrong for certain.
    """
    by_lower = {str(one).lower(): str(one) for one in known}
    found = difflib.get_close_matches(str(name).lower(), by_lower, n=1, cutoff=cutoff)
    return by_lower[found[0]] if found else ""


def suggestion(name: object, known: Iterable[object], otherwise: str) -> str:
    """Return the fix for an unknown name: the near miss where there is one, else `otherwise`."""
    near = near_miss(name, known)
    return f"did you mean '{near}'?" if near else otherwise


def listing(problems: Iterable[Problem]) -> str:
    """Return the problems as a numbered list, in the order of files and lines, each once."""
    return "\n".join(f"{number}. {one.text()}" for number, one in enumerate(sorted(set(problems)), start=1))
