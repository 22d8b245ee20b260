# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""Sign webhook bodies the way senders do, and forge them the way attackers do."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import time
import uuid
from typing import Any, NamedTuple

from ..predicates import SpecError, unknown_keys

# What is signed, how the result is written, and the headers that carry it.
SCHEMES: dict[str, dict[str, Any]] = {
    "hex": {"payload": "{body}", "headers": {"X-Signature": "{signature}"}},
    "base64": {"payload": "{body}", "encoding": "base64", "headers": {"X-Signature": "{signature}"}},
    "github": {
        "payload": "{body}",
        "headers": {"X-Hub-Signature-256": "sha256={signature}", "X-GitHub-Delivery": "{id}"},
    },
    "stripe": {
        "payload": "{timestamp}.{body}",
        "headers": {"Stripe-Signature": "t={timestamp},v1={signature}"},
    },
    "standard-webhooks": {
        "payload": "{id}.{timestamp}.{body}",
        "encoding": "base64",
        "headers": {
            "webhook-id": "{id}",
            "webhook-timestamp": "{timestamp}",
            "webhook-signature": "v1,{signature}",
        },
    },
    "custom": {},
}
_KEYS = (
    "scheme",
    "secret",
    "secret_encoding",
    "payload",
    "encoding",
    "algorithm",
    "timestamp",
    "header",
    "headers",
)
_ALGORITHMS = ("sha1", "sha256", "sha384", "sha512")
_FIELD = re.compile(r"\{(\w+)\}")


class Signed(NamedTuple):
    """A body with the headers that vouch for it; `id` and `timestamp` are what went into them."""

    headers: dict[str, str]
    body: bytes
    id: str
    timestamp: float


class Signer:
    """A compiled `sign` declaration; raises SpecError with every mistake.

    `payload` and the values of `headers` are templates with {id}, {timestamp}, {body} and {signature}.
    `timestamp` is `seconds` or `milliseconds`. `header` is short for one header with the bare signature.
    """

    def __init__(self, given: Any, where: str) -> None:
        if not isinstance(given, dict):
            raise SpecError(f"{where}: must be a mapping with scheme and secret")
        problems = unknown_keys(given, _KEYS, where)
        scheme = given.get("scheme", "custom")
        if scheme not in SCHEMES:
            problems += unknown_keys({str(scheme): 0}, SCHEMES, f"{where}.scheme")
        setting = {**SCHEMES.get(scheme, {}), **given}
        if "header" in given:
            setting["headers"] = {given["header"]: "{signature}"}
        self._payload = str(setting.get("payload", ""))
        self._encoding = setting.get("encoding", "hex")
        self._algorithm = setting.get("algorithm", "sha256")
        self._unit = setting.get("timestamp", "seconds")
        headers = setting.get("headers")
        self._headers: dict[str, str] = (
            {str(k): str(v) for k, v in headers.items()} if isinstance(headers, dict) else {}
        )
        if "{body}" not in self._payload:
            problems.append(f"{where}.payload: must contain {{body}}, or anything could be in it")
        if not any("{signature}" in value for value in self._headers.values()):
            problems.append(f"{where}.headers: none carries {{signature}}")
        for template in (self._payload, *self._headers.values()):
            fields = dict.fromkeys(_FIELD.findall(template), 0)
            problems += unknown_keys(fields, ("id", "timestamp", "body", "signature"), where)
        if self._encoding not in ("hex", "base64"):
            problems.append(f"{where}.encoding: {self._encoding!r} is neither hex nor base64")
        if self._algorithm not in _ALGORITHMS:
            problems.append(f"{where}.algorithm: {self._algorithm!r}; known: {', '.join(_ALGORITHMS)}")
        if self._unit not in ("seconds", "milliseconds"):
            problems.append(f"{where}.timestamp: {self._unit!r} is neither seconds nor milliseconds")
        self._secret = b""
        try:
            self._secret = _secret(str(given.get("secret") or ""), given.get("secret_encoding"), scheme)
        except ValueError as error:
            problems.append(f"{where}.secret: {error}")
        if problems:
            raise SpecError(*problems)

    @property
    def has_timestamp(self) -> bool:
        """A timestamp is signed, so that an old message can be told from a new one."""
        return "{timestamp}" in self._payload

    def sign(self, body: bytes, age: float = 0.0, wrong_secret: bool = False) -> Signed:
        """Sign a body as of `age` seconds ago, under a new id."""
        stamp = time.time() - age
        secret = self._secret[::-1] + b"x" if wrong_secret else self._secret
        return self._with(body, f"msg_{uuid.uuid4().hex}", stamp, secret)

    def _with(self, body: bytes, identifier: str, stamp: float, secret: bytes) -> Signed:
        number = int(stamp * 1000) if self._unit == "milliseconds" else int(stamp)
        fields = {"id": identifier, "timestamp": str(number)}
        # Put together from bytes: a body is what is sent, not what it decodes to.
        parts = re.split(r"(\{\w+\})", self._payload)
        payload = b"".join(body if part == "{body}" else _fill(part, fields).encode() for part in parts)
        digest = hmac.new(secret, payload, getattr(hashlib, self._algorithm)).digest()
        fields["signature"] = digest.hex() if self._encoding == "hex" else base64.b64encode(digest).decode()
        headers = {name: _fill(value, fields) for name, value in self._headers.items()}
        return Signed(headers, body, identifier, stamp)

    def forge(self, case: str, original: Signed, age: float) -> Signed:
        """The message of a replay case, made from one that was accepted."""
        if case == "same_id":
            return original
        if case == "same_signature":
            fresh = self.sign(original.body)
            return original._replace(
                headers={
                    name: fresh.headers[name] if template == "{id}" else original.headers[name]
                    for name, template in self._headers.items()
                }
            )
        if case == "stale":
            return self.sign(original.body, age)
        if case == "wrong_secret":
            return self.sign(original.body, wrong_secret=True)
        fresh = self.sign(original.body)
        if case == "tampered_body":
            return fresh._replace(body=tamper(original.body))
        unsigned = {name: fresh.headers[name] for name, v in self._headers.items() if "{signature}" not in v}
        return fresh._replace(headers=unsigned)


CASES = ("same_id", "same_signature", "stale", "tampered_body", "no_signature", "wrong_secret")


def tamper(body: bytes) -> bytes:
    """Another body that still parses: a field more in a JSON object, else a blank more."""
    stripped = body.rstrip()
    if stripped.startswith(b"{") and stripped.endswith(b"}"):
        comma = b"" if stripped[1:-1].strip() == b"" else b","
        return stripped[:-1] + comma + b'"tampered":true}'
    return body + b" "


def _fill(template: str, fields: dict[str, str]) -> str:
    return _FIELD.sub(lambda match: fields.get(match.group(1), match.group(0)), template)


def _secret(text: str, encoding: str | None, scheme: str) -> bytes:
    if not text:
        raise ValueError("is required and must not be empty")
    if scheme == "standard-webhooks" and encoding is None:
        encoding, text = "base64", text[6:] if text.startswith("whsec_") else text
    try:
        if encoding == "base64":
            return base64.b64decode(text, validate=True)
        if encoding == "hex":
            return bytes.fromhex(text)
    except ValueError:
        raise ValueError(f"is not valid {encoding}") from None
    if encoding not in (None, "text"):
        raise ValueError("secret_encoding must be text, base64 or hex")
    return text.encode()
