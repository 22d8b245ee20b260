# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""The check kind `mongodb`, spoken over the wire: OP_MSG, a little BSON, SCRAM-SHA-256."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import secrets
import struct
from typing import Any, ClassVar

from ..http.client import Address, Trace, open_stream, parse_address, tls_context
from ..http.wire import HttpError
from ..predicates import version
from .base import Facts, Kind, flag

_OP_MSG = 2013
_MAX_MESSAGE = 16 * 1024 * 1024


def encode(document: dict[str, Any]) -> bytes:
    """BSON of text, whole numbers, flags and bytes."""
    body = b""
    for name, value in document.items():
        key = name.encode() + b"\0"
        if isinstance(value, bool):
            body += b"\x08" + key + bytes([value])
        elif isinstance(value, int):
            body += b"\x10" + key + struct.pack("<i", value)
        elif isinstance(value, bytes):
            body += b"\x05" + key + struct.pack("<iB", len(value), 0) + value
        else:
            text = str(value).encode() + b"\0"
            body += b"\x02" + key + struct.pack("<i", len(text)) + text
    return struct.pack("<i", len(body) + 5) + body + b"\0"


_FIXED = {0x07: 12, 0x09: 8, 0x11: 8, 0x13: 16, 0x0A: 0, 0xFF: 0, 0x7F: 0}


def _length(data: bytes, at: int) -> int:
    """The length that stands there; a negative one would lead back to where we were, for ever."""
    (length,) = struct.unpack("<i", data[at : at + 4])
    if length < 0:
        raise ValueError(f"a length of {length}")
    return int(length)


def decode(data: bytes) -> dict[str, Any]:
    """BSON's flat values; containers and exotic types are skipped. Raises HttpError."""
    try:
        (size,) = struct.unpack("<i", data[:4])
        found: dict[str, Any] = {}
        at = 4
        while at < size - 1:
            kind = data[at]
            end = data.index(b"\0", at + 1)
            name = data[at + 1 : end].decode("utf-8", "replace")
            at = end + 1
            if kind == 0x01:
                (found[name],) = struct.unpack("<d", data[at : at + 8])
                at += 8
            elif kind == 0x02:
                length = _length(data, at)
                found[name] = data[at + 4 : at + 3 + length].decode("utf-8", "replace")
                at += 4 + length
            elif kind in (0x03, 0x04):
                length = _length(data, at)
                at += length
            elif kind == 0x05:
                length = _length(data, at)
                found[name] = data[at + 5 : at + 5 + length]
                at += 5 + length
            elif kind == 0x08:
                found[name] = bool(data[at])
                at += 1
            elif kind == 0x10:
                (found[name],) = struct.unpack("<i", data[at : at + 4])
                at += 4
            elif kind == 0x12:
                (found[name],) = struct.unpack("<q", data[at : at + 8])
                at += 8
            elif kind in _FIXED:
                at += _FIXED[kind]
            else:
                raise ValueError(f"type {kind:#x}")
            if at > len(data):
                raise ValueError("cut short")
        return found
    except (struct.error, ValueError, IndexError) as error:
        raise HttpError(f"not MongoDB: {error}") from None


class Scram:
    """The client's side of SCRAM-SHA-256 (RFC 7677)."""

    def __init__(self, user: str, password: str, nonce: str | None = None) -> None:
        name = user.replace("=", "=3D").replace(",", "=2C")
        self._password = password.encode()
        self._nonce = nonce or secrets.token_urlsafe(24)
        self._bare = f"n={name},r={self._nonce}"
        self._server_signature = b""

    def first(self) -> bytes:
        """The first message."""
        return f"n,,{self._bare}".encode()

    def final(self, challenge: bytes) -> bytes:
        """The proof for a challenge; raises HttpError when that is not an answer to us."""
        text = challenge.decode("utf-8", "replace")
        parts = dict(part.split("=", 1) for part in text.split(",") if "=" in part)
        try:
            nonce, salt, count = parts["r"], base64.b64decode(parts["s"]), int(parts["i"])
        except (KeyError, ValueError):
            raise HttpError("authentication: the server's challenge is not SCRAM") from None
        if not nonce.startswith(self._nonce) or not 4096 <= count <= 1_000_000:
            raise HttpError("authentication: the server's challenge is not an answer to ours")
        salted = hashlib.pbkdf2_hmac("sha256", self._password, salt, count)
        without_proof = f"c=biws,r={nonce}"
        message = f"{self._bare},{text},{without_proof}".encode()
        client_key = hmac.digest(salted, b"Client Key", "sha256")
        signature = hmac.digest(hashlib.sha256(client_key).digest(), message, "sha256")
        proof = bytes(a ^ b for a, b in zip(client_key, signature))
        self._server_signature = hmac.digest(hmac.digest(salted, b"Server Key", "sha256"), message, "sha256")
        return f"{without_proof},p={base64.b64encode(proof).decode()}".encode()

    def verify(self, answer: bytes) -> None:
        """The server must know the password too; raises HttpError."""
        if answer != b"v=" + base64.b64encode(self._server_signature):
            raise HttpError("authentication: the server does not know the password")


