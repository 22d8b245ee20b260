# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""What the steps of a flow share: where requests go, what was saved, cookies, and what must not be shown."""

from __future__ import annotations

import asyncio
import json
import re
import time
import uuid
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import urlencode

from ...masking.redactor import Redactor
from ..checks.base import Clause
from ..checks.http import header_map, method_name, response_clauses
from ..http.client import Request, Response, Trace, parse_address, parse_url, send
from ..http.cookies import Jar
from ..http.wire import HttpError
from ..predicates import SpecError, seconds, show, some_time, unknown_keys, whole

METHODS = ("get", "post", "put", "patch", "delete", "head", "options")
READ_ONLY = ("get", "head", "options", "sse")
BODY_KEYS = ("headers", "json", "body", "form", "timeout", "follow")
STREAM_HEADERS = {"Accept": "text/event-stream", "Cache-Control": "no-cache"}
BUILT_IN = ("uuid", "now")
_REFERENCE = re.compile(r"\$\{([A-Za-z_]\w*)\}")
_SHOWN = 500
_SHORTEST_SESSION = 8


class StepFailed(Exception):
    """A step did not see what it expects; `lines` say what it saw."""

    def __init__(self, *lines: str) -> None:
        super().__init__(lines[0])
        self.lines = list(lines)


class Retry(NamedTuple):
    """When a request is sent again. Times in seconds; `on` holds statuses and the word connect."""

    limit: float = 0.0
    every: float = 1.0
    on: tuple[str, ...] = ("connect", "502", "503", "504")
    methods: tuple[str, ...] = ("GET", "HEAD")


def parse_retry(raw: Any, where: str) -> Retry:
    """`{for: 20s, every: 1s, on: [connect, 502], methods: [GET]}`; raises SpecError."""
    if not isinstance(raw, dict) or not raw:
        raise SpecError(f"{where}: must be a mapping with at least `for`")
    problems = unknown_keys(raw, ("for", "every", "on", "methods"), where)
    on = tuple(str(item) for item in raw.get("on", Retry().on))
    problems += [
        f"{where}.on: {item!r} is neither a status nor connect"
        for item in on
        if item != "connect" and not re.fullmatch("[45][0-9]{2}", item)
    ]
    if "for" not in raw:
        problems.append(f"{where}: `for` is required")
    if problems:
        raise SpecError(*problems)
    methods = tuple(method_name(item) for item in raw.get("methods", Retry().methods))
    return Retry(seconds(raw["for"]), max(0.05, seconds(raw.get("every", 1))), on, methods)


# What is expected of an answer when nothing else is said.
GOOD = {"status": "2xx"}


def mapping(raw: Any, where: str) -> dict[str, Any]:
    """A mapping that says something; raises SpecError for anything else."""
    if not isinstance(raw, dict) or not raw:
        raise SpecError(f"{where}: must be a mapping with at least one entry")
    return raw


def misspelt_references(data: Any, where: str) -> list[str]:
    """One problem for each `${` that no saved value could fill: it would be sent as it stands."""
    if isinstance(data, dict):
        return [p for key, value in data.items() for p in misspelt_references(value, f"{where}.{key}")]
    if isinstance(data, (list, tuple)):
        return [
            p for index, value in enumerate(data) for p in misspelt_references(value, f"{where}[{index}]")
        ]
    rest = _REFERENCE.sub("", data) if isinstance(data, str) else ""
    found = re.search(r"\$\{[^}]*\}?", rest)
    hint = "write ${name}, with a name that `save` gives"
    return [f"{where}: {found.group(0)!r} is no saved value; {hint}"] if found else []


def references(data: Any) -> Iterator[str]:
    """Names used as ${name} anywhere in a declaration."""
    if isinstance(data, dict):
        for key, value in data.items():
            yield from references(key)
            yield from references(value)
    elif isinstance(data, (list, tuple)):
        for value in data:
            yield from references(value)
    elif isinstance(data, str):
        yield from _REFERENCE.findall(data)


