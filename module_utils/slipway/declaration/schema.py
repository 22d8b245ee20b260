# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""Which variables declare a system, and what each may be (JSON Schema, read by a person through
`schema_faults`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import jsonschema

from ..masking.names import is_secret
from ..migrate.tools import TOOLS
from ..model.environment import TYPES
from ..model.problems import suggestion

Keys = tuple[Any, ...]
# Path of the key, what is wrong, fix.
Fault = tuple[Keys, str, str]


def _object(properties: Mapping[str, Any], required: tuple[str, ...] = ()) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(required),
        "additionalProperties": False,
    }


_TEXT = {"type": "string", "minLength": 1}
_FLAG = {"type": "boolean"}
_PORT = {"type": "integer", "minimum": 1, "maximum": 65535}
_COUNT = {"type": "integer", "minimum": 0}
_TEXTS = {"type": "array", "items": _TEXT, "minItems": 1}
_COMMAND = {"type": ["string", "array"], "items": {"type": "string"}}
_PATH = {"type": "string", "pattern": "^/[^\\s]*$"}
_SERVICE_NAME = "^[a-zA-Z0-9][a-zA-Z0-9._-]*$"
_SCALAR = {"type": ["string", "integer", "number", "boolean"]}

# The keys of a service depend on its kind.
SERVICE_KINDS: dict[str, dict[str, Any]] = {
    "web": _object(
        {
            "kind": {"const": "web"},
            "port": _PORT,
            "replicas": {"type": "integer", "minimum": 1, "maximum": 20},
            "health": _PATH,
            "route": _PATH,
            "image": _TEXT,
            "drain": _COUNT,
            "command": _COMMAND,
        },
        ("port", "health"),
    ),
    "worker": _object(
        {
            "kind": {"const": "worker"},
            "replicas": {"type": "integer", "minimum": 1},
            "single_active": _FLAG,
            "image": _TEXT,
            "drain": _COUNT,
            "command": _COMMAND,
        }
    ),
    "job": _object({"kind": {"const": "job"}, "image": _TEXT, "command": _COMMAND}),
    "stateful": _object(
        {
            "kind": {"const": "stateful"},
            "image": _TEXT,
            "port": _PORT,
            "host": _TEXT,
            "data": _PATH,
            "drain": _COUNT,
            "command": _COMMAND,
        }
    ),
}

_SOURCE = _object({"repo": _TEXT, "path": _TEXT, "compose": _TEXTS})

VARIABLES: dict[str, dict[str, Any]] = {
    "app_name": {"type": "string", "pattern": "^[a-z][a-z0-9-]{0,30}$"},
    "app_domain": {
        "type": "string",
        "maxLength": 253,
        "pattern": "^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\\.)*[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$",
    },
    "app_version": {"type": "string", "pattern": "^[A-Za-z0-9_][A-Za-z0-9._/+-]*$"},
    "app_source": _SOURCE,
    "app_build_args": {"type": "object", "additionalProperties": _SCALAR},
    "app_port_base": {"type": "integer", "minimum": 1024, "maximum": 65336},
    "app_services": {
        "type": "object",
        "minProperties": 1,
        "propertyNames": {"pattern": _SERVICE_NAME},
        "additionalProperties": {"type": "object"},
    },
    "app_services_ignored": {"type": "array", "items": _TEXT},
    "app_address": {"type": "string"},
    "environment_contract": {
        "type": "object",
        "additionalProperties": _object(
            {
                "type": {"enum": list(TYPES)},
                "required": _FLAG,
                "secret": _FLAG,
                "min_length": _COUNT,
                "pattern": _TEXT,
                "values": {"type": "array", "items": _SCALAR, "minItems": 1},
                "default": {"type": ["string", "integer", "number", "boolean", "array"]},
                "description": _TEXT,
                "forbidden": {"type": ["string", "array"], "items": _TEXT, "minLength": 1},
            }
        ),
    },
    "environment_values": {"type": "object"},
    "environment_file": {"type": "string", "pattern": "^(?!/)(?!.*\\.\\.)[^\\s$]+$"},
}
VARIABLES["database_login"] = _object(
    {
        **dict.fromkeys(
            ("host", "user", "password", "db", "ssl_mode", "ca_cert", "unix_socket", "role"), _TEXT
        ),
        "port": _PORT,
    },
    ("user", "db"),
)
VARIABLES["database_migrations"] = _object(
    {
        "tool": {"enum": [*TOOLS]},
        "service": _TEXT,
        "commands": _object(dict.fromkeys(("info", "upgrade", "downgrade", "sql"), _TEXTS)),
        "contract": {"type": "array", "items": _TEXT},
    },
    ("tool", "service"),
)
REQUIRED = ("app_name", "app_services")
OWN_PREFIXES = ("app_", "environment_")


def is_own(name: str) -> bool:
    """Tell whether a variable is judged here: every one that begins with our prefixes, and the known ones."""
    return name in VARIABLES or name.startswith(OWN_PREFIXES)


