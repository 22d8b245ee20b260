# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""A load generator on bare asyncio transports: tens of thousands of requests a second from one process.

Closed loop: so many requests in flight, the next one starts when one ends. Open loop: a request starts when
its time has come whether or not the earlier ones were answered, and its latency counts from that moment, so a
server that stalls cannot hide it by slowing the generator down.

No request is ever repeated: one that was sent over a kept connection the server then closed has failed.
"""

from __future__ import annotations

import asyncio
import errno
import itertools
import random
import ssl
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol

from ..http.client import Address, Request, Trace, open_socket, tls_context
from ..http.wire import HttpError, ResponseParser
from ..predicates import StatusPredicate
from .budget import NO_DESCRIPTORS

MAX_BODY = 256 * 1024 * 1024
_SWEEP = 0.05
_clock = time.perf_counter


class Route(NamedTuple):
    """A kind of request in the mix. `fresh` opens a connection for each; `timeout` in seconds."""

    name: str
    request: Request
    weight: int = 1
    fresh: bool = False
    timeout: float = 10.0
    status: Any = StatusPredicate(["2xx", "3xx"], "status")


class Job:
    """One request under way. `start` is when it was meant to begin, on the engine's clock."""

    __slots__ = ("finished", "route", "sent", "start")

    def __init__(self, route: Route, start: float) -> None:
        self.route = route
        self.start = start
        self.sent = start
        self.finished = False


class Recorder(Protocol):
    """Takes what became of each request."""

    def answered(self, job: Job, now: float, parser: ResponseParser, tail: bytes) -> None:
        """A complete answer, whatever its status; `tail` is the last piece of its body."""

    def failed(self, job: Job, now: float, kind: str, detail: str) -> None:
        """No complete answer: `kind` is a word (connect, closed, timeout, protocol), `detail` a sentence."""


