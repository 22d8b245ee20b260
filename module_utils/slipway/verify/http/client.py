# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""An HTTP client for judging servers: every phase is timed, every wait is bounded, nothing is hidden.

It never reuses a connection (a fresh one is what a new user gets), never follows a redirect unless told to,
and can be pointed at one replica (`connect_to`) while SNI, Host and certificate checks stay with the URL.
"""

from __future__ import annotations

import asyncio
import base64
import functools
import json
import os
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar
from urllib.parse import unquote, urljoin, urlsplit

from ..predicates import SpecError
from .cookies import Jar
from .wire import (
    DECODABLE,
    MAX_BODY,
    Headers,
    HttpError,
    ResponseParser,
    TooSlow,
    decode_body,
    request_bytes,
)

T = TypeVar("T")
USER_AGENT = "slipway"
_SENSITIVE = ("authorization", "cookie", "proxy-authorization")


class Address(NamedTuple):
    """Where to connect: a name or address, and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Url(NamedTuple):
    """An absolute http or https URL, taken apart."""

    scheme: str
    host: str
    port: int
    target: str
    userinfo: str

    @property
    def netloc(self) -> str:
        """The Host header: without the port where that is the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == {"http": 80, "https": 443}[self.scheme] else f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.netloc}{self.target}"


def parse_url(text: Any) -> Url:
    """Take an absolute URL apart; raises SpecError saying what is wrong with it."""
    text = str(text)
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise SpecError(f"{text!r} is not a URL: {error}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise SpecError(f"{text!r} is not an http:// or https:// URL")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if any(character <= " " for character in target):
        raise SpecError(f"{text!r} contains a blank; write %20")
    # What is not ASCII is sent as UTF-8, percent-encoded, the way browsers do it.
    target = "".join(c if c < "\x7f" else "".join(f"%{byte:02X}" for byte in c.encode()) for c in target)
    userinfo = parts.netloc.rpartition("@")[0]
    return Url(
        parts.scheme, parts.hostname, port or {"http": 80, "https": 443}[parts.scheme], target, userinfo
    )


def parse_address(text: Any, default_port: int | None = None) -> Address:
    """`host:port`, `[v6]:port`, or a bare host where a default port is known; raises SpecError."""
    text = str(text).strip()
    match = re.fullmatch(r"\[([0-9A-Fa-f:.]+(?:%\w+)?)\](?::([0-9]+))?|([^:\s/]+)(?::([0-9]+))?", text)
    if match:
        host, port = match.group(1) or match.group(3), match.group(2) or match.group(4)
    elif text.count(":") > 1 and re.fullmatch("[0-9A-Fa-f:.]+", text):
        host, port = text, None
    else:
        raise SpecError(f"{text!r} is not an address (host:port)")
    number = int(port) if port else default_port
    if not number or number > 65535:
        raise SpecError(f"{text!r} needs a port (host:port)")
    return Address(host, number)


class Trace:
    """What an exchange has done so far: readable from outside when it is cut off by a deadline.

    `phases` holds milliseconds by phase (dns, connect, tls, first_byte, body); `stage` says what is being
    waited for.
    """

    def __init__(self) -> None:
        self.phases: dict[str, float] = {}
        self.stage = "starting"
        self.parser: ResponseParser | None = None
        self.peer = ""
        self.certificate: bytes | None = None
        self.tls_version: str | None = None
        self._since = time.monotonic()

    def begin(self, stage: str) -> None:
        """A new thing is being waited for."""
        self.stage = stage
        self._since = time.monotonic()

    def end(self, phase: str) -> None:
        """The phase is over; its time is added (redirects add up)."""
        self.phases[phase] = round(self.phases.get(phase, 0) + (time.monotonic() - self._since) * 1000, 2)

    def timeout_reason(self, limit: float) -> str:
        """Why nothing came within `limit` seconds."""
        waited = f"no complete answer within {limit:.3g} s: still {self.stage}"
        if self.parser is not None and self.stage.startswith("waiting"):
            return f"{waited}, {self.parser.where()}"
        return waited


async def in_thread(function: Callable[..., T], *args: Any) -> T:
    """Run something that blocks in a daemon thread: one that never returns is left behind, not waited for."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]

    def work() -> None:
        result, error = None, None
        try:
            result = function(*args)
        except BaseException as caught:
            error = caught
        try:
            loop.call_soon_threadsafe(settle, result, error)
        except RuntimeError:
            return  # the loop is gone; so is whoever waited

    threading.Thread(target=work, daemon=True).start()
    return await future


