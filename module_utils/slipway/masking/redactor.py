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
from urllib.parse import quote, quote_plus, unquote, unquote_plus

MASK = "********"

_SECRET_KEY = re.compile(
    r"(?:.*[_.-])?(?:pass|password|passwd|passphrase|secret|secrets|token|api[_-]?key|apikey|auth|authorization|"
    r"proxy-authorization|cookie|set-cookie|credentials?|private[_-]?key)(?:[_-]?(?:again|confirm|confirmation|new|old|repeat|[0-9]))?",
    re.IGNORECASE,
)
# user:password in a form, a key in a query: `name=value`, the name says whether it is a secret.
_PAIR = re.compile(r"(?:^|[?&])([\w.~-]+)=([^&\s#]+)")
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
# Up to the last @: a password may contain one.
_USERINFO = re.compile(r"(\w+)://([^/\s?#\"]+)@")
# In text a server sent, whole or cut off. More names than above: what is masked needlessly there is no loss. Keys are
# short, and a page with a single quotation mark must not keep us busy.
_IN_JSON = re.compile(
    r'("[^"]{0,60}(?:password|passwd|secret|token|api[_-]?key|authorization|cookie|credential|private[_-]?key)[^"]{0,60}"\s*:\s*)'
    r'("(?:[^"\\]|\\.)*"?|\[[^][{}]*\]?|-?[0-9][0-9.eE+-]*)',
    re.IGNORECASE,
)
# What expectations are called that look at a value with a name of its own: `json user.token`, `header set-cookie`.
_NAMED = ("json", "header", "row")
_DSN_PASSWORD = re.compile(r"\bpassword\s*=\s*(?:'((?:[^'\\]|\\.)*)'|(\S+))")
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
            named = _is_secret(key)
            # A mapping below a secret's name describes it (`token: {json: ...}`), it is not the secret.
            yield from _walk(value, named and not isinstance(value, dict))
    elif isinstance(data, (list, tuple)):
        for value in data:
            yield from _walk(value, secret and not isinstance(value, (dict, list)))
    elif isinstance(data, str) or (secret and isinstance(data, (int, float)) and not isinstance(data, bool)):
        text = str(data)
        if secret and "{{" not in text:
            yield text
            yield from _parts(text)
        for match in _USERINFO.finditer(text):
            yield from _userinfo(*match.groups())
        for match in _PAIR.finditer(text):
            if _is_secret(match.group(1)):
                yield unquote_plus(match.group(2))
        if text[:1] in ("{", "["):
            try:
                yield from _walk(json.loads(text), False)
            except (ValueError, RecursionError):
                return
        for match in _DSN_PASSWORD.finditer(text):
            yield match.group(1) or match.group(2)


def _userinfo(scheme: str, userinfo: str) -> Iterator[str]:
    """The password of a URL; a user alone in an http URL is a token, in others just a name."""
    user, colon, password = userinfo.partition(":")
    secret = password if colon else user
    if not colon and not scheme.startswith("http"):
        return
    yield secret
    yield unquote(secret)
    # What it becomes in the header that is sent.
    yield base64.b64encode(unquote(userinfo).encode()).decode()


def _is_secret(name: Any) -> bool:
    """A key called password, apiKey, X-Auth-Token, clientSecret, ..."""
    return bool(_SECRET_KEY.fullmatch(_CAMEL.sub("_", str(name))))


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


def _by_key(data: Any, secret: bool) -> Any:
    """JSON data with what is a secret by the name of its key masked; whether there is one may be seen."""
    if isinstance(data, dict):
        return {key: _by_key(value, _is_secret(key)) for key, value in data.items()}
    if isinstance(data, list):
        return [_by_key(value, secret) for value in data]
    shown = not secret or isinstance(data, bool) or not isinstance(data, (str, int, float)) or data == ""
    return data if shown else MASK


class Redactor:
    """Masks known secrets in text and data; more may be added while a flow runs."""

    def __init__(self, values: Iterable[str] = ()) -> None:
        self.values: set[str] = set()
        self._forms: list[str] = []
        for value in values:
            self.add(value)

    def add(self, value: Any) -> None:
        """Learn a secret in the forms it takes on the wire (JSON, URL, base64); containers by leaf."""
        if isinstance(value, dict):
            value = list(value.values())
        if isinstance(value, (list, tuple)):
            for item in value:
                self.add(item)
            return
        if value is None or isinstance(value, bool) or len(str(value)) < _SHORTEST:
            return
        text = str(value)
        self.values.add(text)
        forms = {
            text,
            quote(text, safe=""),
            quote(text),
            quote_plus(text),
            json.dumps(text)[1:-1],
            html.escape(text),
            repr(text)[1:-1],
            base64.b64encode(text.encode()).decode(),
        }
        # Longest first: a secret that contains another must not leave its other half behind.
        self._forms = sorted(set(self._forms) | forms, key=len, reverse=True)

    def text(self, text: str) -> str:
        """The text with every secret masked."""
        for form in self._forms:
            if form in text:
                text = text.replace(form, MASK)
        return text

    def body(self, text: str) -> str:
        """Text a server sent, without secrets: known ones, and what JSON inside it calls one."""
        return _IN_JSON.sub(rf'\1"{MASK}"', self.text(text))

    def seen(self, label: str, value: Any) -> Any:
        """What an expectation saw: masked as a whole where the last part of its label is a secret's name."""
        kind, _blank, path = label.partition(" ")
        name = re.split(r"[\s.]", re.sub(r"\[-?[0-9]*\]$", "", path))[-1].strip('"')
        value = self.body(value) if isinstance(value, str) else value
        return self.data(_by_key(value, kind in _NAMED and _is_secret(name)))

    def data(self, data: Any) -> Any:
        """Deep copy of JSON data with every known secret masked, in keys too."""
        if isinstance(data, str):
            return self.text(data)
        if isinstance(data, dict):
            return {self.text(str(key)): self.data(value) for key, value in data.items()}
        if isinstance(data, (list, tuple)):
            return [self.data(value) for value in data]
        if data is not None and not isinstance(data, bool) and str(data) in self.values:
            return MASK
        return data