class Context:
    """The state of a running flow."""

    def __init__(
        self,
        base: str,
        redactor: Redactor,
        connect_to: str | None = None,
        ca_file: str | None = None,
        validate_certs: bool = True,
        defaults: Mapping[str, Any] | None = None,
    ) -> None:
        self.base = parse_url(base)
        self._prefix = base.rstrip("/")
        self.redactor = redactor
        self.connect_to = parse_address(connect_to, self.base.port) if connect_to else None
        self.ca_file = ca_file
        self.verify = validate_certs
        given = defaults or {}
        problems = unknown_keys(given, ("timeout", "headers", "retry", "cookies"), "defaults")
        if problems:
            raise SpecError(*problems)
        self.timeout = some_time(given.get("timeout", 5), "defaults.timeout")
        self.headers = header_map(given.get("headers", {}))
        self.retry = parse_retry(given["retry"], "defaults.retry") if "retry" in given else Retry()
        self.cookies = Jar(self._learn)
        self._jar = self.cookies if given.get("cookies", True) else None
        self.saved: dict[str, Any] = {"uuid": str(uuid.uuid4()), "now": int(time.time())}

    def fill(self, data: Any) -> Any:
        """Put saved values in place of ${name}; a string that is nothing else takes the value's own type."""
        if isinstance(data, dict):
            return {
                self.fill(key) if "${" in str(key) else key: self.fill(value) for key, value in data.items()
            }
        if isinstance(data, (list, tuple)):
            return [self.fill(value) for value in data]
        if not isinstance(data, str) or "${" not in data:
            return data
        whole = _REFERENCE.fullmatch(data)
        if whole:
            return self._value(whole.group(1))
        return _REFERENCE.sub(lambda match: _text(self._value(match.group(1))), data)

    def _value(self, name: str) -> Any:
        if name not in self.saved:
            raise StepFailed(f"${{{name}}} was never saved")
        return self.saved[name]

    def request(self, method: str, path: Any, raw: Mapping[str, Any], where: str) -> Request:
        """The request a declaration stands for; raises SpecError."""
        text = str(path)
        url = parse_url(text if text.startswith(("http://", "https://")) else self._prefix + text)
        headers = {**self.headers, **header_map(raw.get("headers", {}))}
        bodies = [key for key in ("json", "body", "form") if key in raw]
        if len(bodies) > 1:
            raise SpecError(f"{where}: {' and '.join(bodies)} exclude each other")
        body = b""
        kind = None
        if "json" in raw:
            body, kind = json.dumps(raw["json"]).encode(), "application/json"
        elif "form" in raw:
            body, kind = urlencode(raw["form"]).encode(), "application/x-www-form-urlencoded"
        elif "body" in raw:
            # A body that is a mapping in YAML was meant as JSON; sent as text it would be Python's.
            if isinstance(raw["body"], (dict, list)):
                raise SpecError(f"{where}.body: must be text; use json for data")
            body = str(raw["body"]).encode()
            kind = "application/json" if body[:1] in (b"{", b"[") else None
        if kind and "content-type" not in {name.lower() for name in headers}:
            headers["Content-Type"] = kind
        same_server = (url.host, url.port) == (self.base.host, self.base.port)
        request = Request(
            url,
            method.upper(),
            headers,
            body,
            self.connect_to if same_server else None,
            self.ca_file,
            self.verify,
            follow=whole(0, f"{where}.follow")(raw.get("follow", 0)),
            jar=self._jar,
        )
        request.wire()
        return request

    async def send(self, request: Request, timeout: float, retry: Retry | None = None) -> Response:
        """Send, again where the declaration allows it; raises StepFailed."""
        retry = retry or self.retry
        end = time.monotonic() + retry.limit
        while True:
            pause = retry.every
            again = request.method in retry.methods and time.monotonic() + retry.every < end
            try:
                response = await send(request, Trace(), timeout)
            except HttpError as error:
                if not (again and "connect" in retry.on):
                    raise StepFailed(f"{request.method} {request.url} -> no answer", str(error)) from None
            else:
                if not (again and str(response.status) in retry.on):
                    return response
                pause = max(pause, _asked_to_wait(response))
            # Whom the server asks to come back later would only be refused again before.
            await asyncio.sleep(min(pause, max(retry.every, end - time.monotonic())))

    def _learn(self, value: str) -> None:
        """A session is a secret, and longer than a preference (`theme=dark`), which would be masked all over."""
        if len(value) >= _SHORTEST_SESSION:
            self.redactor.add(value)

    def described(self, request: Request, response: Response) -> list[str]:
        """Request line, status and the first bytes of the body, for a failure."""
        lines = [
            f"{request.method} {request.url} -> {response.status} {response.reason}"
            f" after {response.seconds * 1000:.0f} ms"
        ]
        if response.body:
            lines.append("body: " + self.masked(response.text()))
        return lines

    def masked(self, text: str) -> str:
        """The beginning of a text without secrets, known ones and those that merely look like it."""
        # Masked before it is cut: half a secret would not be recognised any more.
        clean = self.redactor.body(text)
        return clean[:_SHOWN] + ("..." if len(clean) > _SHOWN else "")


def _asked_to_wait(response: Response) -> float:
    """Seconds in Retry-After, 0 where there is none (or a date, which no limiter sends)."""
    text = (response.header("retry-after") or "").strip()
    return float(text) if re.fullmatch("[0-9]{1,5}", text) else 0.0


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def response_expectations(raw: Any, where: str) -> tuple[list[Clause], bool]:
    """Clauses of an `expect`, and whether JSON is taken from any content type; raises SpecError."""
    if not isinstance(raw, dict) or not raw:
        raise SpecError(f"{where}: an empty expectation asserts nothing")
    known = ("status", "header", "body", "json", "latency", "time", "redirect", "version")
    problems = unknown_keys(raw, known, where)
    if "status" not in raw:
        raw = {"status": "3xx" if "redirect" in raw else "2xx", **raw}
    clauses: list[Clause] = []
    for key, expected in raw.items():
        if key in known:
            try:
                name = "latency" if key == "time" else key
                clauses += response_clauses(name, expected, f"{where}.{key}")
            except SpecError as error:
                problems += error.problems
    if problems:
        raise SpecError(*problems)
    header = raw.get("header")
    any_type = isinstance(header, dict) and any(str(name).lower() == "content-type" for name in header)
    return clauses, any_type


def words(clauses: list[Clause]) -> str:
    """What is expected, in a line."""
    return ", ".join(f"{clause.label} {clause.judge}" for clause in clauses)


def unmet(clauses: list[Clause], facts: dict[str, Any], redactor: Redactor) -> list[str]:
    """One sentence for each clause that does not hold; values are masked before they are cut."""
    failures = []
    for clause in clauses:
        try:
            value = clause.get(facts)
        except HttpError as error:
            failures.append(f"{clause.label}: {error}")
            continue
        expected = clause.judge.failure(value)
        if expected is not None:
            failures.append(
                f"{clause.label}: saw {show(redactor.seen(clause.label, value))}, expected {expected}"
            )
    return failures
