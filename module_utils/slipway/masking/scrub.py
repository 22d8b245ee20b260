"""Make any task result fit to be printed and kept: plain JSON data, no control characters, nothing secret.

Modules must not return secrets in the first place. This is the second line of defence: it goes by the names
of keys (`names`) and the shapes of strings (`texts`), so it can hide a harmless value, and it misses a secret
that looks like nothing.
"""

from __future__ import annotations

import math
import re
from typing import Any

from .names import by_name
from .texts import hide

_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
# Everything XML 1.0 forbids or discourages, beside tab and line feed.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ufdd0-\ufdef\ufffe\uffff]")
_UNCLEAN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")


def clean(text: str) -> str:
    """Text without terminal escapes, control characters, lone surrogates; line breaks become line feeds."""
    if not _UNCLEAN.search(text):
        return text
    text = _ANSI.sub("", text).replace("\r\n", "\n").replace("\r", "\n")
    return _CONTROL.sub("", text.encode("utf-8", "replace").decode("utf-8"))


def scrub(text: str) -> str:
    """Clean text in which passwords in addresses, assignments, headers and private keys are replaced."""
    return hide(clean(text))


def publishable(value: Any) -> Any:
    """A copy of `value` as plain JSON data in which everything that looks secret is masked.

    Keys become strings; tuples and sets lists; numbers that JSON lacks (NaN) and unknown types text.
    """
    return by_name(value, _published)


def _published(value: Any) -> Any:
    if isinstance(value, (int, float)):
        return value if math.isfinite(value) else str(value)
    return scrub(str(value))