class NoSuchName(HttpError):
    """A resolver has answered that there is no such name, or no address of it."""


_NO_SUCH_NAME = (socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME))


async def resolve(host: str, port: int) -> list[tuple[int, Any]]:
    """Address family and socket address for each address of a name, in the system's order."""
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host)
        except OSError:
            continue
        return [(family, (host, port))]  # nothing to look up, so no thread
    try:
        found = await in_thread(socket.getaddrinfo, host, port, 0, socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        unknown = isinstance(error, socket.gaierror) and error.errno in _NO_SUCH_NAME
        raise (NoSuchName if unknown else HttpError)(f"cannot resolve {host!r}: {reason}") from None
    return [(family, address) for family, _type, _proto, _name, address in found]


async def open_socket(address: Address, trace: Trace, timeout: float) -> socket.socket:
    """A connected, non-blocking socket; raises HttpError.

    Each address of the name gets its share of the time, so a dead IPv6 route leaves some for IPv4.
    """
    loop = asyncio.get_running_loop()
    trace.begin(f"resolving {address.host}")
    candidates = await resolve(address.host, address.port)
    trace.end("dns")
    end = time.monotonic() + timeout
    failures = []
    trace.begin(f"connecting to {address}")
    for index, (family, sockaddr) in enumerate(candidates):
        sock = socket.socket(family, socket.SOCK_STREAM)
        sock.setblocking(False)
        share = max(0.05, (end - time.monotonic()) / (len(candidates) - index))
        try:
            await asyncio.wait_for(loop.sock_connect(sock, sockaddr), share)
        except asyncio.TimeoutError:
            failures.append(f"{sockaddr[0]}: no answer")
        except OSError as error:
            # asyncio puts words of its own into strerror.
            failures.append(f"{sockaddr[0]}: {os.strerror(error.errno) if error.errno else error}")
        except BaseException:
            sock.close()
            raise
        else:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            trace.end("connect")
            trace.peer = str(Address(sockaddr[0], address.port))
            return sock
        sock.close()
    raise HttpError(f"cannot connect to {address} ({'; '.join(failures)})")


async def open_stream(
    address: Address,
    trace: Trace,
    timeout: float,
    tls: ssl.SSLContext | None = None,
    server_name: str | None = None,
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect, with TLS when a context is given; raises HttpError with the reason in words."""
    sock = await open_socket(address, trace, timeout)
    try:
        trace.begin(f"shaking hands (TLS) with {address}")
        options: dict[str, Any] = {}
        if tls:
            # asyncio's own limit would end a slow handshake with a message of its own.
            options = {
                "ssl": tls,
                "server_hostname": server_name or address.host,
                "ssl_handshake_timeout": 3600,
            }
        reader, writer = await asyncio.open_connection(sock=sock, limit=1 << 18, **options)
    except ssl.SSLCertVerificationError as error:
        sock.close()
        raise HttpError(f"certificate not accepted: {error.verify_message}") from None
    except ssl.SSLError as error:
        sock.close()
        raise HttpError(f"TLS handshake failed: {ssl_reason(error)}") from None
    except OSError as error:
        sock.close()
        raise HttpError(f"connection lost while {trace.stage}: {error.strerror or error}") from None
    except BaseException:
        sock.close()
        raise
    if tls:
        trace.end("tls")
        ssl_object = writer.get_extra_info("ssl_object")
        trace.certificate = ssl_object.getpeercert(binary_form=True)
        trace.tls_version = ssl_object.version()
    return reader, writer


def ssl_reason(error: ssl.SSLError) -> str:
    """OpenSSL's reason without its file names and error codes."""
    return (error.reason or str(error)).replace("_", " ").lower()


@functools.lru_cache(maxsize=32)
def tls_context(ca_file: str | None = None, verify: bool = True) -> ssl.SSLContext:
    """A client context trusting the system's authorities, or only those of `ca_file`; raises SpecError."""
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError) as error:
        raise SpecError(f"ca_file {ca_file!r} cannot be used: {error}") from None
    # Python 3.13 and up refuse what browsers and curl accept, a private authority's certificate without a key identifier
    # say. What a check finds must not depend on the Python of the host it runs on.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


class Request(NamedTuple):
    """One request, and how to send it. Times in seconds, sizes in bytes.

    `follow` is how many redirects are followed; `connect_to` replaces the address of the URL's own
    host only. Cookies of the `jar` are sent, and those of answers kept in it, at every hop.
    """

    url: Url
    method: str = "GET"
    headers: Mapping[str, str] = {}
    body: bytes = b""
    connect_to: Address | None = None
    ca_file: str | None = None
    verify: bool = True
    unix_socket: str | None = None
    follow: int = 0
    max_body: int = MAX_BODY
    jar: Jar | None = None

    def head(self) -> dict[str, str]:
        """Header as sent: what every request needs, then what was asked for."""
        headers = {
            "Host": self.url.netloc,
            "User-Agent": USER_AGENT,
            "Accept": "*/*",
            "Accept-Encoding": "identity",
            "Connection": "close",
        }
        if self.url.userinfo:
            credentials = base64.b64encode(unquote(self.url.userinfo).encode()).decode()
            headers["Authorization"] = f"Basic {credentials}"
        cookie = self.jar.header(self.url.host) if self.jar else ""
        if cookie:
            headers["Cookie"] = cookie
        given = {name.lower() for name in self.headers}
        headers = {name: value for name, value in headers.items() if name.lower() not in given}
        headers.update({name: str(value) for name, value in self.headers.items()})
        return headers

    def wire(self) -> bytes:
        """The request as bytes; raises SpecError where a header cannot be sent."""
        try:
            return request_bytes(self.method, self.url.target, self.head(), self.body)
        except (ValueError, UnicodeEncodeError) as error:
            raise SpecError(f"{self.method} {self.url}: {error}") from None


class Response(NamedTuple):
    """A complete answer. `seconds` is from the first lookup to the last byte of the last hop."""

    status: int
    reason: str
    headers: Headers
    body: bytes
    url: Url
    seconds: float
    hops: list[str]

    def header(self, name: str) -> str | None:
        """Value of a header, any case; several are joined with a comma."""
        values = [value for key, value in self.headers if key == name.lower()]
        return ", ".join(values) if values else None

    def text(self) -> str:
        """The body as text, in UTF-8 or the charset the server names; what does not fit is replaced."""
        match = re.search(r"charset=[\"']?([\w.:-]+)", self.header("content-type") or "", re.IGNORECASE)
        try:
            return self.body.decode(match.group(1) if match else "utf-8", "replace")
        except (LookupError, ValueError):  # a charset nobody knows
            return self.body.decode("utf-8", "replace")

    def json(self, any_type: bool = False) -> Any:
        """The body as JSON; raises HttpError when it is not, or when the server does not call it so."""
        kind = (self.header("content-type") or "").split(";")[0].strip().lower()
        if not any_type and kind != "application/json" and not kind.endswith("+json"):
            raise HttpError(f"content-type is {kind or 'missing'!r}, expected JSON")
        try:
            return json.loads(self.body.decode("utf-8"), parse_constant=_no_constant)
        except (ValueError, RecursionError) as error:
            raise HttpError(f"invalid JSON: {error}") from None


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


async def connect(
    request: Request, trace: Trace, timeout: float
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Open the connection a request needs (TCP, TLS or a Unix socket)."""
    if request.unix_socket:
        trace.begin(f"connecting to {request.unix_socket}")
        try:
            reader, writer = await asyncio.open_unix_connection(request.unix_socket)
        except OSError as error:
            raise HttpError(f"cannot connect to {request.unix_socket}: {error.strerror or error}") from None
        trace.end("connect")
        return reader, writer
    address = request.connect_to or Address(request.url.host, request.url.port)
    tls = tls_context(request.ca_file, request.verify) if request.url.scheme == "https" else None
    return await open_stream(address, trace, timeout, tls, request.url.host)


async def _exchange(request: Request, trace: Trace, timeout: float) -> ResponseParser:
    """Send one request over its own connection and read the whole answer."""
    wire = request.wire()
    reader, writer = await connect(request, trace, timeout)
    try:
        parser = trace.parser = ResponseParser(request.method == "HEAD", request.max_body)
        trace.begin("waiting for the answer")
        try:
            writer.write(wire)
            while not parser.done:
                data = await reader.read(65536)
                if data and not parser.started:
                    trace.end("first_byte")
                if not data:
                    parser.eof()
                    break
                parser.feed(data)
        except OSError as error:
            raise HttpError(f"connection lost {parser.where()}: {error.strerror or error}") from None
        trace.end("body")
        # Waiting for the answer includes the first byte; the phase is what came after it.
        trace.phases["body"] = round(max(0.0, trace.phases["body"] - trace.phases.get("first_byte", 0)), 2)
        return parser
    finally:
        writer.transport.abort()


async def send(request: Request, trace: Trace | None = None, timeout: float = 5.0) -> Response:
    """Send a request, following redirects as far as it says; raises HttpError within `timeout` seconds."""
    trace = trace or Trace()
    try:
        return await asyncio.wait_for(_send(request, trace, timeout), timeout)
    except asyncio.TimeoutError:
        raise TooSlow(trace.timeout_reason(timeout)) from None


async def _send(request: Request, trace: Trace, timeout: float) -> Response:
    started = time.monotonic()
    origin = request.url
    hops = [str(request.url)]
    been = {(hops[0], request.jar.header(origin.host) if request.jar else "")}
    while True:
        parser = await _exchange(request, trace, timeout)
        if request.jar:
            request.jar.keep(request.url.host, parser.headers)
        location = parser.header("location")
        if not (request.follow and 300 <= parser.status < 400 and location):
            break
        goal = urljoin(hops[-1], location)
        hops.append(goal)
        try:
            url = parse_url(goal)
        except SpecError as error:
            raise HttpError(f"redirected to something that is no URL: {error}") from None
        # Back where it came from with a cookie more is how many a sign-in works.
        step = goal, request.jar.header(url.host) if request.jar else ""
        if step in been:
            raise HttpError("redirect loop: " + " -> ".join(hops[-3:]))
        been.add(step)
        if len(hops) - 1 > request.follow:
            raise HttpError(f"more than {request.follow} redirects: " + " -> ".join(hops))
        request = _redirected(request, url, parser.status, origin)
    encoding = parser.header("content-encoding")
    # What was asked for by name may be what this cannot undo (br, zstd): then the header is what is looked at.
    wished = next((v for k, v in request.headers.items() if k.lower() == "accept-encoding"), "")
    untouched = request.method == "HEAD" or (encoding not in DECODABLE and str(encoding) in wished)
    body = parser.body if untouched else decode_body(parser.body, encoding, request.max_body)
    seconds = time.monotonic() - started
    return Response(parser.status, parser.reason, parser.headers, body, request.url, seconds, hops)


def _redirected(request: Request, url: Url, status: int, origin: Url) -> Request:
    """The request after a redirect: credentials and `connect_to` stay with the host they were meant for."""
    headers = dict(request.headers)
    keep = status in (307, 308) or request.method in ("GET", "HEAD")
    if url.host != origin.host:
        headers = {name: value for name, value in headers.items() if name.lower() not in _SENSITIVE}
    if not keep:
        headers = {name: value for name, value in headers.items() if not name.lower().startswith("content-")}
    same_server = (url.host, url.port) == (origin.host, origin.port)
    return request._replace(
        url=url,
        headers=headers,
        method=request.method if keep else "GET",
        body=request.body if keep else b"",
        connect_to=request.connect_to if same_server else None,
    )
