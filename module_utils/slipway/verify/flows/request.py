# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""The step that sends a request: what it must cause, and which forgeries of it must not be accepted."""

from __future__ import annotations

import asyncio
import re
import time
from typing import Any, NamedTuple

from ..checks.base import Clause
from ..http.client import Request, Response
from ..http.wire import HttpError
from ..predicates import MISSING, SpecError, seconds, show, some_time, unknown_keys
from ..selectors import Selector
from .context import (
    BODY_KEYS,
    GOOD,
    METHODS,
    READ_ONLY,
    Context,
    StepFailed,
    parse_retry,
    response_expectations,
    unmet,
    words,
)
from .signing import CASES, Signed, Signer

COMMON_KEYS = ("name", "when_saved")
_POLL = 0.25
# What a receiver may answer to a forgery. The same message again may be acknowledged, only not acted on.
_DEFAULT_CASE = {"same_id": [200, 201, 202, 204, 208, 400, 401, 403, 409]}
_REFUSED = [400, 401, 403]


def one_action(raw: Any, where: str, names: tuple[str, ...] = METHODS) -> str:
    """The single key that says what is done; raises SpecError."""
    if not isinstance(raw, dict):
        raise SpecError(f"{where}: must be a mapping")
    found = [key for key in raw if key in names]
    if len(found) != 1:
        raise SpecError(
            f"{where}: exactly one action is needed, found {' and '.join(found) or 'none'}; "
            f"known: {', '.join(names)}"
        )
    return str(found[0])


class Saver:
    """Compiled `save`: name -> where in a response the value is."""

    _SOURCES = ("json", "header", "cookie", "body", "status")

    def __init__(self, raw: Any, where: str) -> None:
        if not isinstance(raw, dict) or not raw:
            raise SpecError(f"{where}: must be a mapping with at least one name")
        problems: list[str] = []
        self._rules: list[tuple[str, str, Any, bool]] = []
        for name, given in raw.items():
            rule = {"json": given} if isinstance(given, str) else given
            place = f"{where}.{name}"
            if not re.fullmatch(r"[A-Za-z_]\w*", str(name)):
                problems.append(f"{place}: a name is letters, digits and underscores")
            try:
                source = one_action(rule, place, self._SOURCES)
                problems += unknown_keys(rule, (*self._SOURCES, "secret"), place)
                operand: Any = rule[source]
                if source == "json":
                    operand = Selector(str(operand), place)
                elif source == "body":
                    operand = re.compile(str(operand))
                self._rules.append((str(name), source, operand, bool(rule.get("secret", False))))
            except SpecError as error:
                problems += error.problems
            except re.error as error:
                problems.append(f"{place}: invalid regular expression: {error}")
        if problems:
            raise SpecError(*problems)

    def save(self, context: Context, response: Response, any_type: bool) -> list[str]:
        """Save what is there; returns one sentence for each value that is not."""
        missing = []
        for name, source, operand, secret in self._rules:
            try:
                value = self._find(context, response, source, operand, any_type)
            except HttpError as error:
                missing.append(f"save {name}: {error}")
                continue
            if value is MISSING:
                missing.append(f"save {name}: the response has no such {source}")
                continue
            if secret:
                context.redactor.add(value)
            context.saved[name] = value
        return missing

    @staticmethod
    def _find(context: Context, response: Response, source: str, operand: Any, any_type: bool) -> Any:
        if source == "json":
            return operand.get(response.json(any_type))
        if source == "header":
            value = response.header(str(operand))
            return MISSING if value is None else value
        if source == "cookie":
            cookie = context.cookies.value(response.url.host, str(operand))
            return MISSING if cookie is None else cookie
        if source == "status":
            return response.status
        match = operand.search(response.text())
        return MISSING if match is None else match.group(match.re.groups and 1)


