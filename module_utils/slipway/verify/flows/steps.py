# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""The steps that need more than one request: event streams, bursts, caches, limits on concurrent streams."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import Any

from ..checks.base import Clause
from ..checks.http import response_clauses
from ..http.client import Response, Trace, send
from ..http.sse import Stream
from ..http.wire import HttpError
from ..predicates import Predicate, SpecError, StatusPredicate, seconds, show, some_time, unknown_keys, whole
from .context import (
    BODY_KEYS,
    GOOD,
    METHODS,
    STREAM_HEADERS,
    Context,
    StepFailed,
    mapping,
    response_expectations,
    unmet,
)
from .request import COMMON_KEYS, Probe, one_action

_POLL = 0.25


def _streaming(given: dict[str, Any]) -> dict[str, Any]:
    return {**STREAM_HEADERS, **(given.get("headers") or {})}


class BurstStep:
    """Many requests at once: only these statuses, so many of each, and back to normal soon."""

    actions = ("burst",)
    keys = ("burst", "expect")
    read_only = False

    def __init__(self, context: Context, raw: dict[str, Any], where: str) -> None:
        self.context = context
        problems = unknown_keys(raw, (*COMMON_KEYS, *self.keys), where)
        given = raw["burst"]
        self._only: StatusPredicate | None = None
        self._counts: dict[str, Predicate] = {}
        self._recovers: float | None = None
        try:
            action = one_action(given, f"{where}.burst", (*METHODS, "sse"))
            allowed = (*METHODS, "sse", *BODY_KEYS, "requests", "concurrency")
            problems += unknown_keys(given, allowed, f"{where}.burst")
            # A stream has no end to wait for: it is judged by its status and closed.
            self._streams = action == "sse"
            if self._streams:
                action, given = "get", {**given, "get": given["sse"], "headers": _streaming(given)}
            request = context.request(action, given[action], given, f"{where}.burst")
            # Many answers at once: which one's cookies the journey went on with would be chance.
            self.request = request._replace(jar=request.jar and request.jar.copy())
            self.timeout = some_time(given.get("timeout", context.timeout), f"{where}.timeout")
            self.requests = whole(2, f"{where}.burst.requests")(given.get("requests", 30))
            self.concurrency = whole(1, f"{where}.burst.concurrency")(given.get("concurrency", self.requests))
            if self.requests > 10000:
                raise SpecError(f"{where}.burst.requests: at most 10000")
            expect = mapping(raw.get("expect"), f"{where}.expect")
            problems += unknown_keys(expect, ("only", "count", "recovers_within"), f"{where}.expect")
            if "only" in expect:
                self._only = StatusPredicate(expect["only"], f"{where}.expect.only")
            for status, operand in (mapping(expect["count"], where) if "count" in expect else {}).items():
                StatusPredicate(status, f"{where}.expect.count")
                self._counts[str(status)] = Predicate(operand, f"{where}.expect.count.{status}", plain="gte")
            if "recovers_within" in expect:
                self._recovers = some_time(expect["recovers_within"], f"{where}.expect.recovers_within")
        except SpecError as error:
            problems += error.problems
        if problems:
            raise SpecError(*problems)

    @property
    def expected(self) -> str:
        """What is expected, in a line."""
        found = [f"only {self._only}"] if self._only else []
        found += [f"{status} {predicate} times" for status, predicate in self._counts.items()]
        return ", ".join(
            found + ([f"recovers within {self._recovers:g} s"] if self._recovers is not None else [])
        )

    async def run(self) -> str:
        """Returns what was seen, in a line; raises StepFailed."""
        slots = asyncio.Semaphore(self.concurrency)
        lost: list[str] = []
        statuses: Counter[str] = Counter()

        async def one() -> None:
            async with slots:
                try:
                    statuses[str(await self._status(self.timeout))] += 1
                except HttpError as error:
                    lost.append(str(error))

        await asyncio.gather(*(one() for _number in range(self.requests)))
        seen = ", ".join(f"{count}x {status}" for status, count in sorted(statuses.items()))
        failures = [f"{len(lost)} requests got no answer; the first: {lost[0]}"] if lost else []
        for status in statuses:
            if self._only and self._only.failure(status) is not None:
                failures.append(f"only: saw {statuses[status]}x {status}, expected {self._only}")
        for status, predicate in self._counts.items():
            count = sum(
                n for code, n in statuses.items() if StatusPredicate(status, "").failure(code) is None
            )
            expected = predicate.failure(count)
            if expected is not None:
                failures.append(f"count of {status}: saw {count}, expected {expected}")
        if failures:
            line = f"{self.request.method} {self.request.url} x{self.requests}, {self.concurrency} at a time"
            raise StepFailed(f"{line} -> {seen or 'no answers'}", *failures)
        if self._recovers is not None:
            seen += f", recovered after {await self._recovery(self._recovers):.1f} s"
        return seen

    async def _status(self, timeout: float) -> int:
        if not self._streams:
            return (await send(self.request, Trace(), timeout)).status
        stream = Stream(self.request, Trace())
        try:
            await stream.open(timeout)
            return stream.response.status
        finally:
            stream.close()

    async def _recovery(self, limit: float) -> float:
        """Seconds until a single request is neither refused for its rate nor failed."""
        started = time.monotonic()
        last = "no answer"
        while True:
            left = started + limit - time.monotonic()
            try:
                # An answer that comes too late is none, so nobody needs to wait for it.
                status = await self._status(min(self.timeout, left))
                last = str(status)
                took = time.monotonic() - started
                if status != 429 and status < 500 and took <= limit:
                    return took
            except HttpError as error:
                last = str(error)
            if time.monotonic() - started + _POLL > limit:
                line = f"{self.request.method} {self.request.url} -> {last}"
                raise StepFailed(line, f"recovers_within: still so {limit:g} s after the burst")
            await asyncio.sleep(_POLL)


