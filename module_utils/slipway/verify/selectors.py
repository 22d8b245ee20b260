# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""Pick values out of JSON: plain dotted paths by ourselves, everything else with the jmespath library."""

from __future__ import annotations

import re
from typing import Any

from .predicates import MISSING, SpecError

try:
    import jmespath
except ImportError:
    jmespath = None

_NAME = r"""(?:[^\W\d][\w-]*|"[^"\\]*")"""
_INDEX = r"\[-?\d+\]"
_PLAIN = re.compile(rf"(?:{_NAME}(?:{_INDEX})*|(?:{_INDEX})+)(?:\.{_NAME}(?:{_INDEX})*)*")
_TOKEN = re.compile(r"""([^\W\d][\w-]*)|"([^"\\]*)"|\[(-?\d+)\]""")
_LENGTH = re.compile(r"length\((.+)\)")


class MissingJmespath(SpecError):
    """An expression needs the jmespath library, and it is not installed."""


class Selector:
    """A compiled path.

    `a.b[0].c`, `"odd key".x`, `[0]`, `@` (the whole document) and `length(path)` are evaluated here;
    anything else is JMESPath. A plain path tells null from missing; to JMESPath both are null, and count as
    missing.
    """

    def __init__(self, text: str, where: str) -> None:
        self.text = text
        self._steps: list[str | int] | None = None
        self._length = False
        inner = text.strip()
        match = _LENGTH.fullmatch(inner)
        if match and (match.group(1).strip() == "@" or _PLAIN.fullmatch(match.group(1).strip())):
            self._length, inner = True, match.group(1).strip()
        if inner == "@":
            self._steps = []
        elif _PLAIN.fullmatch(inner):
            self._steps = [
                int(index) if index else name or quoted for name, quoted, index in _TOKEN.findall(inner)
            ]
        elif jmespath is None:
            raise MissingJmespath(
                f"{where}: {text!r} is more than a dotted path, which needs the jmespath library"
            )
        else:
            try:
                self._expression = jmespath.compile(text)
            except Exception as error:  # its lexer and parser raise classes of their own
                raise SpecError(f"{where}: invalid JMESPath {text!r}: {error}") from None

    def get(self, data: Any) -> Any:
        """The value, or MISSING."""
        if self._steps is None:
            try:
                found = self._expression.search(data)
            except Exception:  # a function applied to the wrong type: nothing was found
                return MISSING
            return MISSING if found is None else found
        for step in self._steps:
            if isinstance(step, int):
                if not isinstance(data, list) or not -len(data) <= step < len(data):
                    return MISSING
                data = data[step]
            elif isinstance(data, dict) and step in data:
                data = data[step]
            else:
                return MISSING
        if self._length:
            return len(data) if isinstance(data, (list, dict, str)) else MISSING
        return data
