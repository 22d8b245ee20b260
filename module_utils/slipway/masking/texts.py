# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""Secrets inside a text: in addresses and connection strings, beside their names, in headers, as key blocks."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from urllib.parse import unquote, unquote_plus

from .names import MASK, MENTION, is_credential, is_doubtful, is_secret

# Where a secret begins and ends, and what is written in its place.
Span = tuple[int, int, str]

_KEY_BLOCK = re.compile(
    r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY(?: BLOCK)?-----.*?(?:-----END [A-Z ]{0,30}PRIVATE KEY(?: BLOCK)?-----|\Z)"
    r"|AGE-SECRET-KEY-1[0-9A-Z]+",
    re.DOTALL,
)
# What stands before the host of a URL, up to the last @: a password may contain one. It may also contain what
# begins a query, where somebody did not encode it, and then nobody can tell it from a query with an @.
_USERINFO = re.compile(r"://([^\s/?#\"]+)@")
_UNENCODED = re.compile(r"://([^\s/:]*:[^\s/]+)@")
_WEB = re.compile(r"http\w*$", re.IGNORECASE)
# As in a connection string of libpq.
_DSN_PASSWORD = re.compile(r"password(?<!\wpassword)\s*=\s*(?:'((?:[^'\\]|\\.)*)'|(\S+))")
# As in a query or a form, where nobody writes prose.
_FIELD = re.compile(r"(?:^|[?&])([\w.~-]+)=([^&\s#]+)")
_HEADERS = (
    ("authorization", re.compile(r"\bauthorization[\"']?\s*[:=]\s*[\"']?(?:[a-z]+ +)?([^\s\"',]+)", re.I)),
    ("cookie", re.compile(r"\b(?:set-)?cookie[\"']?\s*:\s*[\"']?([^\s\"';=]+=[^\n\"']*)", re.I)),
    ("bearer", re.compile(r"\bbearer +(?=\S*[0-9])([A-Za-z0-9._~+/=-]{12,})", re.I)),
)
# What makes a name of a word of `names`: `...=`, or `...": ` in JSON and as Python writes it. Without quotes, as in
# YAML, only before a quoted value: messages name variables (`DB_PASSWORD: missing`).
_EQUALS = re.compile(r"([\w.~-]{0,80})=")
_QUOTED_COLON = re.compile(r"\s*:\s*(?=[\"'\[\d-])")
_COLON = re.compile(r"([\w.-]{0,80})[ \t]*:[ \t]*(?=[\"'])")
# Keys are short, and a text with a single quotation mark must not keep us busy.
_LONGEST_KEY = 140
_NO_NAME = re.compile(r"[^\w.~-]")
_EQUALS_VALUE = re.compile(
    r"\"(?:[^\"\\\n]|\\.)*\"?|'(?:[^'\\\n]|\\.)*'?|[^\s&\"']*[^\s&\"',;)\]}]", re.DOTALL
)
# The text may end inside the value, having been cut off.
_COLON_VALUE = re.compile(
    r"\"[^\"\\]*(?:\\.[^\"\\]*)*\"?|'[^'\\\n]*(?:\\.[^'\\\n]*)*'|\[[^][{}]*\]?|-?[0-9][0-9.eE+-]*", re.DOTALL
)
# A line that is nothing but `name: value`, of YAML or a header. A value without a digit may be a message.
_LINE = re.compile(r"(?:^|\| )[ \t>*<-]*(\w[\w.-]*):[ \t]+(?=\S*[0-9])(\S+)[ \t\r]*$", re.MULTILINE)
# What counts look like, and what says only whether there are any.
_COUNT = re.compile(r"[\[\s]*(?:[-+0-9.,eE\s]+|true|false|none|null)[\]\s]*", re.IGNORECASE)


def hide(text: str, counts: bool = True) -> str:
    """Return a text with all that looks like a secret masked.

    Without `counts`, numbers under doubtful names are masked as well (`"tokens": 1500`).
    """
    spans = [(start, end, MASK) for _, start, end in (*_urls(text, _USERINFO), *_urls(text, _UNENCODED))]
    if "PRIVATE KEY" in text or "AGE-SECRET-KEY" in text:
        spans += _marked(_KEY_BLOCK, text)
    # As long as the text itself: the one capital letter that would become two goes first.
    lower = text.replace("\u0130", "I").lower()
    if MENTION.search(lower):
        spans += _beside_names(text, lower, counts)
        spans += [
            (*match.span(match.lastindex or 0), MASK)
            for match in _DSN_PASSWORD.finditer(text)
            # In a query it ends at the next &, and is among those above.
            if text[match.start() - 1 : match.start()] not in ("?", "&")
        ]
    for word, header in _HEADERS:
        if word in lower:
            spans += _marked(header, text)
    return without(text, spans) if spans else text