class CacheStep:
    """A miss, then a hit; after an invalidation a miss and a hit again."""

    actions = ("cache",)
    keys = ("cache", "expect", "invalidate", "then")

    def __init__(self, context: Context, raw: dict[str, Any], where: str) -> None:
        self.context = context
        problems = unknown_keys(raw, (*COMMON_KEYS, *self.keys), where)
        self._before = b""
        self._ratio = 0.0
        self._miss_seconds = 0.0
        self._clause: Clause | None = None
        self._wanted: dict[str, Predicate] = {}
        self.invalidate: Probe | None = None
        try:
            given = mapping(raw["cache"], f"{where}.cache")
            problems += unknown_keys(given, ("get", "headers", "timeout", "by"), f"{where}.cache")
            if "get" not in given:
                raise SpecError(f"{where}.cache: get is required")
            self.request = context.request("get", given["get"], given, f"{where}.cache")
            self.timeout = some_time(given.get("timeout", context.timeout), f"{where}.timeout")
            self._by(given.get("by"), f"{where}.cache.by")
            self.expect = self._sequence(raw.get("expect", ["miss", "hit"]), f"{where}.expect")
            self.then = self._sequence(raw["then"], f"{where}.then") if "then" in raw else []
            if "changed" in self.expect:
                raise SpecError(f"{where}.expect: nothing has changed yet; {{changed: body}} belongs in then")
            if self.then[:1] == ["changed"]:
                raise SpecError(f"{where}.then: {{changed: body}} needs an answer before it; begin with miss")
            if bool(self.then) != ("invalidate" in raw):
                problems.append(f"{where}: invalidate and then belong together")
            elif self._ratio:
                self._by_time(self.expect, f"{where}.expect", known=False)
                self._by_time(self.then, f"{where}.then", known=True)
            if "invalidate" in raw:
                self.invalidate = Probe(context, raw["invalidate"], f"{where}.invalidate")
        except SpecError as error:
            problems += error.problems
        if problems:
            raise SpecError(*problems)

    def _by(self, raw: Any, where: str) -> None:
        source = one_action(raw, where, ("header", "json", "time_ratio"))
        problems = unknown_keys(raw, ("header", "json", "time_ratio", "hit", "miss"), where)
        if source == "time_ratio":
            self._ratio = float(raw[source])
            if self._ratio <= 1:
                problems.append(f"{where}.time_ratio: must be above 1")
        else:
            key = {str(raw[source]): {"exists": True}}
            self._clause = response_clauses(source, key, where)[0]
            for side in ("hit", "miss"):
                if side not in raw:
                    problems.append(f"{where}: {side} is required")
                else:
                    self._wanted[side] = Predicate(raw[side], f"{where}.{side}")
        if problems:
            raise SpecError(*problems)

    @staticmethod
    def _by_time(sequence: list[str], where: str, known: bool) -> None:
        """Raises SpecError where time cannot tell: how slow a miss is shows only in the hit after it."""
        asked = [step for step in sequence if step != "changed"]
        for step, following in zip(asked, [*asked[1:], ""]):
            if step == "miss" and following != "hit":
                raise SpecError(f"{where}: by time_ratio, a miss is told by the hit right after it; add one")
            if step == "hit" and not known:
                raise SpecError(
                    f"{where}: by time_ratio, a hit is told by the miss before it; begin with one"
                )
            known = True

    @staticmethod
    def _sequence(raw: Any, where: str) -> list[str]:
        if not isinstance(raw, list) or not raw:
            raise SpecError(f"{where}: an empty list asserts nothing; known: miss, hit, {{changed: body}}")
        steps = ["changed" if item == {"changed": "body"} else item for item in raw]
        wrong = [item for item in steps if item not in ("miss", "hit", "changed")]
        if wrong:
            raise SpecError(f"{where}: {show(wrong[0])} is neither miss, hit nor {{changed: body}}")
        return steps

    @property
    def read_only(self) -> bool:
        """Reading alone may run in check mode."""
        return self.invalidate is None

    @property
    def expected(self) -> str:
        """What is expected, in a line."""
        return ", ".join([*self.expect, *(["invalidated", *self.then] if self.then else [])])

    async def run(self) -> str:
        """Returns what was seen, in a line; raises StepFailed."""
        response = await self._walk(self.expect, "")
        if self.invalidate:
            self._before = response.body
            try:
                await self.invalidate.run()
            except StepFailed as error:
                raise StepFailed("invalidate:", *error.lines) from None
            await self._walk(self.then, " after the invalidation")
        return self.expected

    async def _walk(self, steps: list[str], when: str) -> Response:
        response: Response | None = None
        for number, wanted in enumerate(steps, 1):
            if wanted == "changed":
                if response is not None and response.body == self._before:
                    lines = self.context.described(self.request, response)
                    raise StepFailed(*lines, f"changed: the body is the same as before the change{when}")
                continue
            response = await self.context.send(self.request, self.timeout)
            failures = unmet(
                response_expectations(GOOD, "")[0], {"response": response}, self.context.redactor
            )
            seen = self._seen(response) if not failures else ""
            if not failures and self._ratio:
                if wanted == "miss":
                    self._miss_seconds = response.seconds
                else:
                    failures = await self._fast_enough(response)
            elif not failures and self._wanted[wanted].failure(seen) is not None:
                shown = show(self.context.redactor.seen(self._clause.label if self._clause else "", seen))
                failures = [
                    f"request {number}{when}: saw {shown}, expected a {wanted}: {self._wanted[wanted]}"
                ]
            if failures:
                raise StepFailed(*self.context.described(self.request, response), *failures)
        if response is None:
            raise StepFailed("the sequence sends no request")
        return response

    def _seen(self, response: Response) -> Any:
        return self._clause.get({"response": response}) if self._clause else None

    async def _fast_enough(self, response: Response) -> list[str]:
        """A hit by time is the best of three: one slow scheduler tick must not make it a miss."""
        limit = self._miss_seconds / self._ratio
        best = response.seconds
        for _again in range(2):
            if best <= limit:
                return []
            best = min(best, (await self.context.send(self.request, self.timeout)).seconds)
        if best <= limit:
            return []
        miss = f"{self._miss_seconds * 1000:.1f} ms"
        return [
            f"hit: took {best * 1000:.1f} ms after a miss of {miss}, expected {self._ratio:g} times faster"
        ]