def _address(value: Any) -> Address:
    return parse_address(value, 27017)


class MongodbCheck(Kind):
    """Answers, has the role it should have, and lets us in."""

    name = "mongodb"
    plain_option = "address"
    required = ("address",)
    options: ClassVar = {
        "address": _address,
        "user": str,
        "password": str,
        "auth_source": str,
        "tls": flag,
        "server_name": str,
        "ca_file": str,
    }
    expectations: ClassVar = {"ping": flag, "role": None, "replica_set": None, "version": version}
    defaults: ClassVar = {"ping": True}

    def subject(self) -> str:
        """The address."""
        return str(self.option["address"])

    async def look(self, trace: Trace, timeout: float) -> Facts:
        """hello, authentication where a user is given, ping, and buildInfo where the version is asked for."""
        return await asyncio.wait_for(self._look(trace, timeout), timeout)

    async def _look(self, trace: Trace, timeout: float) -> Facts:
        option = self.option
        context = tls_context(option.get("ca_file")) if option.get("tls") else None
        reader, writer = await open_stream(
            option["address"], trace, timeout, context, option.get("server_name")
        )
        trace.begin("waiting for MongoDB")
        try:
            hello = await self._run(reader, writer, {"hello": 1, "$db": "admin"})
            if "user" in option:
                await self._log_in(reader, writer)
            await self._run(reader, writer, {"ping": 1, "$db": "admin"})
            facts: Facts = {"ping": True, "role": _role(hello)}
            if "setName" in hello:
                facts["replica_set"] = hello["setName"]
            if "version" in self.expect:
                facts["version"] = (await self._run(reader, writer, {"buildInfo": 1, "$db": "admin"})).get(
                    "version"
                )
            trace.end("session")
            return facts
        finally:
            writer.transport.abort()

    async def _log_in(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        scram = Scram(self.option["user"], self.option.get("password", ""))
        source = self.option.get("auth_source", "admin")
        start = {"saslStart": 1, "mechanism": "SCRAM-SHA-256", "payload": scram.first(), "$db": source}
        answer = await self._run(reader, writer, start)
        proof = scram.final(answer.get("payload", b""))
        follow = {"saslContinue": 1, "conversationId": answer.get("conversationId", 1), "$db": source}
        answer = await self._run(reader, writer, {**follow, "payload": proof})
        scram.verify(answer.get("payload", b""))
        if not answer.get("done"):
            await self._run(reader, writer, {**follow, "payload": b""})

    @staticmethod
    async def _run(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter, command: dict[str, Any]
    ) -> dict[str, Any]:
        """One command; raises HttpError with the server's own words."""
        body = struct.pack("<IB", 0, 0) + encode(command)
        writer.write(struct.pack("<iiii", 16 + len(body), 1, 0, _OP_MSG) + body)
        try:
            head = await reader.readexactly(16)
            size, _identifier, _answers, operation = struct.unpack("<iiii", head)
            if operation != _OP_MSG or not 21 < size <= _MAX_MESSAGE:
                raise HttpError(f"not MongoDB: it answered {head!r}")
            message = await reader.readexactly(size - 16)
        except asyncio.IncompleteReadError as error:
            raise HttpError(f"connection closed after {error.partial[:40]!r}") from None
        except OSError as error:
            raise HttpError(f"connection lost: {error.strerror or error}") from None
        found = decode(message[5:])
        if found.get("ok") != 1:
            raise HttpError(f"{next(iter(command))}: {found.get('errmsg', 'refused')}")
        return found


def _role(hello: dict[str, Any]) -> str:
    if "setName" not in hello:
        return "router" if hello.get("msg") == "isdbgrid" else "standalone"
    if hello.get("isWritablePrimary"):
        return "primary"
    return "secondary" if hello.get("secondary") else "other"
