"""A small HTTP client that tells a lost request from a refused one."""

from __future__ import annotations

import asyncio
import http.client
import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, decoded."""
        return json.loads(self.body)


def ask(
    host: str, port: int, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
) -> Answer:
    """One request on a connection of its own; redirects are answers."""
    connection = http.client.HTTPConnection(host, port, timeout=15)
    sent = dict(headers or {})
    raw = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    if raw is not None:
        sent.setdefault("Content-Type", "application/json")
    try:
        connection.request(method, path, raw, sent)
        response = connection.getresponse()
        return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
    finally:
        connection.close()


class Connection:
    """A connection that is kept: several requests, one after the other."""

    def __init__(self, host: str, port: int) -> None:
        self.host, self.port = host, port

    async def open(self) -> Connection:
        """Connect; raises OSError where nobody listens."""
        self.reader, self.writer = await asyncio.open_connection(self.host, self.port)
        return self

    async def ask(self, method: str, path: str, body: Any = None) -> Answer:
        """One request; raises OSError or IncompleteReadError where no whole answer comes."""
        raw = b"" if body is None else json.dumps(body).encode()
        head = f"{method} {path} HTTP/1.1\r\nHost: reviews\r\nContent-Length: {len(raw)}\r\n"
        self.writer.write(head.encode() + b"Content-Type: application/json\r\n\r\n" + raw)
        lines = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {k.lower(): v for k, _, v in (line.partition(": ") for line in lines[1:] if line)}
        content = await self.reader.readexactly(int(headers.get("content-length", "0")))
        return Answer(int(lines[0].split()[1]), headers, content)

    def close(self) -> None:
        """Hang up."""
        self.writer.close()


@dataclass
class Tally:
    """How the requests of a load went."""

    statuses: Counter[int] = field(default_factory=Counter)
    versions: Counter[str] = field(default_factory=Counter)
    lost: list[str] = field(default_factory=list)
    told_to_close: int = 0
    slowest: float = 0.0


async def load(
    host: str, port: int, requests: list[tuple[str, str, Any]], rate: float, connections: int
) -> Tally:
    """Send the requests at `rate` a second over kept connections. A connection that is told to close is not
    opened again, and the requests that are left are not sent when all are closed: lost is only what was sent
    on a connection that the server had not given notice on.
    """
    tally, loop = Tally(), asyncio.get_running_loop()
    waiting = iter(requests)
    begin, number = loop.time(), 0

    async def one() -> None:
        nonlocal number
        connection = await Connection(host, port).open()
        for method, path, body in waiting:
            number += 1
            await asyncio.sleep(begin + number / rate - loop.time())
            started = loop.time()
            try:
                answer = await connection.ask(method, path, body)
            except (OSError, asyncio.IncompleteReadError) as error:
                tally.lost.append(f"{method} {path}: {error!r}")
                return
            tally.statuses[answer.status] += 1
            tally.versions[answer.headers["x-app-version"]] += 1
            tally.slowest = max(tally.slowest, loop.time() - started)
            if answer.headers.get("connection") == "close":
                tally.told_to_close += 1
                break
        connection.close()

    await asyncio.gather(*(one() for _ in range(connections)))
    return tally
