# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""The check kinds `http` and `tcp`."""

from __future__ import annotations

import asyncio
import json
from typing import Any, ClassVar
from urllib.parse import urljoin

from ...masking.redactor import Redactor
from ..http.client import (
    Address,
    Request,
    Response,
    Trace,
    open_socket,
    open_stream,
    parse_address,
    parse_url,
    send,
)
from ..http.cookies import Jar
from ..http.wire import MAX_BODY, HttpError
from ..predicates import (
    MISSING,
    Duration,
    Predicate,
    SpecError,
    StatusPredicate,
    on_text,
    seconds,
    size,
    whole,
)
from ..selectors import Selector
from .base import Clause, Facts, Kind, each, flag

READ_ONLY = ("GET", "HEAD", "OPTIONS")


def response_clauses(key: str, expected: Any, where: str) -> list[Clause]:
    """Clauses on the response at `facts["response"]`: shared by health checks and smoke flows."""
    if key == "status":
        return [Clause("status", lambda facts: facts["response"].status, StatusPredicate(expected, where))]
    if key == "header":
        return [
            Clause(f"header {name}", _header(str(name)), on_text(operand, f"{where}.{name}"))
            for name, operand in each(expected, where).items()
        ]
    if key == "body":
        body = on_text(expected, where, plain="contains")
        return [Clause("body", lambda facts: facts["response"].text(), body)]
    if key == "json":
        clauses = []
        for path, operand in each(expected, where).items():
            selector = Selector(str(path), where)
            clauses.append(Clause(f"json {path}", _json(selector), Predicate(operand, f"{where}[{path}]")))
        return clauses
    if key == "latency":
        latency = Predicate(expected, where, seconds, plain="lte")
        return [Clause("latency", lambda facts: Duration(facts["response"].seconds), latency)]
    if key == "redirect":
        return [Clause("redirect", _redirect, on_text(expected, where))]
    if key == "version":
        return [_version(expected, where)]
    raise SpecError(f"{where}: unknown expectation")


def _header(name: str) -> Any:
    def get(facts: Facts) -> Any:
        value = facts["response"].header(name)
        return MISSING if value is None else value

    return get


def _json(selector: Selector) -> Any:
    return lambda facts: selector.get(_document(facts))


def _document(facts: Facts) -> Any:
    """The body as JSON, parsed once; an explicit expectation on content-type replaces the built-in one."""
    if "document" not in facts:
        facts["document"] = facts["response"].json(any_type=facts.get("any_type", False))
    return facts["document"]


def _redirect(facts: Facts) -> Any:
    """Where the response redirects to, as an absolute URL on the server that sent it."""
    response: Response = facts["response"]
    location = response.header("location")
    if location is None:
        return MISSING
    # A target on the same server is compared as written in the inventory: a path stays a path.
    absolute = urljoin(str(response.url), location)
    prefix = f"{response.url.scheme}://{response.url.netloc}"
    return absolute[len(prefix) :] if absolute.startswith(prefix + "/") else absolute