class ConnectionsStep:
    """So many concurrent streams are allowed, and one more is refused until one of them ends."""

    actions = ("connections",)
    keys = ("connections", "expect")
    read_only = False

    def __init__(self, context: Context, raw: dict[str, Any], where: str) -> None:
        self.context = context
        problems = unknown_keys(raw, (*COMMON_KEYS, *self.keys), where)
        self._refused = StatusPredicate([429, 503], where)
        self._again = 5.0
        try:
            given = mapping(raw["connections"], f"{where}.connections")
            problems += unknown_keys(
                given, ("sse", "get", "headers", "allowed", "timeout"), f"{where}.connections"
            )
            action = one_action(given, f"{where}.connections", ("sse", "get"))
            headers = _streaming(given) if action == "sse" else given.get("headers") or {}
            self.request = context.request("get", given[action], {"headers": headers}, where)
            self.timeout = some_time(given.get("timeout", context.timeout), f"{where}.timeout")
            self.allowed = whole(1, f"{where}.connections.allowed")(given.get("allowed", 1))
            if self.allowed > 1000:
                raise SpecError(f"{where}.connections.allowed: at most 1000")
            expect = raw.get("expect", {"refused": [429, 503]})
            mapping(expect, f"{where}.expect")
            problems += unknown_keys(expect, ("refused", "again_within"), f"{where}.expect")
            if "refused" in expect:
                self._refused = StatusPredicate(expect["refused"], f"{where}.expect.refused")
            self._again = seconds(expect.get("again_within", 5))
        except SpecError as error:
            problems += error.problems
        if problems:
            raise SpecError(*problems)

    @property
    def expected(self) -> str:
        """What is expected, in a line."""
        return f"{self.allowed} streams, one more refused with {self._refused}"

    async def run(self) -> str:
        """Returns what was seen, in a line; raises StepFailed."""
        streams: list[Stream] = []
        try:
            for number in range(1, self.allowed + 1):
                # A server notices only when it next writes that somebody of an earlier step has hung up.
                await self._accepted(streams, f"stream {number} of {self.allowed} allowed was not accepted")
            for stream in streams:
                if not stream.alive:
                    self._fail(stream, "the server ended a stream that is allowed")
            extra = await self._open(streams)
            if self._refused.failure(extra.response.status) is not None:
                self._fail(
                    extra, f"stream {self.allowed + 1} was expected to be refused with {self._refused}"
                )
            refused = extra.response.status
            extra.close()
            streams[0].close()
            await self._accepted(streams, "still refused after another stream had ended")
        finally:
            for stream in streams:
                stream.close()
        return f"{self.allowed} streams open, one more refused with {refused}, accepted once one had ended"

    async def _open(self, streams: list[Stream]) -> Stream:
        stream = Stream(self.request, Trace())
        streams.append(stream)
        try:
            await stream.open(self.timeout)
        except HttpError as error:
            raise StepFailed(f"GET {self.request.url} (stream {len(streams)})", str(error)) from None
        return stream

    async def _accepted(self, streams: list[Stream], otherwise: str) -> None:
        end = time.monotonic() + self._again
        while True:
            stream = await self._open(streams)
            if 200 <= stream.response.status < 300:
                return
            stream.close()
            streams.remove(stream)
            if time.monotonic() + _POLL > end:
                self._fail(stream, f"{otherwise}, tried for {self._again:g} s")
            await asyncio.sleep(_POLL)

    def _fail(self, stream: Stream, reason: str) -> None:
        response = stream.response
        text = stream.body.decode("utf-8", "replace")
        body = ["body: " + self.context.masked(text)] if text else []
        raise StepFailed(f"GET {self.request.url} -> {response.status} {response.reason}", reason, *body)
