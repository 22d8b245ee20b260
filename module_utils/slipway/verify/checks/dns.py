# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""The check kind `dns`: what a name resolves to, for this host or according to one server."""

from __future__ import annotations

import asyncio
import ipaddress
import secrets
import socket
import struct
from pathlib import Path
from typing import Any, ClassVar

from ..http.client import Address, NoSuchName, Trace, parse_address, resolve
from ..http.wire import HttpError
from ..predicates import SpecError
from .base import Clause, Facts, Kind, flag

TYPES = {"A": 1, "NS": 2, "CNAME": 5, "MX": 15, "TXT": 16, "AAAA": 28}
_CODES = {1: "FORMERR", 2: "SERVFAIL", 3: "NXDOMAIN", 4: "NOTIMP", 5: "REFUSED"}
_RESEND = 1.0


def query(name: str, kind: int, identifier: int) -> bytes:
    """A recursive question; raises SpecError for what is no name."""
    try:
        labels = [label.encode("idna") for label in name.rstrip(".").split(".")]
    except UnicodeError:
        raise SpecError(f"{name!r} is not a name") from None
    wire = b"".join(bytes([len(label)]) + label for label in labels)
    return struct.pack(">HHHHHH", identifier, 0x0100, 1, 0, 0, 0) + wire + b"\0" + struct.pack(">HH", kind, 1)


def _name(message: bytes, offset: int) -> tuple[str, int]:
    """A name, compressed or not, and the offset behind it."""
    labels: list[str] = []
    behind = 0
    # Pointers may form a loop; no honest name has more parts than this.
    for _part in range(128):
        length = message[offset]
        if length & 0xC0 == 0xC0:
            behind = behind or offset + 2
            offset = (length & 0x3F) << 8 | message[offset + 1]
        elif length:
            labels.append(message[offset + 1 : offset + 1 + length].decode("ascii", "replace"))
            offset += 1 + length
        else:
            return ".".join(labels), behind or offset + 1
    raise ValueError("endless name")


def parse_answer(message: bytes, kind: int) -> list[str] | None:
    """Records of a type as text, None when the name does not exist; raises HttpError."""
    try:
        _identifier, flags, questions, answers = struct.unpack(">HHHH", message[:8])
        code = flags & 0x0F
        if code == 3:
            return None
        if code:
            raise HttpError(f"the server answered {_CODES.get(code, code)}")
        if flags & 0x0200:
            raise HttpError("the answer does not fit into one packet")
        offset = 12
        for _question in range(questions):
            offset = _name(message, offset)[1] + 4
        found = []
        for _answer in range(answers):
            offset = _name(message, offset)[1]
            this, _class, _ttl, length = struct.unpack(">HHIH", message[offset : offset + 10])
            start = offset + 10
            offset = start + length
            if this == kind:
                found.append(_record(message, kind, start, length))
        return sorted(found)
    except (IndexError, struct.error, ValueError) as error:
        raise HttpError(f"the answer is not DNS: {error}") from None


def _record(message: bytes, kind: int, start: int, length: int) -> str:
    data = message[start : start + length]
    if kind in (TYPES["A"], TYPES["AAAA"]):
        return str(ipaddress.ip_address(data))
    if kind == TYPES["MX"]:
        return f"{struct.unpack('>H', data[:2])[0]} {_name(message, start + 2)[0]}"
    if kind == TYPES["TXT"]:
        text, at = b"", 0
        while at < len(data):
            text += data[at + 1 : at + 1 + data[at]]
            at += 1 + data[at]
        return text.decode("utf-8", "replace")
    return _name(message, start)[0]


class _Receiver(asyncio.DatagramProtocol):
    def __init__(self, identifier: int) -> None:
        self._identifier = identifier
        self.answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def datagram_received(self, data: bytes, addr: Any) -> None:
        if len(data) >= 12 and data[:2] == struct.pack(">H", self._identifier) and not self.answer.done():
            self.answer.set_result(data)

    def error_received(self, exc: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(HttpError(f"the server cannot be reached: {exc}"))


def _type(value: Any) -> int:
    if str(value).upper() not in TYPES:
        raise SpecError(f"{value!r} is no type; known: {', '.join(TYPES)}")
    return TYPES[str(value).upper()]


def _server(value: Any) -> Address:
    return parse_address(value, 53)


class DnsCheck(Kind):
    """A name resolves, and to what it should."""

    name = "dns"
    plain_option = "name"
    required = ("name",)
    options: ClassVar = {"name": str, "type": _type, "server": _server}
    expectations: ClassVar = {"resolves": flag, "records": None, "count": None}
    defaults: ClassVar = {"resolves": True}

    def __init__(self, given: Any, expect: Any, where: str) -> None:
        super().__init__(given, expect, where)
        if "records" in self.expect and not self.wants("resolves"):
            raise SpecError(f"{where}.expect: what does not resolve has no records; expect one of the two")

    def clause(self, key: str, expected: Any, where: str) -> list[Clause]:
        """`records` as a list means these and no others, in any order."""
        if key == "records" and isinstance(expected, list):
            expected = {"eq": sorted(str(record) for record in expected)}
        return super().clause(key, expected, where)

    async def look(self, trace: Trace, timeout: float) -> Facts:
        """Ask the system's resolver, or one server when a server or a type is given."""
        name = self.option["name"]
        trace.begin(f"resolving {name}")
        if "server" in self.option or "type" in self.option:
            records = await asyncio.wait_for(self._ask(name, trace), timeout)
        else:
            try:
                records = sorted({address[0] for _family, address in await resolve(name, 0)})
            except NoSuchName:
                # A resolver that is down does not know that there is no such name.
                if self.wants("resolves"):
                    raise
                records = None
        trace.end("dns")
        return {"resolves": bool(records), "records": records or [], "count": len(records or [])}

    async def _ask(self, name: str, trace: Trace) -> list[str] | None:
        kind = self.option.get("type", TYPES["A"])
        server: Address = self.option.get("server") or _system_server()
        identifier = secrets.randbelow(65536)
        question = query(name, kind, identifier)
        trace.begin(f"resolving {server.host}")
        sock = _connected((await resolve(server.host, server.port))[0], server)
        trace.begin(f"waiting for {server}")
        loop = asyncio.get_running_loop()
        transport, receiver = await loop.create_datagram_endpoint(lambda: _Receiver(identifier), sock=sock)
        try:
            while True:  # packets get lost; the attempt's own limit ends this
                transport.sendto(question)
                try:
                    answer = await asyncio.wait_for(asyncio.shield(receiver.answer), _RESEND)
                except asyncio.TimeoutError:
                    continue
                return parse_answer(answer, kind)
        finally:
            transport.close()


def _connected(found: tuple[int, Any], server: Address) -> socket.socket:
    """A UDP socket to an address that is resolved.

    asyncio would resolve a name in threads that it waits for when the loop ends: one that hangs would hold up
    every other check, past the deadline.
    """
    family, address = found
    sock = socket.socket(family, socket.SOCK_DGRAM)
    sock.setblocking(False)
    try:
        sock.connect(address)
    except OSError as error:
        sock.close()
        raise HttpError(f"{server} cannot be reached: {error.strerror or error}") from None
    return sock


def _system_server() -> Address:
    try:
        lines = Path("/etc/resolv.conf").read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise HttpError(f"/etc/resolv.conf: {error.strerror}") from None
    for line in lines:
        words = line.split()
        if len(words) > 1 and words[0] == "nameserver":
            return Address(words[1], 53)
    raise HttpError("/etc/resolv.conf names no server")
