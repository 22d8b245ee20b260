# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""A load with a shape, and how much of what it measures is its own doing."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import resource
import signal
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from ..http.client import Request, parse_url
from ..moments import Place, serving
from ..predicates import SpecError, some_time, unfilled, unknown_keys, whole
from .budget import Budget, parse_budgets
from .engine import Engine, Route
from .routes import parse_routes
from .stats import Statistics

_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
_CALIBRATION = 1.0
# How much longer than it must a load may take, where it does not say: long enough for any that makes progress.
_DEADLINE = 300.0


class Shape(NamedTuple):
    """How a load is applied: by `rate` or `concurrency`, for so many `requests` or `duration` seconds.

    `deadline` is how many seconds all of it may take, warming up included.
    """

    requests: int | None
    duration: float | None
    concurrency: int = 10
    rate: float | None = None
    deadline: float | None = None

    def problems(self) -> list[str]:
        """What is wrong with it."""
        found = []
        if (self.requests is None) == (self.duration is None):
            found.append("either requests or duration")
        if self.requests is not None and self.requests < 1:
            found.append("requests: must be at least 1")
        if not 1 <= self.concurrency <= 10000:
            found.append("concurrency: must be between 1 and 10000")
        if self.rate is not None and not 0 < self.rate <= 100000:
            found.append("rate: must be above 0 and at most 100000")
        if self.deadline is not None and self.deadline <= self.least:
            found.append(f"deadline: must be more than the {self.least:g} s that the load itself takes")
        return found

    @property
    def least(self) -> float:
        """Seconds it takes when every answer comes at once."""
        if self.duration is not None:
            return self.duration
        return self.requests / self.rate if self.requests and self.rate else 0.0


async def apply(
    shape: Shape,
    routes: list[Route],
    release_header: str | None = None,
    warm_up: int = 0,
    mask: Callable[[str], str] = str,
) -> Statistics:
    """Send `warm_up` requests that are not counted, then the load; returns what it was answered with."""
    end = None if shape.deadline is None else time.perf_counter() + shape.deadline
    if warm_up:
        engine = Engine(routes, Statistics(time.perf_counter()))
        with _until(end, engine.give_up):
            await engine.closed(min(shape.concurrency, warm_up), warm_up, None)
    # A collection in the middle would be measured as a stall of the server.
    gc.collect()
    gc.disable()
    try:
        header = release_header.lower() if release_header else None
        statistics = Statistics(time.perf_counter(), header, mask)
        engine = Engine(routes, statistics)
        with _until(end, engine.give_up) as came:
            if shape.rate is not None:
                await engine.open(shape.rate, shape.requests, shape.duration)
            else:
                await engine.closed(shape.concurrency, shape.requests, shape.duration)
        statistics.close(time.perf_counter())
        if came.is_set() and shape.deadline is not None:
            statistics.overdue = _overdue(shape, statistics.requests)
    finally:
        gc.enable()
    return statistics


@contextlib.contextmanager
def _until(end: float | None, give_up: Callable[[], None]) -> Iterator[asyncio.Event]:
    """Give up at a moment of the engine's clock; the event says whether it came to that."""
    came = asyncio.Event()

    def over() -> None:
        came.set()
        give_up()

    if end is None:
        yield came
        return
    timer = asyncio.get_running_loop().call_later(end - time.perf_counter(), over)
    try:
        yield came
    finally:
        timer.cancel()


def _overdue(shape: Shape, done: int) -> dict[str, str]:
    """What a load had come to when its deadline came, as a gate tells it."""
    wanted = f" of {shape.requests}" if shape.requests is not None else ""
    return {
        "value": f"{done}{wanted} requests",
        "limit": f"all within {shape.deadline:g} s",
        "detail": "the load was ended at its deadline; the server is far slower than that, or does not answer",
    }


