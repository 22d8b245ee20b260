# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""Find secrets in declarations, and keep them out of everything that is shown."""

from __future__ import annotations

import base64
import binascii
import html
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import quote, quote_plus

from .names import MASK, by_name, is_credential, is_doubtful, is_secret
from .texts import Span, found, hide, without

# What expectations are called that look at a value with a name of its own: `json user.token`, `header set-cookie`.
_NAMED = ("json", "header", "row")
# What is expected or saved is named by key too, but its operands are not secrets.
_NOT_SECRET_BELOW = ("expect", "save")
# Masking one or two characters would mask every text; no secret worth the name is that short.
_SHORTEST = 3


def secret_values(data: Any) -> set[str]:
    """Every secret string inside a declaration: by the name of its key, or inside a URL or a DSN."""
    return {value for value in _walk(data, False) if len(value) >= _SHORTEST}


def _walk(data: Any, secret: bool) -> Iterator[str]:
    if isinstance(data, dict):
        for key, value in data.items():
            if key in _NOT_SECRET_BELOW and isinstance(value, (dict, list)):
                continue
            # A mapping below a secret's name describes it (`token: {json: ...}`), it is not the secret.
            yield from _walk(value, is_credential(str(key)) and not isinstance(value, dict))
    elif isinstance(data, (list, tuple)):
        for value in data:
            yield from _walk(value, secret and not isinstance(value, (dict, list)))
    elif isinstance(data, str) or (secret and isinstance(data, (int, float)) and not isinstance(data, bool)):
        text = str(data)
        if secret and "{{" not in text:
            yield text
            yield from _parts(text)
        yield from found(text)
        if text[:1] in ("{", "["):
            try:
                yield from _walk(json.loads(text), False)
            except (ValueError, RecursionError):
                return


def _parts(text: str) -> Iterator[str]:
    """The credential without its scheme: `Bearer x`, `Basic x`, and the password inside the latter."""
    for pair in text.split(";"):
        name, equals, value = pair.partition("=")
        if equals and name.strip().isidentifier() and len(value) > _SHORTEST:
            yield value.strip()
    scheme, _blank, credential = text.partition(" ")
    if credential and scheme.lower() in ("bearer", "basic", "token", "apikey"):
        yield credential.strip()
        if scheme.lower() == "basic":
            try:
                yield base64.b64decode(credential, validate=True).decode().partition(":")[2]
            except (binascii.Error, UnicodeDecodeError):
                return


def forms(secret: str) -> set[str]:
    """The forms that a secret takes in what is sent and shown: as it is, in JSON, a URL, HTML, base64."""
    return {
        secret,
        quote(secret, safe=""),
        quote(secret),
        quote_plus(secret),
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        html.escape(secret),
        repr(secret)[1:-1],
        base64.b64encode(secret.encode()).decode(),
    }


def _places(form: str, text: str) -> Iterator[Span]:
    at = text.find(form)
    while at >= 0:
        yield at, at + len(form), MASK
        at = text.find(form, at + len(form))


class Redactor:
    """Masks known secrets in text and data; more may be added while a flow runs.

    Texts with fewer than `shortest` characters are not taken for secrets.
    """

    def __init__(self, values: Iterable[str] = (), shortest: int = _SHORTEST) -> None:
        self.values: set[str] = set()
        self._shortest = max(shortest, 1)
        self._forms: set[str] = set()
        for value in values:
            self.add(value)

    def add(self, value: Any) -> None:
        """Learn a secret in all its forms; containers by leaf."""
        if isinstance(value, dict):
            value = list(value.values())
        if isinstance(value, (list, tuple)):
            for item in value:
                self.add(item)
            return
        if value is None or isinstance(value, bool) or len(str(value)) < self._shortest:
            return
        text = str(value)
        self.values.add(text)
        self._forms |= forms(text)

    def text(self, text: str) -> str:
        """The text with every secret masked."""
        there = [form for form in self._forms if form in text]
        # All at once: of two secrets that overlap, neither must leave its other half behind.
        return without(text, [span for form in there for span in _places(form, text)]) if there else text

    def body(self, text: str) -> str:
        """Text a server sent, without secrets: known ones, and what looks like one, for that costs nothing there."""
        return hide(self.text(text), counts=False)

    def seen(self, label: str, value: Any) -> Any:
        """What an expectation saw: masked as a whole where the last part of its label is a secret's name."""
        kind, _blank, path = label.partition(" ")
        name = re.split(r"[\s.]", re.sub(r"\[-?[0-9]*\]$", "", path))[-1].strip('"')
        named = kind in _NAMED
        value = self.body(value) if isinstance(value, str) else value
        return by_name(value, self.data, named and is_secret(name), named and is_doubtful(name))

    def data(self, data: Any) -> Any:
        """Deep copy of JSON data with every known secret masked, in keys too."""
        if isinstance(data, str):
            return self.text(data)
        if isinstance(data, dict):
            return {self.text(str(key)): self.data(value) for key, value in data.items()}
        if isinstance(data, (list, tuple, set, frozenset)):
            return [self.data(value) for value in data]
        if data is not None and not isinstance(data, bool) and str(data) in self.values:
            return MASK
        return data
