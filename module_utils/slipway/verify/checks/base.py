# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""What every kind of check has in common: options, expectations, and facts that are judged by them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple, Protocol

from ...masking.redactor import Redactor
from ..http.client import Trace
from ..http.wire import HttpError
from ..predicates import MISSING, Predicate, SpecError, show, unknown_keys

Facts = dict[str, Any]
# A look that finds anything else than true finds nothing at all.
_ONLY_TRUE = ("connect", "ping", "ready")


class Judge(Protocol):
    """Says whether a value is as expected."""

    def failure(self, value: Any) -> str | None:
        """None when it is, else what was expected."""


class Clause(NamedTuple):
    """One thing that must hold: `label` names it, `get` finds its value among the facts."""

    label: str
    get: Callable[[Facts], Any]
    judge: Judge


class Truth:
    """A judge of yes and no. What is neither says in words why it is not so: that is a no."""

    def __init__(self, expected: bool) -> None:
        self.expected = expected

    def failure(self, value: Any) -> str | None:
        """None when it is as expected, else what was expected."""
        held = value is not MISSING and (value is True) is self.expected
        return None if held else str(self)

    def __str__(self) -> str:
        return show(self.expected)


def truth(expected: Any, where: str) -> Judge:
    """True or false, or operators on the words in which a no is given (`{contains: expired}`); raises SpecError."""
    if isinstance(expected, dict) and set(expected) not in ({"eq"}, {"ne"}):
        return Predicate(expected, where)
    operator, operand = next(iter(expected.items())) if isinstance(expected, dict) else ("eq", expected)
    try:
        return Truth(flag(operand) is (operator == "eq"))
    except SpecError as error:
        raise SpecError(f"{where}: {error}") from None


class MissingLibrary(Exception):
    """A check needs a Python library the host lacks."""

    def __init__(self, library: str) -> None:
        super().__init__(library)
        self.library = library


class Kind:
    """A kind of check. Subclasses declare what they take and look at one thing once.

    `options`: name -> converter (raises SpecError or ValueError). `expectations`: name -> converter for
    operands, or None. `defaults`: what is expected when nothing else is said. `plain_option`: what a scalar
    stands for.
    """

    name = ""
    plain_option = ""
    options: ClassVar[Mapping[str, Callable[[Any], Any]]] = {}
    required: tuple[str, ...] = ()
    expectations: ClassVar[Mapping[str, Callable[[Any], Any] | None]] = {}
    defaults: ClassVar[Mapping[str, Any]] = {}

    def __init__(self, given: Any, expect: Any, where: str) -> None:
        problems: list[str] = []
        if not isinstance(given, dict):
            given = {self.plain_option: given}
        problems += unknown_keys(given, self.options, f"{where}.{self.name}")
        problems += [
            f"{where}.{self.name}: {key!r} is required" for key in self.required if given.get(key) is None
        ]
        self.option: dict[str, Any] = {}
        for key, convert in self.options.items():
            if given.get(key) is not None:
                try:
                    self.option[key] = convert(given[key])
                except (SpecError, ValueError, TypeError) as error:
                    problems.append(f"{where}.{self.name}.{key}: {error}")
        self.expect = self._expected(expect, f"{where}.expect", problems)
        self.clauses: list[Clause] = []
        for key, expected in self.expect.items():
            try:
                self.clauses += self.clause(key, expected, f"{where}.expect.{key}")
            except SpecError as error:
                problems += error.problems
        if not problems and not self.clauses:
            problems.append(f"{where}: nothing is expected; known: {', '.join(sorted(self.expectations))}")
        if problems:
            raise SpecError(*problems)

    def _expected(self, expect: Any, where: str, problems: list[str]) -> dict[str, Any]:
        """What was declared, with defaults where it is silent."""
        if expect is None:
            return dict(self.defaults)
        if not isinstance(expect, dict) or not expect:
            problems.append(f"{where}: must be a mapping with at least one expectation")
            return {}
        problems += unknown_keys(expect, self.expectations, where)
        known = {key: value for key, value in expect.items() if key in self.expectations}
        return {**self.defaults, **known}

    def clause(self, key: str, expected: Any, where: str) -> list[Clause]:
        """Compile one expectation; by default a predicate on the fact of the same name."""
        convert = self.expectations[key]
        if convert is flag:
            judge = truth(expected, where)
            if key in _ONLY_TRUE and isinstance(judge, Truth) and not judge.expected:
                raise SpecError(
                    f"{where}: can only be true, else there is nothing to look at; "
                    "that nobody answers there is a check of its own: tcp, with open: false"
                )
            return [Clause(key, lambda facts: facts.get(key, MISSING), judge)]
        return [Clause(key, lambda facts: facts.get(key, MISSING), Predicate(expected, where, convert))]

    def wants(self, key: str) -> bool:
        """Whether what is expected of a fact is not plainly no."""
        judges = [clause.judge for clause in self.clauses if clause.label == key]
        return not any(isinstance(judge, Truth) and not judge.expected for judge in judges)

    def subject(self) -> str:
        """What is looked at, in a word or two, for messages."""
        return str(self.option.get(self.plain_option, ""))

    @property
    def read_only(self) -> bool:
        """It may run in check mode."""
        return True

    async def look(self, trace: Trace, timeout: float) -> Facts:
        """Look once; returns facts by expectation; raises HttpError when there is nothing to look at."""
        raise NotImplementedError

    def judge(self, facts: Facts, redactor: Redactor) -> list[str]:
        """One sentence for each expectation that does not hold; values are masked before they are cut."""
        failures = []
        for clause in self.clauses:
            try:
                value = clause.get(facts)
            except HttpError as error:
                failures.append(f"{clause.label}: {error}")
                continue
            expected = clause.judge.failure(value)
            if expected is not None:
                failures.append(
                    f"{clause.label}: saw {show(redactor.seen(clause.label, value))}, expected {expected}"
                )
        return failures

    def seen(self, facts: Facts, redactor: Redactor) -> dict[str, Any]:
        """The values the expectations were held against, by label."""
        found = {}
        for clause in self.clauses:
            try:
                value = redactor.seen(clause.label, clause.get(facts))
            except HttpError as error:
                value = f"({error})"
            if isinstance(value, float) and not math.isfinite(value):
                value = str(value)  # JSON, and so the report, knows no infinity
            if value is not MISSING:
                found[clause.label] = value if len(show(value, 10**6)) <= 500 else show(value)
        return found

    def expected(self) -> dict[str, str]:
        """What is expected, in words, by label."""
        return {clause.label: str(clause.judge) for clause in self.clauses}


def each(expected: Any, where: str) -> Mapping[str, Any]:
    """A mapping of sub-keys to predicates; an empty one asserts nothing."""
    if not isinstance(expected, dict) or not expected:
        raise SpecError(f"{where}: must be a mapping with at least one entry")
    return expected


def flag(value: Any) -> bool:
    """A YAML boolean; strings that templates make of them are understood."""
    if isinstance(value, bool):
        return value
    if str(value).lower() in ("true", "yes", "false", "no"):
        return str(value).lower() in ("true", "yes")
    raise SpecError(f"{show(value)} is neither true nor false")
