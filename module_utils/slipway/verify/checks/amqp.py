# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""The check kind `amqp`: log in to a broker (AMQP 0-9-1, RabbitMQ) and look at queues."""

from __future__ import annotations

import asyncio
import struct
from typing import Any, ClassVar

from ..http.client import Address, Trace, open_stream, parse_address, tls_context
from ..http.wire import HttpError
from ..predicates import MISSING, Predicate, SpecError, version
from .base import Clause, Facts, Kind, each, flag

_MAX_FRAME = 1024 * 1024
_START, _START_OK = (10, 10), (10, 11)
_TUNE, _TUNE_OK = (10, 30), (10, 31)
_OPEN, _OPEN_OK = (10, 40), (10, 41)
_CLOSE = (10, 50)
_CHANNEL_OPEN, _CHANNEL_OPEN_OK, _CHANNEL_CLOSE = (20, 10), (20, 11), (20, 40)
_DECLARE, _DECLARE_OK = (50, 10), (50, 11)


def _short(text: str) -> bytes:
    data = text.encode()
    return bytes([len(data)]) + data


def _long(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


def server_properties(payload: bytes) -> dict[str, str]:
    """The text values in Connection.Start's table of server properties."""
    (length,) = struct.unpack(">I", payload[2:6])
    table, at, found = payload[6 : 6 + length], 0, {}
    while at < len(table):
        size = table[at]
        name = table[at + 1 : at + 1 + size].decode("utf-8", "replace")
        at += 1 + size
        kind = table[at : at + 1]
        if kind in (b"S", b"F"):
            (size,) = struct.unpack(">I", table[at + 1 : at + 5])
            if kind == b"S":
                found[name] = table[at + 5 : at + 5 + size].decode("utf-8", "replace")
            at += 5 + size
        elif kind == b"t":
            at += 2
        else:
            break  # nothing a broker says of itself beyond text, tables and flags is looked at
    return found


class _Broker:
    """Just enough of the protocol to log in and to ask for queues."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    def send(self, channel: int, method: tuple[int, int], arguments: bytes) -> None:
        payload = struct.pack(">HH", *method) + arguments
        self._writer.write(struct.pack(">BHI", 1, channel, len(payload)) + payload + b"\xce")

    async def expect(self, method: tuple[int, int]) -> bytes:
        """Arguments of the next method, which must be this one; raises HttpError."""
        while True:
            try:
                head = await self._reader.readexactly(7)
                kind, _channel, size = struct.unpack(">BHI", head)
                if head[:4] == b"AMQP" or size > _MAX_FRAME:
                    raise HttpError(f"not AMQP 0-9-1: it answered {head!r}")
                frame = await self._reader.readexactly(size + 1)
            except asyncio.IncompleteReadError as error:
                # RabbitMQ hangs up, after a pause, on a wrong password.
                raise HttpError(f"connection closed after {error.partial[:40]!r}") from None
            except OSError as error:
                raise HttpError(f"connection lost: {error.strerror or error}") from None
            if frame[-1:] != b"\xce":
                raise HttpError("not AMQP: a frame without its end")
            if kind != 1:
                continue  # heartbeat
            found = struct.unpack(">HH", frame[:4])
            if found == method:
                return frame[4:-1]
            if found in (_CLOSE, _CHANNEL_CLOSE):
                code, size = struct.unpack(">HB", frame[4:7])
                text = frame[7 : 7 + size].decode("utf-8", "replace")
                raise HttpError(f"the broker refused: {code} {text}")
            raise HttpError(f"the broker sent method {found}, expected {method}")


def _address(value: Any) -> Address:
    return parse_address(value, 5672)


class AmqpCheck(Kind):
    """A broker lets us in, and queues exist, are short and have consumers."""

    name = "amqp"
    plain_option = "address"
    required = ("address",)
    options: ClassVar = {
        "address": _address,
        "user": str,
        "password": str,
        "vhost": str,
        "tls": flag,
        "server_name": str,
        "ca_file": str,
    }
    expectations: ClassVar = {"connect": flag, "version": version, "product": None, "queues": None}
    defaults: ClassVar = {"connect": True}

    def clause(self, key: str, expected: Any, where: str) -> list[Clause]:
        """`queues` is a list of names, or a mapping to expectations on `messages` and `consumers`."""
        if key != "queues":
            return super().clause(key, expected, where)
        if isinstance(expected, list):
            expected = {str(name): {"messages": {"gte": 0}} for name in expected}
        clauses = []
        for queue, wanted in each(expected, where).items():
            for what, operand in each(wanted, f"{where}.{queue}").items():
                if what not in ("messages", "consumers"):
                    raise SpecError(f"{where}.{queue}: unknown key {what!r}; known: consumers, messages")
                predicate = Predicate(operand, f"{where}.{queue}.{what}")
                clauses.append(Clause(f"queue {queue} {what}", _of(str(queue), what), predicate))
        self._queues = list(expected)
        return clauses

    def subject(self) -> str:
        """Address and virtual host."""
        return f"{self.option['address']}{self.option.get('vhost', '/')}"

    async def look(self, trace: Trace, timeout: float) -> Facts:
        """Log in and declare queues passively, each on its own channel: a missing one closes its channel."""
        return await asyncio.wait_for(self._look(trace, timeout), timeout)

    async def _look(self, trace: Trace, timeout: float) -> Facts:
        option = self.option
        context = tls_context(option.get("ca_file")) if option.get("tls") else None
        reader, writer = await open_stream(
            option["address"], trace, timeout, context, option.get("server_name")
        )
        trace.begin("waiting for the broker")
        broker = _Broker(reader, writer)
        try:
            writer.write(b"AMQP\x00\x00\x09\x01")
            start = await broker.expect(_START)
            facts: Facts = {"connect": True, "queues": {}, **server_properties(start)}
            login = f"\0{option.get('user', 'guest')}\0{option.get('password', 'guest')}".encode()
            broker.send(0, _START_OK, _long(b"") + _short("PLAIN") + _long(login) + _short("en_US"))
            tune = await broker.expect(_TUNE)
            broker.send(0, _TUNE_OK, tune[:6] + b"\0\0")
            broker.send(0, _OPEN, _short(option.get("vhost", "/")) + b"\0\0")
            await broker.expect(_OPEN_OK)
            for channel, queue in enumerate(getattr(self, "_queues", ()), 1):
                broker.send(channel, _CHANNEL_OPEN, b"\0")
                await broker.expect(_CHANNEL_OPEN_OK)
                broker.send(channel, _DECLARE, b"\0\0" + _short(queue) + b"\x01" + _long(b""))
                try:
                    declared = await broker.expect(_DECLARE_OK)
                except HttpError as error:
                    facts["queues"][queue] = {"error": str(error)}
                    continue
                messages, consumers = struct.unpack(">II", declared[1 + declared[0] :])
                facts["queues"][queue] = {"messages": messages, "consumers": consumers}
            trace.end("session")
            return facts
        finally:
            writer.transport.abort()


def _of(queue: str, what: str) -> Any:
    def get(facts: Facts) -> Any:
        found = facts["queues"].get(queue, {})
        if "error" in found:
            raise HttpError(found["error"])
        return found.get(what, MISSING)

    return get
