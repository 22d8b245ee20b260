# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""Variables in texts of a Compose file, as Compose fills them in (https://docs.docker.com/reference/compose-file/interpolation/)."""

from __future__ import annotations

import re
from collections.abc import Mapping

_VARIABLE = re.compile(
    r"\$(?:(?P<escaped>\$)|(?P<named>[A-Za-z_]\w*)|\{(?P<braced>[A-Za-z_]\w*)(?P<operator>:?[-?+])?)",
    re.ASCII,
)


def interpolate(text: str, values: Mapping[str, str]) -> str:
    """Return `text` with its variables filled in from `values`; what has no value and no default is empty.

    Raises ValueError for `${NAME:?message}` without a value, and for a brace that is not closed.
    """
    filled, position = "", 0
    while match := _VARIABLE.search(text, position):
        filled += text[position : match.start()]
        position = match.end()
        if match["escaped"]:
            filled += "$"
            continue
        name = match["named"] or match["braced"]
        value = values.get(name)
        if match["named"]:
            filled += value or ""
            continue
        end = _closing(text, position)
        operator, word = match["operator"] or "", text[position:end]
        position = end + 1
        present = bool(value) if operator.startswith(":") else value is not None
        if operator.endswith("?") and not present:
            raise ValueError(f"{name} has no value: {word}")
        if operator.endswith("+"):
            filled += interpolate(word, values) if present else ""
        elif operator.endswith("-") and not present:
            filled += interpolate(word, values)
        else:
            filled += value or ""
    return filled + text[position:]


def filled(text: str, values: Mapping[str, str]) -> str:
    """Return `text` with its variables filled in, or as it is where they cannot be: the check names those."""
    try:
        return interpolate(text, values)
    except ValueError:
        return text


def _closing(text: str, start: int) -> int:
    depth = 1
    for position in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[position], 0)
        if depth == 0:
            return position
    raise ValueError(f"a brace is not closed: {text}")