_HINTS = {
    "app_name": "a lower-case letter, then up to 30 lower-case letters, digits and '-'",
    "app_domain": "a host name in lower case, such as shop.example.com",
    "app_version": "a branch, tag or commit; quote it if it looks like a number",
    "environment_file": "a relative path such as .env",
    "health": "a path that starts with /",
    "route": "a path that starts with /",
    "data": "an absolute path in the container",
    "port": "a port from 1 to 65535",
    "app_services": "letters, digits, '.', '_' and '-'",
}
_TYPE_NAMES = {
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "array": "a list",
    "object": "a mapping",
}


def schema_faults(variables: Mapping[str, Any]) -> Iterator[Fault]:
    """Yield every violation of the schema, and names that begin like ours but are unknown.

    `variables` holds those variables of the inventory that `is_own`.
    """
    for name in REQUIRED:
        if variables.get(name) is None:
            yield (name,), "is missing", _HINTS.get(name, "declare it in group_vars/all/app.yml")
    for name, value in variables.items():
        if name not in VARIABLES:
            if name.startswith(OWN_PREFIXES):
                yield (
                    (name,),
                    "is not a variable of slipway",
                    suggestion(name, VARIABLES, "remove it or rename it"),
                )
            continue
        if value is None:
            if name not in REQUIRED:
                yield (name,), "has no value", "give it one, or remove the line"
            continue
        yield from _faults(value, VARIABLES[name], (name,))
    services = variables.get("app_services")
    for name, service in services.items() if isinstance(services, dict) else ():
        if not isinstance(service, dict):
            continue
        path = ("app_services", name)
        kind = service.get("kind")
        if kind in SERVICE_KINDS:
            yield from _faults(service, SERVICE_KINDS[kind], path)
        else:
            fix = suggestion(kind, SERVICE_KINDS, f"use one of {', '.join(SERVICE_KINDS)}")
            yield (*path, "kind"), f"'{kind}' is not a kind of service" if kind else "is missing", fix


def _faults(value: Any, schema: Mapping[str, Any], path: Keys) -> Iterator[Fault]:
    for error in jsonschema.Draft202012Validator(schema).iter_errors(value):
        yield from _explained(error, (*path, *error.absolute_path))


def _explained(error: Any, path: Keys) -> Iterator[Fault]:
    """Translate one error of jsonschema; values are shown only where they can be no secret."""
    rule, seen = error.validator, error.instance
    last = next((str(part) for part in reversed(path) if isinstance(part, str)), "")
    hint = _HINTS.get(last, "")
    if rule == "additionalProperties":
        known = list(error.schema.get("properties", {}))
        kind = seen.get("kind") if path[0] == "app_services" else None
        for key in seen:
            if key not in known:
                what = f"is not a key of a {kind} service" if kind else "is not a key that slipway knows here"
                yield (*path, key), what, suggestion(key, known, f"known keys: {', '.join(known)}")
    elif rule == "required":
        for key in error.validator_value:
            if key not in seen:
                yield (*path, key), "is missing", f"add {key}: {_HINTS.get(key, '')}".rstrip(": ")
    elif rule == "type":
        yield path, *_wrong_type(seen, error.validator_value, is_secret(last))
    elif rule == "enum":
        allowed = ", ".join(str(one) for one in error.validator_value)
        yield (
            path,
            f"'{seen}' is not allowed",
            suggestion(seen, error.validator_value, f"use one of {allowed}"),
        )
    elif rule in ("minimum", "maximum"):
        word = "at least" if rule == "minimum" else "at most"
        yield path, f"is {seen}, and has to be {word} {error.validator_value}", hint
    elif rule in ("minLength", "minItems", "minProperties"):
        yield path, "is empty", hint or "give it a value, or remove it"
    else:
        yield path, f"'{seen}' is not allowed" if isinstance(seen, str) else "is not allowed", hint


def _wrong_type(seen: Any, wanted: str | list[str], secret: bool) -> tuple[str, str]:
    names = [_TYPE_NAMES[one] for one in ([wanted] if isinstance(wanted, str) else wanted)]
    wanted_text = " or ".join(names)
    if wanted == "boolean" and isinstance(seen, str):
        shown = f"is the text '{seen}'" if looks_boolean(seen) else "is text"
        return (
            f"{shown}, and has to be true or false",
            "remove the quotes; on the command line -e '{\"name\": false}'",
        )
    found = {dict: "a mapping", list: "a list", str: "text", bool: "true/false", type(None): "nothing"}
    kind = found.get(type(seen), "a number" if secret else f"the number {seen}")
    fix = (
        "put it in quotes"
        if wanted == "string" and isinstance(seen, (int, float, bool))
        else f"write {wanted_text}"
    )
    if wanted in ("integer", "number") and isinstance(seen, str) and seen.lstrip("-").isdigit():
        fix = "remove the quotes; on the command line -e '{\"name\": 1}'"
    return f"is {kind}, and has to be {wanted_text}", fix


def looks_boolean(value: Any) -> bool:
    """Tell whether a value is a text that its author meant as true or false."""
    return isinstance(value, str) and value.lower() in ("true", "false", "yes", "no", "on", "off")