class Probe:
    """A request with expectations, tried until they hold or `within` seconds are over."""

    def __init__(self, context: Context, raw: Any, where: str, extra: tuple[str, ...] = ()) -> None:
        self.context = context
        self.method = one_action(raw, where)
        problems = unknown_keys(raw, (*METHODS, *BODY_KEYS, "expect", "within", *extra), where)
        try:
            self.request = context.request(self.method, raw[self.method], raw, where)
            self.clauses, self.any_type = response_expectations(raw.get("expect", GOOD), f"{where}.expect")
            self.timeout = some_time(raw.get("timeout", context.timeout), f"{where}.timeout")
            self.within = seconds(raw.get("within", 0))
            self.retry = parse_retry(raw["retry"], f"{where}.retry") if "retry" in raw else None
        except SpecError as error:
            problems += error.problems
        if problems:
            raise SpecError(*problems)

    async def run(self, request: Request | None = None, saver: Saver | None = None) -> Response:
        """Send until the expectations hold; raises StepFailed with all that was seen."""
        request = request or self.request
        end = time.monotonic() + self.within
        while True:
            response, failures = await self._once(request, saver)
            if not failures:
                return response
            if time.monotonic() + _POLL >= end:
                late = [f"(for {self.within:g} s)"] if self.within else []
                raise StepFailed(*self.context.described(request, response), *failures, *late)
            await asyncio.sleep(_POLL)

    async def stay(self) -> None:
        """Send for as long as `within` says, and require the expectations every time; raises StepFailed."""
        started = time.monotonic()
        while True:
            response, failures = await self._once(self.request)
            passed = time.monotonic() - started
            if failures:
                late = [f"(after {passed:.1f} s)"] if self.within else []
                raise StepFailed(*self.context.described(self.request, response), *failures, *late)
            if passed >= self.within:
                return
            await asyncio.sleep(min(_POLL, self.within - passed))

    async def _once(self, request: Request, saver: Saver | None = None) -> tuple[Response, list[str]]:
        """What was answered, and what of it is not as expected."""
        response = await self.context.send(request, self.timeout, self.retry)
        # Saved even from a wrong answer: what is secret must be known before anything is shown.
        missing = saver.save(self.context, response, self.any_type) if saver else []
        facts = {"response": response, "any_type": self.any_type}
        return response, unmet(self.clauses, facts, self.context.redactor) or missing


class Case(NamedTuple):
    """A forged message and what must become of it."""

    name: str
    age: float
    clauses: list[Clause]
    unchanged: bool