def _version(expected: Any, where: str) -> Clause:
    """`1.2.3`, or `{equals: 1.2.3, json: path}` or `{equals: ..., header: name}`."""
    get: Any
    if isinstance(expected, dict):
        if set(expected) not in ({"equals", "json"}, {"equals", "header"}):
            raise SpecError(f"{where}: must be a version, or equals with either json or header")
        at_path = "json" in expected
        get = _json(Selector(str(expected["json"]), where)) if at_path else _header(str(expected["header"]))
        expected = expected["equals"]
    else:
        selector = Selector("version", where)

        def get(facts: Facts) -> Any:
            response: Response = facts["response"]
            if "json" in (response.header("content-type") or ""):
                return selector.get(_document(facts))
            return response.text().strip()

    if expected in (None, ""):
        raise SpecError(f"{where}: no version is given")

    def text(facts: Facts) -> Any:
        # Some write `"version": 7`; a version is a text all the same.
        value = get(facts)
        return str(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else value

    return Clause("version", text, Predicate({"eq": str(expected)}, where))


RESPONSE_EXPECTATIONS = ("status", "header", "body", "json", "latency", "redirect", "version")


def method_name(value: Any) -> str:
    """An HTTP method in upper case; raises SpecError for what is none."""
    name = str(value).upper()
    if not name.isalpha():
        raise SpecError(f"{value!r} is not an HTTP method")
    return name


def header_map(value: Any) -> dict[str, str]:
    """Request headers as strings; raises SpecError for a value that would break the header block."""
    if not isinstance(value, dict):
        raise SpecError("must be a mapping of names to values")
    headers = {str(name): str(content) for name, content in value.items()}
    for name, content in headers.items():
        if any(c in name + content for c in "\r\n\0") or not name.isascii() or " " in name:
            raise SpecError(f"{name!r} cannot be sent: blank in the name or line break in the value")
    return headers


class HttpCheck(Kind):
    """One request over a connection of its own, and what its answer must look like."""

    name = "http"
    plain_option = "url"
    required = ("url",)
    options: ClassVar = {
        "url": parse_url,
        "method": method_name,
        "headers": header_map,
        "body": str,
        "json": json.dumps,
        "connect_to": str,
        "ca_file": str,
        "validate_certs": flag,
        "follow": whole(),
        "max_body": size,
        "unix_socket": str,
    }
    expectations: ClassVar = dict.fromkeys(RESPONSE_EXPECTATIONS)
    defaults: ClassVar = {"status": "2xx"}

    def __init__(self, given: Any, expect: Any, where: str) -> None:
        if isinstance(expect, dict) and "redirect" in expect and "status" not in expect:
            expect = {"status": "3xx", **expect}
        super().__init__(given, expect, where)
        headers = self.option.get("headers", {})
        body = self.option.get("body", "")
        if "json" in self.option:
            if body:
                raise SpecError(f"{where}.http: body and json exclude each other")
            body = self.option["json"]
            headers = {"Content-Type": "application/json", **headers}
        url = self.option["url"]
        self._any_type = any(str(name).lower() == "content-type" for name in self.expect.get("header") or ())
        self.request = Request(
            url,
            self.option.get("method", "GET"),
            headers,
            body.encode(),
            parse_address(self.option["connect_to"], url.port) if "connect_to" in self.option else None,
            self.option.get("ca_file"),
            self.option.get("validate_certs", True),
            self.option.get("unix_socket"),
            self.option.get("follow", 0),
            self.option.get("max_body", MAX_BODY),
        )
        self.request.wire()

    def clause(self, key: str, expected: Any, where: str) -> list[Clause]:
        """Compile one expectation on the response."""
        return response_clauses(key, expected, where)

    def subject(self) -> str:
        """Method, URL and the address behind it."""
        where = f" at {self.request.connect_to}" if self.request.connect_to else ""
        return f"{self.request.method} {self.request.url}{where}"

    @property
    def read_only(self) -> bool:
        """Only methods that change nothing run in check mode."""
        return self.request.method in READ_ONLY

    async def look(self, trace: Trace, timeout: float) -> Facts:
        """Send the request once."""
        # Each look is a new visitor, who keeps cookies from one redirect to the next.
        request = self.request._replace(jar=Jar())
        return {"response": await send(request, trace, timeout), "any_type": self._any_type}

    def judge(self, facts: Facts, redactor: Redactor) -> list[str]:
        """Failures, with the beginning of the body beside an unexpected status or JSON that is none."""
        failures = super().judge(facts, redactor)
        response: Response = facts["response"]
        if response.body and any(failure.startswith(("status:", "json")) for failure in failures):
            failures[-1] += f"; body: {redactor.body(response.text())[:120]!r}"
        if failures and len(response.hops) > 1:
            failures[-1] += "; redirected " + " -> ".join(response.hops)
        return failures


class TcpCheck(Kind):
    """A port that accepts connections, or one that must not; optionally what it says."""

    name = "tcp"
    plain_option = "address"
    required = ("address",)
    options: ClassVar = {"address": parse_address, "send": str}
    expectations: ClassVar = {"open": flag, "banner": None}
    defaults: ClassVar = {"open": True}

    def __init__(self, given: Any, expect: Any, where: str) -> None:
        super().__init__(given, expect, where)
        if "banner" in self.expect and not self.wants("open"):
            raise SpecError(f"{where}.expect: a closed port has no banner; expect open: true, or no banner")

    def clause(self, key: str, expected: Any, where: str) -> list[Clause]:
        """`banner` is text."""
        if key != "banner":
            return super().clause(key, expected, where)
        return [Clause(key, lambda facts: facts.get(key, MISSING), on_text(expected, where))]

    def subject(self) -> str:
        """The address."""
        return str(self.option["address"])

    async def look(self, trace: Trace, timeout: float) -> Facts:
        """Connect; read up to 1 KiB where a banner is expected."""
        address: Address = self.option["address"]
        must_be_open = self.wants("open")
        try:
            if "banner" not in self.expect:
                (await asyncio.wait_for(open_socket(address, trace, timeout), timeout)).close()
                return {"open": True}
            reader, writer = await asyncio.wait_for(open_stream(address, trace, timeout), timeout)
        except (HttpError, asyncio.TimeoutError) as error:
            # "Closed" is a good answer where it is asked for; a name that does not resolve is never one.
            if must_be_open or trace.stage.startswith("resolving"):
                raise
            return {"open": False, "why": str(error)}
        try:
            trace.begin("waiting for the banner")
            if "send" in self.option:
                writer.write(self.option["send"].encode())
            banner = b""
            while b"\n" not in banner and len(banner) < 1024:
                data = await reader.read(1024)
                if not data:
                    break
                banner += data
            trace.end("first_byte")
            return {"open": True, "banner": banner.decode("utf-8", "replace")}
        finally:
            writer.transport.abort()