class Connection(asyncio.Protocol):
    """One connection, at most one request at a time."""

    __slots__ = ("engine", "job", "kept", "key", "parser", "tail", "transport")

    def __init__(self, engine: Engine, key: int) -> None:
        self.engine = engine
        self.key = key
        self.kept = False
        self.job: Job | None = None
        self.parser: ResponseParser | None = None
        self.tail = b""
        self.transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is up, TLS included."""
        self.transport = transport

    def send(self, job: Job, wire: bytes) -> None:
        """Write a request."""
        self.job = job
        job.sent = _clock()
        self.tail = b""
        self.parser = ResponseParser(job.route.request.method == "HEAD", MAX_BODY, self._keep_tail)
        self.transport.write(wire)

    def data_received(self, data: bytes) -> None:
        """Bytes of the answer."""
        job, parser = self.job, self.parser
        if job is None or parser is None:
            self.transport.abort()  # nobody asked: not a connection to be used again
            return
        try:
            if parser.feed(data):
                self._complete(job, parser)
        except HttpError as error:
            self.fail("protocol", str(error))

    def connection_lost(self, exc: Exception | None) -> None:
        """The peer closed, or we did."""
        job, parser = self.job, self.parser
        if job is not None and parser is not None:
            try:
                parser.eof()
            except HttpError as error:
                before = "" if parser.started or not self.kept else " (kept connection)"
                self.fail("closed", f"{error}{before}" + (f": {exc}" if exc else ""))
            else:
                self._complete(job, parser)
        self.engine.forget(self)

    def _keep_tail(self, data: bytes) -> None:
        self.tail = data

    def _complete(self, job: Job, parser: ResponseParser) -> None:
        self.job = None
        reusable = parser.keep_alive and not job.route.fresh and not parser.rest
        self.engine.answered(self, job, parser, reusable)

    def fail(self, kind: str, detail: str) -> None:
        """The request under way has failed, and the connection with it."""
        job, self.job = self.job, None
        self.transport.abort()
        if job is not None:
            self.engine.failed(job, kind, detail)


class Engine:
    """Sends a mix of requests and reports each to a recorder.

    :param routes: what is sent; each is drawn as often as its weight says, in a fixed pseudo-random order.
    :param connections: open loop: how many connections may be open at once; requests beyond that wait.
    """

    def __init__(
        self, routes: list[Route], recorder: Recorder, connections: int = 1000, seed: int = 1
    ) -> None:
        self._recorder = recorder
        self._mix = _mix(routes, seed)
        self._limit = connections
        self._open = 0
        self._idle: dict[int, list[Connection]] = {}
        self._waiting: deque[Job] = deque()
        self._flying: set[Any] = set()
        self._targets: dict[int, _Target] = {}
        self._wires: dict[int, bytes] = {}
        self._keys: dict[int, int] = {}
        self._next: Callable[[], None] = lambda: None
        self._in_flight = 0
        self._over = False
        self._drained = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        found: dict[tuple[Any, ...], int] = {}
        for route in routes:
            request = route.request
            address = request.connect_to or Address(request.url.host, request.url.port)
            tls = tls_context(request.ca_file, request.verify) if request.url.scheme == "https" else None
            key = found.setdefault((address, tls, request.url.host), len(found))
            self._targets[key] = _Target(address, tls, request.url.host)
            self._keys[id(route)] = key
            head = {} if route.fresh else {"Connection": "keep-alive"}
            self._wires[id(route)] = request._replace(headers={**head, **request.headers}).wire()
        self._routes = routes  # ids stay valid as long as these live

    async def closed(self, concurrency: int, requests: int | None, seconds: float | None) -> None:
        """Keep `concurrency` requests in flight until `requests` were sent or `seconds` are over."""
        numbers: Iterator[int] = itertools.count() if requests is None else iter(range(requests))
        end = None if seconds is None else _clock() + seconds

        def begin() -> None:
            now = _clock()
            if (end is None or now < end) and next(numbers, None) is not None:
                self._dispatch(Job(next(self._mix), now))

        self._limit = max(self._limit, concurrency)
        self._next = begin
        sweeper = asyncio.ensure_future(self._sweep())
        try:
            for _slot in range(concurrency):
                begin()
            await self._finish()
        finally:
            sweeper.cancel()

    async def open(
        self, rate: float, requests: int | None, seconds: float | None, stop: asyncio.Event | None = None
    ) -> None:
        """Start `rate` requests a second, until so many were sent, so long has passed or `stop` is set."""
        sweeper = asyncio.ensure_future(self._sweep())
        started = _clock()
        number = 0
        try:
            while (requests is None or number < requests) and not (self._over or (stop and stop.is_set())):
                due = started + number / rate
                if seconds is not None and due >= started + seconds:
                    break
                pause = due - _clock()
                if pause > 0:
                    await asyncio.sleep(pause)
                elif not number % 50:
                    await asyncio.sleep(0)  # behind schedule: answers must still be read
                self._dispatch(Job(next(self._mix), due))
                number += 1
            await self._finish()
        finally:
            sweeper.cancel()

    def give_up(self) -> None:
        """Start nothing more, and end what is under way."""
        self._over = True
        self._next = lambda: None
        for flying in list(self._flying):
            self._end(flying, "deadline", "still under way when the load's deadline came")

    async def _finish(self) -> None:
        """Wait until everything under way has ended; the sweeper ends what hangs."""
        while self._in_flight:
            self._drained.clear()
            await self._drained.wait()
        for connections in self._idle.values():
            for connection in connections:
                connection.transport.abort()
        self._idle.clear()

    def _dispatch(self, job: Job) -> None:
        self._in_flight += 1
        self._flying.add(job)
        idle = self._idle.get(self._keys[id(job.route)])
        if idle and not job.route.fresh:
            connection = idle.pop()
            connection.send(job, self._wires[id(job.route)])
            self._flying.discard(job)
            self._flying.add(connection)
        elif self._open < self._limit:
            self._open += 1
            task = asyncio.ensure_future(self._connect(job))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        else:
            self._waiting.append(job)

    async def _connect(self, job: Job) -> None:
        target = self._targets[self._keys[id(job.route)]]
        loop = asyncio.get_running_loop()
        connection = Connection(self, self._keys[id(job.route)])
        try:
            sock = await open_socket(target.address, Trace(), job.route.timeout)
            try:
                options: dict[str, Any] = (
                    {"ssl": target.tls, "server_hostname": target.name} if target.tls else {}
                )
                await loop.create_connection(lambda: connection, sock=sock, **options)
            except BaseException:
                sock.close()
                raise
        except (HttpError, OSError) as error:
            self._open -= 1
            if not job.finished:
                self.failed(job, _kind(error), str(error))
            self._serve_waiting()
            return
        if job.finished:  # it took so long that the sweeper gave it up
            connection.transport.abort()
            return
        self._flying.discard(job)
        self._flying.add(connection)
        connection.send(job, self._wires[id(job.route)])

    def answered(self, connection: Connection, job: Job, parser: ResponseParser, reusable: bool) -> None:
        """A connection has its answer."""
        self._flying.discard(connection)
        job.finished = True
        self._recorder.answered(job, _clock(), parser, connection.tail)
        if reusable:
            connection.kept = True
            self._idle.setdefault(connection.key, []).append(connection)
            self._serve_waiting()
        else:
            connection.transport.close()
        self._one_less()

    def failed(self, job: Job, kind: str, detail: str) -> None:
        """A request has ended without an answer."""
        job.finished = True
        self._flying.discard(job)
        self._recorder.failed(job, _clock(), kind, detail)
        self._one_less()

    def forget(self, connection: Connection) -> None:
        """A connection without a request is gone."""
        self._open -= 1
        idle = self._idle.get(connection.key)
        if idle and connection in idle:
            idle.remove(connection)
        self._flying.discard(connection)
        self._serve_waiting()

    def _one_less(self) -> None:
        self._in_flight -= 1
        self._next()
        if not self._in_flight:
            self._drained.set()

    def _serve_waiting(self) -> None:
        while self._waiting:
            job = self._waiting[0]
            idle = self._idle.get(self._keys[id(job.route)])
            if not job.finished and not (idle and not job.route.fresh) and self._open >= self._limit:
                return
            self._waiting.popleft()
            if not job.finished:
                self._in_flight -= 1
                self._dispatch(job)

    async def _sweep(self) -> None:
        """End requests that are past their time. One pass for all is far cheaper than a timer for each."""
        while True:
            await asyncio.sleep(_SWEEP)
            now = _clock()
            for flying in list(self._flying):
                job = flying.job if isinstance(flying, Connection) else flying
                if job is None or now - job.start <= job.route.timeout:
                    continue
                what = "complete answer" if isinstance(flying, Connection) else "connection"
                self._end(flying, "timeout", f"no {what} within {job.route.timeout:g} s")

    def _end(self, flying: Any, kind: str, detail: str) -> None:
        """End what is under way: a connection with a request, or a request without a connection."""
        if isinstance(flying, Job):
            self.failed(flying, kind, detail)
        elif flying.parser is not None:
            flying.fail(kind, f"{detail}: {flying.parser.where()}")


def _kind(error: Exception) -> str:
    """What a connection that did not come about failed of."""
    if isinstance(error, ssl.SSLError):
        return "tls"
    # Not the server's doing, nor that of anything in between.
    own = isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE)
    return NO_DESCRIPTORS if own else "connect"


class _Target(NamedTuple):
    address: Address
    tls: ssl.SSLContext | None
    name: str


def _mix(routes: list[Route], seed: int) -> Iterator[Route]:
    """Routes by weight, shuffled, the same in every run: two runs send the same requests."""
    block = [route for route in routes for _time in range(route.weight)]
    # A pseudo-random order is meant to be repeatable, not secret.
    random.Random(seed).shuffle(block)  # noqa: S311
    return itertools.cycle(block)
