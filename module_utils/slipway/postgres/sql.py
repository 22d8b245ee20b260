# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""Small pieces of SQL text: quoting, checking a fragment somebody wrote, splitting a predicate, names that
fit."""

from __future__ import annotations

import hashlib
import re

NAME_BYTES = 63

_TOKEN = re.compile(
    r"""
    (?P<space>\s+)
  | (?P<comment>--|/\*)
  | (?P<escape>[eE]'(?:[^'\\]|\\.|'')*')
  | (?P<unended>[eE]')
  | (?P<string>(?:[bBxXnN]|[uU]&)?'(?:[^']|'')*')
  | (?P<quoted>(?:[uU]&)?"(?:[^"]|"")+")
  | (?P<dollar>\$(?P<tag>(?:[^\W\d]\w*)?)\$.*?\$(?P=tag)\$)
  | (?P<word>[^\W\d][\w$]*)
  | (?P<number>\d[\w.]*)
  | (?P<open>[(\[])
  | (?P<close>[)\]])
  | (?P<punct>.)
    """,
    re.VERBOSE | re.DOTALL,
)


class Refused(Exception):
    """Something that was asked for cannot be done; the message is for the person who asked."""


def ident(name: str) -> str:
    """Return `name` as a quoted SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def qualified(schema: str, name: str) -> str:
    """Return `schema.name` with both parts quoted."""
    return ident(schema) + "." + ident(name)


def literal(text: str) -> str:
    """Return `text` as an SQL string literal (sessions here always have standard_conforming_strings on)."""
    return "'" + text.replace("'", "''") + "'"


def raw_text(expression: str) -> str:
    """Return SQL for the bytes of a text that may be invalid, to be decoded by whoever reads it.

    A database in SQL_ASCII keeps whatever bytes it was given and cuts inside a character, and the server then
    refuses to send that as text.
    """
    return (
        f"convert_to({expression}, "
        "CASE getdatabaseencoding() WHEN 'SQL_ASCII' THEN 'SQL_ASCII' ELSE 'UTF8' END)"
    )


def tokens(text: str) -> list[tuple[str, str]]:
    """Split `text` the way PostgreSQL's scanner does: (kind, text) with kinds as in the expression above."""
    return [(match.lastgroup or "", match.group()) for match in _TOKEN.finditer(text)]


def fragment_problem(text: str, commas: bool = True) -> str | None:
    """Say why `text` cannot be one self-contained piece of a statement, or None when it can.

    A fragment must not be able to leave the place it is put in: no semicolon, no comment, quotes that end,
    brackets that match. With commas=False a comma outside brackets is refused too (one list element each).
    """
    if not text.strip():
        return "is empty"
    if "\0" in text:
        return "contains a NUL character"
    stack: list[str] = []
    for kind, value in tokens(text):
        if kind == "comment":
            return f"contains a comment ({value}), which would hide the rest of the statement"
        if kind == "open":
            stack.append(value)
        elif kind == "close":
            if not stack or stack.pop() != {")": "(", "]": "["}[value]:
                return f"closes a bracket it never opened ({value})"
        elif kind == "punct" and value == ";":
            return "contains ';': one expression is expected, not several statements"
        elif kind == "unended" or (kind == "punct" and value in "'\""):
            return f"has a quote that never ends ({value})"
        elif kind == "punct" and value == "," and not stack and not commas:
            return "contains a comma: write each column or expression as its own list element"
    if stack:
        return f"opens a bracket it never closes ({stack[-1]})"
    return None


def _strip_outer(text: str) -> str:
    """Remove brackets that enclose the whole of `text`."""
    text = text.strip()
    while text.startswith("(") and text.endswith(")"):
        depth = 0
        parts = tokens(text)
        for number, (kind, _value) in enumerate(parts):
            depth += (kind == "open") - (kind == "close")
            if depth == 0 and number < len(parts) - 1:
                return text
        text = text[1:-1].strip()
    return text


def conjuncts(expression: str) -> frozenset[str]:
    """Return the parts of a deparsed predicate that are joined by AND at its top, as a set.

    PostgreSQL keeps the order in which conjuncts were written, but they mean the same in any order.
    """
    body = _strip_outer(expression)
    pieces, current, depth = [], "", 0
    for kind, value in tokens(body):
        depth += (kind == "open") - (kind == "close")
        if depth == 0 and kind == "word" and value == "AND":
            pieces.append(current)
            current = ""
        else:
            current += value
    if not pieces:
        return frozenset([body])
    return frozenset().union(*(conjuncts(piece) for piece in [*pieces, current]))


def digest(text: str) -> str:
    """Return eight hexadecimal digits that stand for `text`."""
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def fit_name(base: str, suffix: str) -> str:
    """Return base + suffix, with base cut so that the whole is at most 63 bytes (PostgreSQL's limit)."""
    room = NAME_BYTES - len(suffix.encode())
    return base.encode()[:room].decode(errors="ignore") + suffix


def human_bytes(size: float) -> str:
    """Return a size such as '91.4 MB' (1 MB = 1024 kB, as PostgreSQL counts)."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if abs(size) < 1024:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TB"


_UNITS = {"": 1, "b": 1, "bytes": 1, "kb": 1024, "mb": 1024**2, "gb": 1024**3, "tb": 1024**4}


def parse_bytes(text: str | int | None) -> int | None:
    """Read '91MB', '1.5 GB' or a plain number of bytes; None stays None. Raises Refused for anything else."""
    if text is None:
        return None
    match = re.fullmatch(r"\s*([\d.]+)\s*([a-zA-Z]*)\s*", str(text))
    if not match or match.group(2).lower() not in _UNITS or match.group(1).count(".") > 1:
        raise Refused(f"{text!r} is not a size: write bytes, or a number with kB, MB, GB or TB")
    return int(float(match.group(1)) * _UNITS[match.group(2).lower()])
