# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""The environment of a system: is it what the contract asks for, and the file that Compose reads it from.

No message ever shows the value of a secret, nor one that could be a secret for all the contract says.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import math
import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from .problems import suggestion

Values = Mapping[str, Any]
Contract = Mapping[str, Mapping[str, Any]]
# One finding: name of the variable, is the contract (True) or the value (False) to be edited, problem, fix.
Finding = tuple[str, bool, str, str]

# Values of these types are no secrets, unless the contract says so.
_PUBLIC_TYPES = ("integer", "number", "boolean", "enum")
TYPES = ("string", "integer", "number", "boolean", "url", "postgres_url", "redis_url", "enum", "list")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# What needs no quotes in any reader of environment files.
_BARE = re.compile(r"[A-Za-z0-9_./:@%+,-]+")
_BOOLEANS = ("true", "false", "yes", "no", "on", "off", "1", "0")
_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "$": "\\$", "\n": "\\n", "\r": "\\r"})


def said_secret(rule: Mapping[str, Any]) -> bool | None:
    """Tell whether the contract says that a variable is a secret, by `secret` or its type; None: it does not say."""
    if "secret" in rule:
        return bool(rule["secret"])
    return False if rule.get("type") in _PUBLIC_TYPES else None


def as_text(value: Any) -> str | None:
    """Return the value as a container sees it: true/false in lower case, lists joined by commas; or None.

    Raises ValueError for what an environment cannot carry: mappings, NUL, text that is not Unicode.
    """
    if value is None:
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)):
        items = [as_text(item) or "" for item in value]
        if any("," in item for item in items):
            raise ValueError("an item of the list contains a comma, which separates the items")
        return ",".join(items)
    if isinstance(value, Mapping):
        raise ValueError("is a mapping; an environment carries texts")
    text = str(value)
    if "\0" in text:
        raise ValueError("contains a NUL byte, which no environment can carry")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("is not valid Unicode text") from None
    return text


def effective(values: Values, contract: Contract) -> dict[str, str]:
    """Return the whole environment as texts: the values, and the contract's defaults for what has none."""
    defaults = {name: rule["default"] for name, rule in contract.items() if rule.get("default") is not None}
    texts = {name: as_text(value) for name, value in {**defaults, **values}.items()}
    for name, default in defaults.items():
        if texts[name] is None:
            texts[name] = as_text(default)
    return {name: text for name, text in texts.items() if text is not None}


def validate(values: Values, contract: Contract) -> list[Finding]:
    """Return where the values do not meet the contract, and what is wrong with the contract itself.

    Without any contract every name is accepted; with one, names it does not have are refused.
    """
    findings: list[Finding] = []
    for name, rule in contract.items():
        findings += [(name, True, problem, fix) for problem, fix in _contract_faults(rule)]
    for name in values:
        if contract and name not in contract:
            fix = suggestion(name, contract, "add it to environment_contract or remove it")
            findings.append((name, False, "is not in environment_contract", fix))
        if not _NAME.fullmatch(str(name)):
            findings.append(
                (name, False, "is not a name of an environment variable", "use letters, digits and _")
            )
        if str(name).startswith("COMPOSE_"):
            fix = "rename it in the application, or leave it out: slipway decides files, project and profiles"
            findings.append((name, False, "is a setting of Compose itself", fix))
        try:
            as_text(values[name])
        except ValueError as error:
            findings.append((name, False, str(error), "write it as a text"))
    bad = {name for name, *_ in findings}
    texts = effective(
        {name: value for name, value in values.items() if name not in bad},
        {name: rule for name, rule in contract.items() if name not in bad},
    )
    for name, rule in contract.items():
        if name in bad:
            continue
        required = rule.get("required", True)
        if texts.get(name) == "" and not required:
            continue
        if texts.get(name):
            findings += [(name, False, problem, fix) for problem, fix in _value_faults(texts[name], rule)]
        elif required:
            what = rule.get("description") or f"a value of type {rule.get('type', 'string')}"
            where = " (a secret: keep it in vault.yml)" if rule.get("secret") else ""
            seen = "its value is empty" if name in texts else "has no value"
            findings.append(
                (
                    name,
                    name not in texts,
                    f"is required and {seen}",
                    f"set environment_values.{name}: {what}{where}",
                )
            )
    return findings


def _contract_faults(rule: Mapping[str, Any]) -> list[tuple[str, str]]:
    faults = []
    if rule.get("type") == "enum" and not rule.get("values"):
        faults.append(("is an enum without values", "list them: values: [a, b]"))
    try:
        re.compile(str(rule.get("pattern", "")))
    except re.error as error:
        faults.append((f"its pattern is not a regular expression: {error}", "correct the pattern"))
    if rule.get("default") is not None:
        try:
            text = as_text(rule["default"])
        except ValueError as error:
            faults.append((f"its default {error}", "write it as a text"))
        else:
            if not faults and text is not None:
                faults += [(f"its default {problem}", fix) for problem, fix in _value_faults(text, rule)]
    return faults


