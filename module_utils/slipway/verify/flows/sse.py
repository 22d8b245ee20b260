# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""The step that reads an event stream."""

from __future__ import annotations

import json
from typing import Any

from ..checks.http import response_clauses
from ..http.client import Response, Trace
from ..http.sse import Event, Limits, Stream
from ..http.wire import HttpError
from ..predicates import MISSING, Predicate, SpecError, on_text, seconds, show, unknown_keys, whole
from ..selectors import Selector
from .context import STREAM_HEADERS, Context, StepFailed, mapping, unmet, words
from .request import COMMON_KEYS

# Events closer together than this came out of one buffer.
_BUFFERED = 0.05


class SseStep:
    """Read an event stream: enough events, soon enough, spread over time, and none lost on resuming."""

    actions = ("sse",)
    keys = ("sse", "headers", "timeout", "read", "expect", "resume")
    read_only = True
    _EXPECT = ("status", "header", "event", "data", "json", "count", "spread", "buffered")

    def __init__(self, context: Context, raw: dict[str, Any], where: str) -> None:
        self.context = context
        problems = unknown_keys(raw, (*COMMON_KEYS, *self.keys), where)
        headers = {**STREAM_HEADERS, **(raw.get("headers") or {})}
        self.timeout = seconds(raw.get("timeout", context.timeout))
        self.limits = Limits()
        self.expect: dict[str, Any] = {}
        self._predicates: dict[str, Predicate] = {}
        self._paths: list[tuple[str, Selector, Predicate | None]] = []
        self._resume: dict[str, Any] | None = None
        try:
            self.request = context.request("get", raw["sse"], {"headers": headers}, where)
            self.limits = self._limits(raw.get("read", {}), f"{where}.read")
            self._expectations(raw.get("expect", {"status": 200}), f"{where}.expect")
            if "resume" in raw:
                self._resume = self._resuming(raw["resume"], f"{where}.resume")
        except SpecError as error:
            problems += error.problems
        if problems:
            raise SpecError(*problems)

    @staticmethod
    def _limits(raw: Any, where: str) -> Limits:
        if not isinstance(raw, dict):
            raise SpecError(f"{where}: must be a mapping")
        problems = unknown_keys(raw, Limits._fields, where)
        if problems:
            raise SpecError(*problems)
        times = {key: seconds(value) for key, value in raw.items() if key != "events"}
        events = whole(1, f"{where}.events")(raw.get("events", 1))
        return Limits(events=events, **times)

    def _expectations(self, raw: Any, where: str) -> None:
        self.expect = mapping(raw, where)
        problems = unknown_keys(raw, self._EXPECT, where)
        if problems:
            raise SpecError(*problems)
        self._head = response_clauses("status", raw.get("status", 200), f"{where}.status")
        if "header" in raw:
            self._head += response_clauses("header", raw["header"], f"{where}.header")
        for key, convert in (("event", None), ("data", None), ("count", None), ("spread", seconds)):
            if key in raw:
                plain = "gte" if key in ("spread", "count") else "contains" if key == "data" else "eq"
                place = f"{where}.{key}"
                text = key in ("event", "data")
                self._predicates[key] = (
                    on_text(raw[key], place, plain) if text else Predicate(raw[key], place, convert, plain)
                )
        if "buffered" in raw:
            if raw["buffered"] is not False:
                raise SpecError(f"{where}.buffered: only false can be expected")
            if self.limits.events < 2:
                raise SpecError(f"{where}.buffered: needs read.events of at least 2 to see them spread")
        for path, operand in mapping(raw.get("json", {"@": 0}), f"{where}.json").items():
            if "json" in raw:
                rising = operand == {"increasing": True}
                predicate = None if rising else Predicate(operand, f"{where}.json[{path}]")
                self._paths.append((str(path), Selector(str(path), where), predicate))

    @staticmethod
    def _resuming(raw: Any, where: str) -> dict[str, Any]:
        mapping(raw, where)
        problems = unknown_keys(raw, ("last_event_id", "by", "expect"), where)
        expect = raw.get("expect", {"gap": 0})
        problems += unknown_keys(mapping(expect, f"{where}.expect"), ("gap",), f"{where}.expect")
        if problems:
            raise SpecError(*problems)
        by = Selector(str(raw["by"]), where) if "by" in raw else None
        return {"gap": Predicate(expect.get("gap", 0), f"{where}.expect.gap"), "by": by}

    @property
    def expected(self) -> str:
        """What is expected, in a line."""
        limits = self.limits
        found = [f"{limits.events} events within {limits.within:g} s", words(self._head)]
        found += [f"{key} {predicate}" for key, predicate in self._predicates.items()]
        found += [f"json {path} {predicate or 'increasing'}" for path, _selector, predicate in self._paths]
        found += ["not held back"] if "buffered" in self.expect else []
        return ", ".join(found + ([f"resumed with a gap of {self._resume['gap']}"] if self._resume else []))

    async def run(self) -> str:
        """Returns what was seen, in a line; raises StepFailed."""
        events = await self._read(self.request, self.limits)
        if self._resume:
            await self._continue(events[-1], self._resume)
        spread = events[-1].at - events[0].at
        return f"{len(events)} events over {spread:.2f} s" + (
            ", resumed without a gap" if self._resume else ""
        )

    async def _read(self, request: Any, limits: Limits) -> list[Event]:
        stream = Stream(request, Trace())
        try:
            await stream.open(min(self.timeout, limits.within))
            self._judge_head(stream)
            await stream.read(limits)
        except HttpError as error:
            raise StepFailed(f"GET {request.url} (event stream)", str(error), *self._last(stream)) from None
        finally:
            stream.close()
        # What came in the same packet was not asked for, and would be judged only sometimes.
        events = stream.events[: limits.events]
        failures = self._judge(events)
        if failures:
            raise StepFailed(f"GET {request.url} (event stream)", *failures, *self._last(stream))
        return events

    def _judge_head(self, stream: Stream) -> None:
        parser = stream.response
        response = Response(
            parser.status, parser.reason, parser.headers, stream.body, self.request.url, 0, []
        )
        failures = unmet(self._head, {"response": response}, self.context.redactor)
        kind = (response.header("content-type") or "").split(";")[0].strip()
        coding = response.header("content-encoding") or "identity"
        if not failures and coding != "identity":
            failures = [f"content-encoding: saw {show(coding)}; a compressed stream arrives in lumps"]
        elif not failures and kind != "text/event-stream":
            failures = [f"content-type: saw {show(kind)}, expected text/event-stream"]
        if failures:
            raise StepFailed(
                f"GET {self.request.url} -> {parser.status} {parser.reason}", *failures, *self._last(stream)
            )

    def _last(self, stream: Stream) -> list[str]:
        text = stream.body.decode("utf-8", "replace")
        return ["received: " + self.context.masked(text)] if text else []

    def _shown(self, label: str, value: Any) -> str:
        return show(self.context.redactor.seen(label, value))

    def _judge(self, events: list[Event]) -> list[str]:
        spread = events[-1].at - events[0].at
        facts: dict[str, Any] = {"count": len(events), "spread": round(spread, 3)}
        failures = []
        for key, predicate in self._predicates.items():
            values = [getattr(event, key) for event in events] if key in ("event", "data") else [facts[key]]
            for value in values:
                expected = predicate.failure(value)
                if expected is not None:
                    failures.append(f"{key}: saw {self._shown(key, value)}, expected {expected}")
                    break
        if "buffered" in self.expect and spread < _BUFFERED:
            failures.append(
                f"buffered: {len(events)} events within {spread * 1000:.0f} ms: something held them back "
                "(nginx: proxy_buffering off, or the header X-Accel-Buffering: no)"
            )
        for path, selector, wanted in self._paths:
            failures += self._judge_path(events, path, selector, wanted)
        return failures

    def _judge_path(
        self, events: list[Event], path: str, selector: Selector, wanted: Predicate | None
    ) -> list[str]:
        values = [_value(event, selector) for event in events]
        if wanted is not None:
            for value in values:
                expected = wanted.failure(value)
                if expected is not None:
                    return [f"json {path}: saw {self._shown(f'json {path}', value)}, expected {expected}"]
            return []
        for before, after in zip(values, values[1:]):
            if not _is_number(before) or not _is_number(after) or after <= before:
                seen = " and then ".join(self._shown(f"json {path}", value) for value in (before, after))
                return [f"json {path}: saw {seen}, expected increasing"]
        return []

    async def _continue(self, last: Event, resume: dict[str, Any]) -> None:
        if not last.id:
            raise StepFailed(f"GET {self.request.url} (event stream)", "resume: the events carry no id")
        headers = {**self.request.headers, "Last-Event-ID": last.id}
        request = self.request._replace(headers=headers)
        first = (await self._read(request, self.limits))[0]
        by = resume["by"]
        before, after = (_value(last, by), _value(first, by)) if by else (_number(last.id), _number(first.id))
        if not _is_number(before) or not _is_number(after):
            reason = f"resume: cannot count from {show(last.id)} to {show(first.id)}; name a number with `by`"
            raise StepFailed(f"GET {request.url} (event stream)", reason)
        gap = after - before - 1
        expected = resume["gap"].failure(gap)
        if expected is not None:
            what = f"resume after {show(before)}: went on with {show(after)}, gap {gap}, expected {expected}"
            raise StepFailed(f"GET {request.url} (event stream, Last-Event-ID {last.id})", what)


def _value(event: Event, selector: Selector) -> Any:
    try:
        return selector.get(json.loads(event.data))
    except (ValueError, RecursionError):
        return MISSING


def _number(text: str) -> Any:
    return int(text) if text.lstrip("-").isdigit() else MISSING


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