def raise_descriptor_limit() -> None:
    """Allow ourselves as many open files as we may: what is usual, 1024, is less than a load may need."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # some kernels refuse a limit that they themselves named
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def overhead(shape: Shape, fresh: bool) -> dict[str, Any]:
    """Figures of a second of the same load against a server in a process of its own that does nothing."""
    with null_server() as port:
        request = Request(parse_url(f"http://127.0.0.1:{port}/"))
        route = Route("null", request, fresh=fresh)
        brief = shape._replace(requests=None, duration=_CALIBRATION, deadline=None)
        return asyncio.run(apply(brief, [route])).figures()


@contextlib.contextmanager
def null_server() -> Iterator[int]:
    """A server that answers everything with two bytes, in a forked process; yields its port on 127.0.0.1."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(1024)
    # So that it cannot outlive us, it watches a pipe whose other end closes when we are gone.
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(writer)
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_DFL)
            asyncio.run(_serve_null(listener, reader))
        finally:
            os._exit(0)
    os.close(reader)
    try:
        yield int(listener.getsockname()[1])
    finally:
        listener.close()
        os.close(writer)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


class _Null(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(_ANSWER)
        if b"Connection: close" in data:
            self.transport.close()


async def _serve_null(listener: socket.socket, lifeline: int) -> None:
    loop = asyncio.get_running_loop()
    over = asyncio.Event()
    loop.add_reader(lifeline, over.set)
    server = await loop.create_server(_Null, sock=listener)
    await over.wait()
    server.close()


class Load(NamedTuple):
    """A declared load at one place. Without budgets it is only measured."""

    name: str
    declared: str
    shape: Shape
    routes: list[Route]
    budgets: list[Budget]
    release_header: str | None
    warm_up: int

    def run(self, mask: Callable[[str], str]) -> Statistics:
        """Apply it."""
        return asyncio.run(apply(self.shape, self.routes, self.release_header, self.warm_up, mask))


_KEYS = (
    "name",
    "routes",
    "requests",
    "duration",
    "concurrency",
    "rate",
    "connections",
    "timeout",
    "warm_up",
    "deadline",
    "release_header",
    "budgets",
)


def parse_loads(raw: list[Any], places: list[Place], validate_certs: bool = True) -> list[Load]:
    """Compile all loads for all places before any is applied; raises SpecError with every mistake."""
    problems: list[str] = []
    loads: list[Load] = []
    for index, given in enumerate(raw):
        name = str(given.get("name") or "") if isinstance(given, dict) else ""
        where = name or f"loads[{index}]"
        if not name:
            problems.append(f"{where}: name is required")
            continue
        problems += [*unknown_keys(given, _KEYS, where), *unfilled(given, where)]
        for place in serving(places, given):
            try:
                loads.append(_load(given, place, validate_certs))
            except SpecError as error:
                problems += [f"{where}: {problem}" for problem in error.problems]
                break  # every replica would say the same
            except (TypeError, ValueError) as error:
                problems.append(f"{where}: {error}")
                break
    names = [load.name for load in loads]
    problems += [f"two loads are called {name!r}" for name in sorted(set(names)) if names.count(name) > 1]
    if problems:
        raise SpecError(*problems)
    return loads


def _load(given: dict[str, Any], place: Place, validate_certs: bool) -> Load:
    problems: list[str] = []
    number = given.get("requests")
    duration = given.get("duration")
    rate = given.get("rate")
    shape = Shape(
        whole(1, "requests")(number) if number is not None else None,
        some_time(duration, "duration") if duration is not None else None,
        whole(1, "concurrency")(given.get("concurrency", 10)),
        float(rate) if rate is not None else None,
    )
    deadline = given.get("deadline")
    shape = shape._replace(
        deadline=shape.least + _DEADLINE if deadline is None else some_time(deadline, "deadline")
    )
    problems += shape.problems()
    budgets: list[Budget] = []
    routes: list[Route] = []
    try:
        budgets = parse_budgets(given["budgets"]) if "budgets" in given else []
    except SpecError as error:
        problems += error.problems
    try:
        routes = parse_routes(
            given.get("routes"),
            place.base_url,
            place.connect_to,
            place.ca_file,
            validate_certs,
            given.get("connections", "keep-alive"),
            some_time(given.get("timeout", 10), "timeout"),
        )
    except SpecError as error:
        problems += error.problems
    if problems:
        raise SpecError(*problems)
    # A request that failed has no time, so all others could fail and every percentile hold.
    if budgets and not any(budget.name == "errors" for budget in budgets):
        budgets.insert(0, Budget("errors", 0.0))
    name = str(given["name"])
    header = given.get("release_header")
    return Load(
        place.label(name), name, shape, routes, budgets, header, whole(0, "warm_up")(given.get("warm_up", 0))
    )