def found(text: str) -> Iterator[str]:
    """Yield the secrets in a text of a declaration, as they are written, decoded, and as they are sent.

    They are fewer than those that hide() masks, because each is going to be masked in all other texts: no word
    of a sentence about secrets may be among them.
    """
    for userinfo, start, end in _urls(text, _USERINFO):
        yield text[start:end]
        yield unquote(text[start:end])
        yield base64.b64encode(unquote(userinfo).encode()).decode()
    for match in _KEY_BLOCK.finditer(text):
        yield match[0]
    for name, value in _FIELD.findall(text):
        if is_credential(name):
            yield value
            yield unquote_plus(value)
    for match in _DSN_PASSWORD.finditer(text):
        yield match[1] or match[2] or ""


def has_password(url: str) -> bool:
    """Tell whether a URL contains a password. A user alone is none, though it may be a token."""
    return any(":" in userinfo for userinfo, _, _ in (*_urls(url, _USERINFO), *_urls(url, _UNENCODED)))


def _urls(text: str, pattern: re.Pattern[str]) -> Iterator[tuple[str, int, int]]:
    """Yield user and password of each URL, and where its secret begins and ends.

    A user without a password is a token in an http URL, and just a name in others.
    """
    if "://" not in text:
        return
    for match in pattern.finditer(text):
        start, end = match.span(1)
        user, _colon, password = match[1].partition(":")
        web = _WEB.search(text, max(0, match.start() - 20), match.start())
        # Git servers take a token for the user, and then do not look at the password.
        if password and not (web and password == "x-oauth-basic"):  # noqa: S105 - it is none
            yield match[1], start + len(user) + 1, end
        elif web and user:
            yield match[1], start, start + len(user)


def _beside_names(text: str, lower: str, counts: bool) -> Iterator[Span]:
    """Yield the values of `name=value`, of `"name": value`, and of lines `name: value`."""
    assigned = paired = 0  # where the last value of each kind ended: what is inside it is hidden already
    for mention in MENTION.finditer(lower):
        start, end = mention.span()
        if start >= assigned and (after := _EQUALS.match(text, end)):
            name = _beginning(text, start) + text[start : after.end(1)]
            if value := _secret_after(name, _EQUALS_VALUE, text, after.end(), counts):
                begin, assigned = value.span()
                # Within its quotes: without them, what follows would seem to belong to the value.
                quote = value[0][0] if value[0][0] in "'\"" else ""
                closed = len(value[0]) > 1 and value[0].endswith(quote)
                yield begin + len(quote), assigned - len(quote) * closed, MASK
        key = _key(text, start, end) if start >= paired else None
        if key and (value := _secret_after(key[0], _COLON_VALUE, text, key[1], counts)):
            paired = value.end()
            yield *value.span(), f'"{MASK}"'
    for match in _LINE.finditer(text):
        if is_credential(match[1]):
            yield *match.span(2), MASK


def _key(text: str, start: int, end: int) -> tuple[str, int] | None:
    """Return the key in which a word stands from `start` to `end`, and where its value begins."""
    for quote in "\"'":
        close = text.find(quote, end, end + _LONGEST_KEY)
        if close >= 0 and (after := _QUOTED_COLON.match(text, close + 1)):
            before = max(text.rfind(one, max(0, start - _LONGEST_KEY), start) for one in "\"'")
            return (text[before + 1 : close], after.end()) if before >= 0 else None
    if after := _COLON.match(text, end):
        name = _beginning(text, start) + text[start : after.end(1)]
        return (name, after.end()) if is_credential(name) else None
    return None


def _beginning(text: str, start: int) -> str:
    """Return what of a name stands before `start`."""
    return _NO_NAME.split(text[max(0, start - 80) : start])[-1]


def _secret_after(
    name: str, pattern: re.Pattern[str], text: str, start: int, counts: bool
) -> re.Match[str] | None:
    """Return the value of a name, which begins at `start`, where it is one to be hidden."""
    if not is_secret(name) and not is_doubtful(name):
        return None
    value = pattern.match(text, start)
    is_count = value and not is_secret(name) and _COUNT.fullmatch(value[0])
    return None if counts and is_count else value


def _marked(pattern: re.Pattern[str], text: str) -> Iterator[Span]:
    """Yield the group that took part in each match of a pattern, or the whole match."""
    for match in pattern.finditer(text):
        yield *match.span(match.lastindex or 0), MASK


def without(text: str, spans: list[Span]) -> str:
    """Return the text with the masks in place of the spans, which may overlap; nothing replaces an empty one."""
    parts = []
    done = 0
    merged: list[Span] = []
    for start, end, mask in sorted(spans, key=lambda span: (span[0], -span[1])):
        if start == end:
            continue
        if not merged or start >= merged[-1][1]:
            merged.append((start, end, mask))
        elif end > merged[-1][1]:
            merged[-1] = (merged[-1][0], end, MASK)
    for start, end, mask in merged:
        parts += [text[done:start], mask]
        done = end
    return "".join((*parts, text[done:]))
