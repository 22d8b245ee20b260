"""Make any task result fit to be printed and kept: plain JSON data, no control characters, nothing secret.

Modules must not return secrets in the first place. This is the second line of defence: it goes by the names
of keys and the shapes of strings, so it can hide a harmless value, and it misses a secret that looks like
nothing.
"""

from __future__ import annotations

import math
import re
from typing import Any

REDACTED = "[redacted]"

# A value under a key with one of these words is never shown.
_SECRET_WORDS = frozenset(
    ("password", "passwords", "passwd", "passphrase", "pgpassword", "pwd", "secret", "secrets", "token")
) | {"credential", "credentials", "authorization", "cookie", "apikey", "privatekey"}
# Under these a number is a count ("keys: 4", "tokens: 1500"), a text may be the secret itself.
_DOUBTFUL_WORDS = frozenset(("key", "keys", "tokens", "auth", "cookies"))
# "<word>_key" that names a column, a public thing or an identifier.
_HARMLESS_KEYS = frozenset(("primary", "foreign", "public", "index", "partition", "sort", "unique", "host"))

_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_NOT_WORD = re.compile(r"[^A-Za-z0-9]+")

_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
# Everything XML 1.0 forbids or discourages, beside tab and line feed.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ufdd0-\ufdef\ufffe\uffff]")

_PRIVATE_KEY = re.compile(
    r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----.*?(?:-----END [A-Z ]{0,30}PRIVATE KEY-----|\Z)", re.DOTALL
)
_AGE_KEY = re.compile(r"AGE-SECRET-KEY-1[0-9A-Z]+")
_URL_PASSWORD = re.compile(r"(\b[a-z][a-z0-9+.-]{1,20}://[^\s:/@]{0,100}:)[^\s/]+(?=@)", re.IGNORECASE)
_HEADER = re.compile(r"(\bauthorization[\"']?\s*[:=]\s*[\"']?(?:[a-z]+ +)?)[^\s\"',]+", re.IGNORECASE)
_BEARER = re.compile(r"(\bbearer +)(?=[^\s]*[0-9])[A-Za-z0-9._~+/=-]{12,}", re.IGNORECASE)
# `password=...`, `PGPASSWORD='...'`, `"api_key": "..."`. Not `PASSWORD: ...`: so messages name a variable.
_NAME = r"[\w.-]{0,40}(?:passw(?:or)?d|passphrase|secret|token|(?:api|private|access)[_-]?key)[\w.-]{0,40}"
_QUOTED = r"\"(?:[^\"\\\n]|\\.)*\"|'(?:[^'\\\n]|\\.)*'"
_ASSIGNED = re.compile(rf"(\b{_NAME}=)(?:{_QUOTED}|[^\s,;&\"']+)", re.IGNORECASE)
_QUOTED_PAIR = re.compile(rf"([\"']{_NAME}[\"']\s*:\s*)(?:{_QUOTED})", re.IGNORECASE)


def looks_secret(key: str) -> bool:
    """Whether a value under this key is kept out of every report, whatever its type.

    Snake case, kebab case and camel case are understood: `api_key`, `X-Auth-Token`, `privateKey`.
    """
    return _kind(key) != ""


def _kind(key: str) -> str:
    """`secret` (hide anything), `doubtful` (hide texts) or the empty string."""
    words = [word.lower() for word in _NOT_WORD.split(_CAMEL.sub("_", key)) if word]
    if any(word in _SECRET_WORDS for word in words):
        return "secret"
    if not words:
        return ""
    if words[-1] == "pass" and len(words) > 1:
        return "doubtful"
    if words[-1] in _DOUBTFUL_WORDS and not (len(words) > 1 and words[-2] in _HARMLESS_KEYS):
        return "doubtful"
    return ""


def clean(text: str) -> str:
    """Text without terminal escapes, control characters, lone surrogates; line breaks become line feeds."""
    text = _ANSI.sub("", text).replace("\r\n", "\n").replace("\r", "\n")
    return _CONTROL.sub("", text.encode("utf-8", "replace").decode("utf-8"))


def scrub(text: str) -> str:
    """Clean text in which passwords in addresses, assignments, headers and private keys are replaced."""
    text = clean(text)
    text = _PRIVATE_KEY.sub(REDACTED, text)
    text = _AGE_KEY.sub(REDACTED, text)
    text = _URL_PASSWORD.sub(rf"\1{REDACTED}", text)
    text = _HEADER.sub(rf"\1{REDACTED}", text)
    text = _BEARER.sub(rf"\1{REDACTED}", text)
    text = _ASSIGNED.sub(rf"\1{REDACTED}", text)
    return _QUOTED_PAIR.sub(rf'\1"{REDACTED}"', text)


def publishable(value: Any) -> Any:
    """A copy of `value` as plain JSON data with everything that looks secret replaced by `[redacted]`.

    Keys become strings; tuples and sets lists; numbers that JSON lacks (NaN) and unknown types text.
    """
    return _walk(value, "")


def _walk(value: Any, kind: str) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, dict):
        return {clean(str(key)): _walk(item, kind or _kind(str(key))) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_walk(item, kind) for item in value]
    if isinstance(value, (int, float)):
        if kind == "secret":
            return REDACTED
        return value if math.isfinite(value) else str(value)
    text = str(value)
    if kind and text:
        return REDACTED
    return scrub(text)
