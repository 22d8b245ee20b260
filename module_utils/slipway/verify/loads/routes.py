# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""The routes of a load as they are declared."""

from __future__ import annotations

import json
from typing import Any

from ..checks.http import header_map, method_name
from ..http.client import Request, parse_address, parse_url
from ..predicates import SpecError, StatusPredicate, some_time, unknown_keys, whole
from .engine import Route

_KEYS = (
    "name",
    "url",
    "path",
    "method",
    "headers",
    "body",
    "json",
    "weight",
    "connections",
    "timeout",
    "status",
)


def parse_routes(
    raw: Any,
    base_url: str | None = None,
    connect_to: str | None = None,
    ca_file: str | None = None,
    validate_certs: bool = True,
    connections: str = "keep-alive",
    timeout: float = 10.0,
) -> list[Route]:
    """Compile declared routes; the other arguments are defaults. Raises SpecError with every mistake."""
    if not isinstance(raw, list) or not raw:
        raise SpecError("routes: an empty list loads nothing; declare at least one")
    problems: list[str] = []
    routes: list[Route] = []
    for index, given in enumerate(raw):
        where = f"routes[{index}]"
        entry = {"path": given} if isinstance(given, str) else given
        if not isinstance(entry, dict):
            problems.append(f"{where}: must be a path or a mapping")
            continue
        problems += unknown_keys(entry, _KEYS, where)
        try:
            routes.append(
                _route(entry, where, base_url, connect_to, ca_file, validate_certs, connections, timeout)
            )
        except SpecError as error:
            problems += [p if p.startswith(where) else f"{where}: {p}" for p in error.problems]
        except (TypeError, ValueError) as error:
            problems.append(f"{where}: {error}")
    if problems:
        raise SpecError(*problems)
    return routes


def _route(
    entry: dict[str, Any],
    where: str,
    base_url: str | None,
    connect_to: str | None,
    ca_file: str | None,
    validate_certs: bool,
    connections: str,
    timeout: float,
) -> Route:
    if ("url" in entry) == ("path" in entry):
        raise SpecError(f"{where}: either url, or path below the base URL")
    if "path" in entry and not base_url:
        raise SpecError(f"{where}: a path needs a base URL")
    url = parse_url(entry["url"] if "url" in entry else str(base_url).rstrip("/") + str(entry["path"]))
    headers = header_map(entry.get("headers", {}))
    body = str(entry.get("body", ""))
    if "json" in entry:
        body = json.dumps(entry["json"])
        headers = {"Content-Type": "application/json", **headers}
    method = method_name(entry.get("method", "POST" if body else "GET"))
    weight = whole(1, f"{where}.weight")(entry.get("weight", 1))
    if weight > 10000:
        raise SpecError(f"{where}.weight: at most 10000")
    kind = entry.get("connections", connections)
    if kind not in ("keep-alive", "fresh"):
        raise SpecError(f"{where}.connections: {kind!r} is neither keep-alive nor fresh")
    request = Request(
        url,
        method,
        headers,
        body.encode(),
        parse_address(connect_to, url.port) if connect_to else None,
        ca_file,
        validate_certs,
    )
    request.wire()
    status = StatusPredicate(entry.get("status", ["2xx", "3xx"]), f"{where}.status")
    name = str(entry.get("name") or f"{method} {url.target.partition('?')[0]}")
    return Route(
        name,
        request,
        weight,
        kind == "fresh",
        some_time(entry.get("timeout", timeout), f"{where}.timeout"),
        status,
    )