class RequestStep:
    """Send a request, signed where that is declared, and look at its effect."""

    actions = METHODS
    keys = (*METHODS, *BODY_KEYS, "expect", "save", "retry", "within", "sign", "replay", "effect")

    def __init__(self, context: Context, raw: dict[str, Any], where: str) -> None:
        self.context = context
        self.signer: Signer | None = None
        self.cases: list[Case] = []
        self._effect_raw: Any = None
        self._where = where
        self.saver: Saver | None = None
        problems: list[str] = []
        try:
            self.probe = Probe(context, raw, where, (*COMMON_KEYS, *self.keys))
        except SpecError as error:
            problems += error.problems
        parts = {"save": self._save, "sign": self._sign, "effect": self._effect, "replay": self._replay}
        for key, build in parts.items():
            if key in raw:
                try:
                    build(raw[key], f"{where}.{key}")
                except SpecError as error:
                    problems += error.problems
        if "replay" in raw and "sign" not in raw:
            problems.append(f"{where}.replay: needs sign")
        if problems:
            raise SpecError(*problems)

    def _save(self, raw: Any, where: str) -> None:
        self.saver = Saver(raw, where)

    def _sign(self, raw: Any, where: str) -> None:
        self.signer = Signer(raw, where)

    def _effect(self, raw: Any, where: str) -> None:
        Probe(self.context, raw, where)
        self._effect_raw = raw

    def _replay(self, raw: Any, where: str) -> None:
        if not isinstance(raw, list) or not raw:
            raise SpecError(f"{where}: an empty list replays nothing; known: {', '.join(CASES)}")
        problems: list[str] = []
        for index, given in enumerate(raw):
            entry = {"case": given} if isinstance(given, str) else given
            place = f"{where}[{index}]"
            if not isinstance(entry, dict):
                problems.append(f"{place}: must be a case or a mapping")
                continue
            problems += unknown_keys(entry, ("case", "age", "expect"), place)
            name = str(entry.get("case", ""))
            if name not in CASES:
                problems += unknown_keys({name: 0}, CASES, f"{place}.case")
                continue
            if name == "stale" and self.signer and not self.signer.has_timestamp:
                problems.append(f"{place}: the scheme signs no timestamp, so nothing can be stale")
            default = {"status": _DEFAULT_CASE.get(name, _REFUSED)}
            expect = entry.get("expect", default)
            if not isinstance(expect, dict) or not expect:
                problems.append(f"{place}.expect: an empty expectation asserts nothing")
                continue
            expect = dict(expect)
            effect = expect.pop("effect", None)
            if effect not in (None, "once", "unchanged"):
                problems.append(f"{place}.expect.effect: {effect!r} is neither once nor unchanged")
            if effect and self._effect_raw is None:
                problems.append(f"{place}.expect.effect: the step declares no effect to look at")
            try:
                clauses, _any_type = response_expectations(expect or default, f"{place}.expect")
                age = seconds(entry.get("age", "10m"))
                self.cases.append(Case(name, age, clauses, effect is not None))
            except SpecError as error:
                problems += error.problems
        if problems:
            raise SpecError(*problems)

    @property
    def read_only(self) -> bool:
        """It may run in check mode."""
        return self.probe.method in READ_ONLY

    @property
    def expected(self) -> str:
        """What is expected, in a line."""
        forgeries = [f"replay {case.name}: {words(case.clauses)}" for case in self.cases]
        return ", ".join([words(self.probe.clauses), *forgeries])

    async def run(self) -> str:
        """Returns what was seen, in a line; raises StepFailed."""
        request = self.probe.request
        signed = None
        if self.signer:
            signed = self.signer.sign(request.body)
            request = _with(request, signed)
        response = await self.probe.run(request, self.saver)
        if self._effect_raw is not None:
            await self._see_effect("effect")
        for case in self.cases:
            if self.signer and signed:
                await self._try(case, self.signer, signed)
        facts = {"response": response, "any_type": self.probe.any_type}
        values = (
            (clause.label, self.context.redactor.seen(clause.label, clause.get(facts)))
            for clause in self.probe.clauses
        )
        seen = ", ".join(f"{label} {show(value, 60)}" for label, value in values)
        seen += f" in {response.seconds * 1000:.0f} ms"
        return seen + (f", {len(self.cases)} forgeries answered as expected" if self.cases else "")

    async def _try(self, case: Case, signer: Signer, signed: Signed) -> None:
        request = _with(self.probe.request, signer.forge(case.name, signed, case.age))
        response = await self.context.send(request, self.probe.timeout)
        failures = unmet(case.clauses, {"response": response}, self.context.redactor)
        if failures:
            raise StepFailed(f"replay {case.name}:", *self.context.described(request, response), *failures)
        if case.unchanged:
            await self._see_effect(f"effect after replay {case.name}", unchanged=True)

    async def _see_effect(self, what: str, unchanged: bool = False) -> None:
        try:
            # Filled only now: it may need what this very step has saved.
            probe = Probe(self.context, self.context.fill(self._effect_raw), f"{self._where}.effect")
            # A forgery that is still being processed has changed nothing yet.
            await (probe.stay() if unchanged else probe.run())
        except StepFailed as error:
            raise StepFailed(f"{what}:", *error.lines) from None


def _with(request: Request, signed: Signed) -> Request:
    return request._replace(body=signed.body, headers={**request.headers, **signed.headers})
