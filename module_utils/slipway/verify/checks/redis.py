# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""The check kind `redis`, spoken over the wire: four commands do not deserve a library on every host."""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

from ..http.client import Address, Trace, open_stream, parse_address, tls_context
from ..http.wire import HttpError
from ..predicates import percent, size, version
from .base import Facts, Kind, flag

_MAX_REPLY = 1024 * 1024
# A hit rate over a handful of lookups says nothing.
_MIN_LOOKUPS = 100


class RedisError(HttpError):
    """Redis answered with an error, or with something that is not its protocol."""


def _address(value: Any) -> Address:
    return parse_address(value, 6379)


def encode(*words: str) -> bytes:
    """A command as an array of bulk strings."""
    parts = [word.encode() for word in words]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)


async def reply(reader: asyncio.StreamReader) -> str:
    """One simple, bulk or integer reply as text; raises RedisError for an error or rubbish."""
    try:
        line = (await reader.readuntil(b"\r\n"))[:-2]
        if line[:1] == b"-":
            raise RedisError(line[1:].decode("utf-8", "replace"))
        if line[:1] in (b"+", b":"):
            return line[1:].decode("utf-8", "replace")
        if line[:1] == b"$" and line[1:].isdigit() and int(line[1:]) <= _MAX_REPLY:
            data = await reader.readexactly(int(line[1:]) + 2)
            return data[:-2].decode("utf-8", "replace")
    except asyncio.IncompleteReadError as error:
        raise RedisError(f"connection closed after {error.partial[:40]!r}") from None
    except asyncio.LimitOverrunError:
        raise RedisError("not Redis: an endless line") from None
    except OSError as error:
        raise RedisError(f"connection lost: {error.strerror or error}") from None
    raise RedisError(f"not Redis: it answered {line[:40]!r}")


def parse_info(text: str) -> dict[str, str]:
    """INFO's `key:value` lines."""
    pairs = (line.partition(":") for line in text.splitlines() if ":" in line and not line.startswith("#"))
    return {key: value.strip() for key, _colon, value in pairs}


class RedisCheck(Kind):
    """Answers, lets nobody in without the password, has memory left, and is worth having as a cache."""

    name = "redis"
    plain_option = "address"
    required = ("address",)
    options: ClassVar = {
        "address": _address,
        "username": str,
        "password": str,
        "tls": flag,
        "server_name": str,
        "ca_file": str,
    }
    expectations: ClassVar = {
        "ping": flag,
        "auth_required": flag,
        "version": version,
        "role": None,
        "memory": size,
        "memory_used": percent,
        "hit_rate": percent,
        "evicted": None,
        "policy": None,
        "connected_replicas": None,
    }
    defaults: ClassVar = {"ping": True}

    def subject(self) -> str:
        """The address."""
        return str(self.option["address"])

    async def look(self, trace: Trace, timeout: float) -> Facts:
        """Log in, PING, INFO; and anonymously once more where authentication must be required."""
        return await asyncio.wait_for(self._look(trace, timeout), timeout)

    async def _look(self, trace: Trace, timeout: float) -> Facts:
        facts: Facts = {}
        reader, writer = await self._connect(trace, timeout)
        trace.begin("waiting for Redis")
        try:
            if "password" in self.option:
                user = [self.option["username"]] if "username" in self.option else []
                writer.write(encode("AUTH", *user, self.option["password"]))
                await reply(reader)
            writer.write(encode("PING"))
            facts["ping"] = await reply(reader) == "PONG"
            if set(self.expect) - {"ping", "auth_required"}:
                writer.write(encode("INFO"))
                facts.update(self._info(parse_info(await reply(reader))))
        finally:
            writer.transport.abort()
        if "auth_required" in self.expect:
            facts["auth_required"] = await self._refuses_anonymous(timeout)
        trace.end("session")
        return facts

    async def _connect(
        self, trace: Trace, timeout: float
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        context = tls_context(self.option.get("ca_file")) if self.option.get("tls") else None
        name = self.option.get("server_name")
        return await open_stream(self.option["address"], trace, timeout, context, name)

    async def _refuses_anonymous(self, timeout: float) -> bool:
        reader, writer = await self._connect(Trace(), timeout)
        try:
            writer.write(encode("PING"))
            await reply(reader)
        except RedisError as error:
            if str(error).startswith(("NOAUTH", "DENIED")):
                return True
            raise
        finally:
            writer.transport.abort()
        return False

    @staticmethod
    def _info(info: dict[str, str]) -> Facts:
        used, limit = int(info.get("used_memory", 0)), int(info.get("maxmemory", 0))
        hits, misses = int(info.get("keyspace_hits", 0)), int(info.get("keyspace_misses", 0))
        facts: Facts = {
            "version": info.get("redis_version") or info.get("valkey_version", ""),
            "role": info.get("role"),
            "memory": used,
            "evicted": int(info.get("evicted_keys", 0)),
            "policy": info.get("maxmemory_policy"),
            "connected_replicas": int(info.get("connected_slaves", 0)),
        }
        if limit:
            facts["memory_used"] = 100.0 * used / limit
        if hits + misses >= _MIN_LOOKUPS:
            facts["hit_rate"] = 100.0 * hits / (hits + misses)
        return facts
