# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""HTTP/1.1 as bytes: requests are written, responses are parsed, nothing here opens a socket.

One parser serves health checks, smoke flows and the load probe, so a server that breaks the protocol is
judged the same way by all three. It never trusts a length: header and body are bounded.
"""

from __future__ import annotations

import functools
import re
import zlib
from collections.abc import Callable, Mapping
from typing import NamedTuple

# Names in lower case, in the order they came.
Headers = tuple[tuple[str, str], ...]
MAX_HEAD = 64 * 1024
MAX_BODY = 1024 * 1024
DECODABLE = ("gzip", "x-gzip", "deflate")

_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: (.*))?")
_HEADER_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_CHUNK_SIZE = re.compile(rb"[0-9A-Fa-f]{1,15}")
_PREFIX = b"HTTP/1."

_HEAD, _LENGTH, _CHUNK_HEAD, _CHUNK_DATA, _TRAILER, _UNTIL_CLOSE, _DONE = range(7)


class HttpError(Exception):
    """The exchange failed below the level of a status code; the message is for a person."""


class TooSlow(HttpError):
    """There was no complete answer in time."""


class ProtocolError(HttpError):
    """The peer answered, but not with valid HTTP."""


class BodyTooLarge(HttpError):
    """The body went past the limit; the rest was not read."""


class _Head(NamedTuple):
    status: int
    reason: str
    http10: bool
    headers: Headers


# Under load a server sends the same header thousands of times a second; its date changes once in one.
@functools.lru_cache(maxsize=64)
def _parsed(head: bytes) -> _Head:
    """A status line and headers; raises ProtocolError."""
    lines = head.split(b"\r\n")
    match = _STATUS_LINE.fullmatch(lines[0])
    if not match:
        raise ProtocolError(f"invalid status line {lines[0][:60]!r}")
    headers = []
    for line in lines[1:]:
        name, colon, value = line.partition(b":")
        if not colon or not _HEADER_NAME.fullmatch(name):
            raise ProtocolError(f"invalid header line {line[:60]!r}")
        headers.append((name.decode("ascii").lower(), value.strip(b" \t").decode("latin-1")))
    reason = (match.group(3) or b"").decode("latin-1")
    return _Head(int(match.group(2)), reason, match.group(1) == b"0", tuple(headers))


class ResponseParser:
    """Parse one response incrementally.

    :param head_only: the request was a HEAD: no body follows whatever the header says.
    :param max_body: bytes of (transfer-decoded) body that are accepted.
    :param on_data: called with each piece of body instead of collecting it (streams, load).
    """

    __slots__ = (
        "_buffer",
        "_chunks",
        "_head_only",
        "_left",
        "_max_body",
        "_on_data",
        "_received",
        "_state",
        "headers",
        "http10",
        "reason",
        "status",
    )

    def __init__(
        self,
        head_only: bool = False,
        max_body: int = MAX_BODY,
        on_data: Callable[[bytes], None] | None = None,
    ) -> None:
        self._head_only = head_only
        self._max_body = max_body
        self._on_data = on_data
        self._buffer = b""
        self._chunks: list[bytes] = []
        self._left = 0
        self._received = 0
        self._state = _HEAD
        self.status = 0
        self.reason = ""
        self.http10 = False
        self.headers: Headers = ()

    @property
    def done(self) -> bool:
        """The response is complete."""
        return self._state == _DONE

    @property
    def started(self) -> bool:
        """At least one byte of the response has arrived."""
        return bool(self.status or self._buffer)

    @property
    def body(self) -> bytes:
        """The body received so far (empty when `on_data` takes it)."""
        return b"".join(self._chunks)

    @property
    def rest(self) -> bytes:
        """Bytes that arrived after the end of this response."""
        return self._buffer if self.done else b""

    def header(self, name: str) -> str | None:
        """Value of a header by lower-case name; several are joined with a comma; None when absent."""
        values = [value for key, value in self.headers if key == name]
        return ", ".join(values) if values else None

    @property
    def keep_alive(self) -> bool:
        """The connection may carry another request after this response."""
        connection = (self.header("connection") or "").lower()
        if "close" in connection or (self.http10 and "keep-alive" not in connection):
            return False
        return self._state == _DONE and self._left >= 0

    def feed(self, data: bytes) -> bool:
        """Take bytes from the connection; returns True once the response is complete."""
        buffer = self._buffer + data if self._buffer else data
        while True:
            state = self._state
            if state == _HEAD:
                if buffer[: len(_PREFIX)] != _PREFIX[: len(buffer)]:
                    raise ProtocolError(f"not an HTTP answer, it starts with {buffer[:40]!r}")
                end = buffer.find(b"\r\n\r\n")
                if end < 0:
                    if len(buffer) > MAX_HEAD:
                        raise ProtocolError(f"header larger than {MAX_HEAD} bytes")
                    break
                self._parse_head(buffer[:end])
                buffer = buffer[end + 4 :]
            elif state == _LENGTH:
                if not buffer:
                    break
                piece, buffer = buffer[: self._left], buffer[self._left :]
                self._left -= len(piece)
                self._take(piece)
                if not self._left:
                    self._state = _DONE
            elif state == _CHUNK_HEAD:
                end = buffer.find(b"\r\n")
                if end < 0:
                    if len(buffer) > 1024:
                        raise ProtocolError("chunk header larger than 1024 bytes")
                    break
                size = buffer[:end].split(b";", 1)[0].strip()
                if not _CHUNK_SIZE.fullmatch(size):
                    raise ProtocolError(f"invalid chunk size {size[:40]!r}")
                self._left = int(size, 16)
                buffer = buffer[end + 2 :]
                self._state = _CHUNK_DATA if self._left else _TRAILER
            elif state == _CHUNK_DATA:
                if self._left:
                    if not buffer:
                        break
                    piece, buffer = buffer[: self._left], buffer[self._left :]
                    self._left -= len(piece)
                    self._take(piece)
                    if self._left:
                        break
                if len(buffer) < 2:
                    break
                if buffer[:2] != b"\r\n":
                    raise ProtocolError("a chunk is longer than its header says")
                buffer = buffer[2:]
                self._state = _CHUNK_HEAD
            elif state == _TRAILER:
                end = buffer.find(b"\r\n")
                if end < 0:
                    if len(buffer) > MAX_HEAD:
                        raise ProtocolError(f"trailer larger than {MAX_HEAD} bytes")
                    break
                line, buffer = buffer[:end], buffer[end + 2 :]
                if not line:
                    self._state = _DONE
            elif state == _UNTIL_CLOSE:
                if buffer:
                    self._take(buffer)
                    buffer = b""
                break
            else:
                break
        self._buffer = buffer
        return self._state == _DONE

    def eof(self) -> None:
        """The peer closed the connection; raises unless that is how this response ends."""
        if self._state == _UNTIL_CLOSE:
            self._state = _DONE
            self._left = -1
        if self._state != _DONE:
            raise ProtocolError(f"connection closed {self.where()}")

    def where(self) -> str:
        """Where in the response we are, for a message about a timeout or a close."""
        if self._state == _HEAD:
            if not self._buffer:
                return "before any byte of the answer"
            return f"inside the header, after {self._buffer[-60:]!r}"
        if self._state == _LENGTH:
            return f"inside the body, after {self._received} of {self._received + self._left} bytes"
        return f"inside the body, after {self._received} bytes"

    def _take(self, piece: bytes) -> None:
        self._received += len(piece)
        if self._received > self._max_body:
            raise BodyTooLarge(f"body larger than {self._max_body} bytes")
        if self._on_data:
            self._on_data(piece)
        else:
            self._chunks.append(piece)

    def _parse_head(self, head: bytes) -> None:
        found = _parsed(head)
        if 100 <= found.status < 200 and found.status != 101:
            return  # an interim answer; the real one follows
        self.status, self.reason, self.http10, self.headers = found
        self._state = self._framing()

    def _framing(self) -> int:
        """How the body ends; sets what is left of it where that is known."""
        if self._head_only or self.status in (101, 204, 304):
            return _DONE
        coding = (self.header("transfer-encoding") or "").lower()
        if coding:
            return _CHUNK_HEAD if coding.split(",")[-1].strip() == "chunked" else _UNTIL_CLOSE
        lengths = {value for key, value in self.headers if key == "content-length"}
        if not lengths:
            return _UNTIL_CLOSE
        length = lengths.pop()
        if lengths or not re.fullmatch("[0-9]{1,15}", length):
            raise ProtocolError(f"invalid content-length {length[:40]!r}")
        self._left = int(length)
        if self._left > self._max_body:
            raise BodyTooLarge(f"body of {self._left} bytes, larger than {self._max_body}")
        return _LENGTH if self._left else _DONE


def request_bytes(method: str, target: str, headers: Mapping[str, str], body: bytes = b"") -> bytes:
    """One request as it goes over the wire; raises ValueError where a value would smuggle a line."""
    lines = [f"{method} {target} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if (body or method in ("POST", "PUT", "PATCH")) and "content-length" not in {k.lower() for k in headers}:
        lines.append(f"Content-Length: {len(body)}")
    for line in lines:
        if "\r" in line or "\n" in line:
            raise ValueError(f"line break inside {line.split(':')[0].splitlines()[0]!r}")
    if any(character <= " " for character in target):
        raise ValueError(f"request target {target!r} contains a blank or a control character")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def decode_body(body: bytes, encoding: str | None, limit: int = MAX_BODY) -> bytes:
    """Undo gzip or deflate, up to `limit` bytes of output; raises HttpError for a bomb or for rubbish."""
    coding = (encoding or "identity").strip().lower()
    if coding in ("", "identity"):
        return body
    if coding not in DECODABLE:
        raise ProtocolError(f"content-encoding {coding!r} was not asked for")
    plain, left = b"", body
    while left or not plain:  # gzip may come in several members
        inflater = zlib.decompressobj(wbits=47 if coding != "deflate" else 15)
        try:
            plain += inflater.decompress(left, limit + 1 - len(plain))
        except zlib.error as error:
            raise ProtocolError(f"invalid {coding} body: {error}") from None
        if len(plain) > limit:
            raise BodyTooLarge(f"{len(body)} bytes of {coding} inflate to more than {limit} bytes")
        if not inflater.eof:
            raise ProtocolError(f"{coding} body ends too early")
        left = inflater.unused_data
        if not plain and not left:
            break
    return plain