def _value_faults(text: str, rule: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what is wrong with one value.

    It is shown only where the contract says that it is no secret.
    """
    kind = str(rule.get("type", "string"))
    seen = f"'{text}'" if said_secret(rule) is False else _shape(text)
    faults = []
    if kind in _CHECKS and (wrong := _CHECKS[kind](text)):
        faults.append((f"{wrong}; seen: {seen}", _FIXES[kind]))
    if kind == "enum" and text not in [as_text(value) for value in rule["values"]]:
        allowed = ", ".join(str(as_text(value)) for value in rule["values"])
        faults.append((f"is not one of the allowed values; seen: {seen}", f"use one of {allowed}"))
    if len(text) < int(rule.get("min_length") or 0):
        fix = "generate one: openssl rand -hex 32" if rule.get("secret") else "use a longer value"
        faults.append((f"is shorter than {rule['min_length']} characters: it has {len(text)}", fix))
    if rule.get("pattern") and not re.fullmatch(str(rule["pattern"]), text):
        faults.append(
            (f"does not match the pattern {rule['pattern']}; seen: {seen}", "the whole value has to match")
        )
    forbidden = rule.get("forbidden") or []
    for word in [forbidden] if isinstance(forbidden, str) else forbidden:
        if str(word).lower() in text.lower():
            faults.append((f"contains '{word}', which the contract forbids", "put the real value here"))
    return faults


def _shape(text: str) -> str:
    if not text:
        return "an empty text"
    kinds = [
        name
        for name, pattern in (
            ("letters", "[A-Za-z]"),
            ("digits", "[0-9]"),
            ("blanks", r"\s"),
            ("others", r"[^A-Za-z0-9\s]"),
        )
        if re.search(pattern, text)
    ]
    return f"{len(text)} characters ({', '.join(kinds)}; not shown)"


def _number(text: str) -> str:
    try:
        return "" if math.isfinite(float(text)) and "_" not in text else "is not a number"
    except ValueError:
        return "is not a number"


def _url(text: str, schemes: tuple[str, ...] = (), database: bool = False) -> str:
    if re.search(r"\s", text):
        return "contains blanks"
    try:
        url = urlsplit(text)
        _ = url.port
    except ValueError:
        return "is not a URL: host or port cannot be read"
    if not url.scheme or "://" not in text:
        return "has no scheme"
    # Drivers are named after a plus sign: postgresql+psycopg://
    if schemes and url.scheme.split("+")[0] not in schemes:
        return f"has another scheme than {' or '.join(schemes)}"
    if url.scheme != "unix" and not url.hostname and "host=" not in url.query:
        return "has no host"
    if database and not url.path.strip("/") and "dbname=" not in url.query:
        return "names no database"
    return ""


_CHECKS: dict[str, Callable[[str], str]] = {
    "integer": lambda text: "" if re.fullmatch(r"[-+]?[0-9]+", text) else "is not an integer",
    "number": _number,
    "boolean": lambda text: "" if text.lower() in _BOOLEANS else "is not a boolean",
    "url": _url,
    "postgres_url": lambda text: _url(text, ("postgresql", "postgres"), database=True),
    "redis_url": lambda text: _url(text, ("redis", "rediss", "unix")),
    "list": lambda text: "" if all(item.strip() for item in text.split(",")) else "has an empty item",
}
_FIXES = {
    "integer": "write digits only",
    "number": "write a number such as 0.5",
    "boolean": "write true or false",
    "url": "write scheme://host/path",
    "postgres_url": "write postgresql://user:password@host:5432/database, with special characters as %xx",
    "redis_url": "write redis://:password@host:6379/0, with special characters as %xx",
    "list": "write the items separated by commas, or as a YAML list",
}


def render(texts: Mapping[str, str]) -> str:
    """Return the environment file from which Compose reads exactly these texts, one line for each variable, by
    name.
    """
    return "".join(f"{name}={_quote(texts[name])}\n" for name in sorted(texts))


def _quote(text: str) -> str:
    # In double quotes Compose replaces escapes and then ${...}; with these five escaped, all else stands
    # for itself.
    return text if _BARE.fullmatch(text) else f'"{text.translate(_ESCAPES)}"'


def checksum(texts: Mapping[str, str], key: bytes) -> str:
    """Return a fingerprint of names and values (64 hex digits) that tells nothing of them to who lacks `key`.

    `key` is a random secret of the system, at least 16 bytes; a plain hash would let anybody who reads a
    record try out passwords. Raises ValueError for a shorter key.
    """
    if len(key) < 16:
        raise ValueError("the key of an environment checksum needs at least 16 random bytes")
    canonical = json.dumps(sorted(texts.items()), ensure_ascii=True)
    return hmac.new(key, canonical.encode(), hashlib.sha256).hexdigest()
