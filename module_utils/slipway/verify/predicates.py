# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""Expectations: one language of predicates for health checks, smoke flows and load budgets.

A plain value means "equals". A mapping holds operators, all of which must be true. An empty mapping asserts
nothing and is therefore an error, as is an operator nobody knows.
"""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any, Union

Number = Union[int, float]


class SpecError(Exception):
    """A declaration is wrong; `problems` lists every mistake that was found."""

    def __init__(self, *problems: str) -> None:
        super().__init__("; ".join(problems))
        self.problems = list(problems)


class _Missing:
    """A value that is not there, as distinct from null."""

    def __repr__(self) -> str:
        return "nothing"


MISSING = _Missing()


def unknown_keys(given: Mapping[str, Any], allowed: Collection[str], where: str) -> list[str]:
    """One problem for each key that is not allowed, naming the near miss where there is one."""
    problems = []
    for key in given:
        if key not in allowed:
            near = difflib.get_close_matches(str(key), list(allowed), n=1)
            hint = f"did you mean {near[0]!r}?" if near else "known: " + ", ".join(sorted(allowed))
            problems.append(f"{where}: unknown key {key!r}; {hint}")
    return problems


_UNFILLED = re.compile(r"\{\{.*?\}\}|\{%.*?%\}", re.DOTALL)


def unfilled(data: Any, where: str) -> list[str]:
    """One problem for each `{{ ... }}` that was never filled in; below `expect` it may be looked for."""
    if isinstance(data, dict):
        found = [(f"{where}.{key}", value) for key, value in data.items() if key != "expect"]
    elif isinstance(data, list):
        found = [(f"{where}[{index}]", value) for index, value in enumerate(data)]
    else:
        match = _UNFILLED.search(data) if isinstance(data, str) else None
        hint = "a value of a flow is written ${name}"
        return [f"{where}: {match.group(0)} was not filled in; {hint}"] if match else []
    return [problem for place, value in found for problem in unfilled(value, place)]


_DURATION = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*(us|ms|s|m|min|h|d)?\s*")
_DURATION_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}
_PERCENT = re.compile(r"\s*([+-]?[0-9]+(?:\.[0-9]+)?(?:e[+-]?[0-9]+)?)\s*%?\s*")
_SIZE = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([KMGT]?)(i?)B?\s*", re.IGNORECASE)


def seconds(value: Any) -> float:
    """`500ms`, `5s`, `2m`, `1h`, `7d` or a number of seconds; raises SpecError."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < math.inf:
        return float(value)
    match = _DURATION.fullmatch(str(value))
    if not match:
        raise SpecError(f"{value!r} is not a duration (500ms, 5s, 2m)")
    return float(match.group(1)) * _DURATION_UNITS[match.group(2) or "s"]


def size(value: Any) -> int:
    """`64MiB`, `1GB`, `512k` or a number of bytes; raises SpecError."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < math.inf:
        return int(value)
    match = _SIZE.fullmatch(str(value))
    if not match:
        raise SpecError(f"{value!r} is not a size (64MiB, 1GB)")
    # Docker and people write 512m for 512 MiB; only an explicit KB, MB, GB is decimal.
    decimal = bool(match.group(2)) and not match.group(3) and str(value).strip().upper().endswith("B")
    return int(
        float(match.group(1)) * (1000 if decimal else 1024) ** " KMGT".index(match.group(2).upper() or " ")
    )


def percent(value: Any) -> float:
    """`1%` or a number of percent; raises SpecError."""
    match = _PERCENT.fullmatch(str(value))
    if not match:
        raise SpecError(f"{value!r} is not a percentage (5%)")
    return float(match.group(1))


def whole(least: int = 0, where: str = "") -> Callable[[Any], int]:
    """A converter to a whole number of at least `least`, which raises SpecError naming `where`: true is none, nor is 2.5."""
    place = f"{where}: " if where else ""

    def convert(value: Any) -> int:
        if isinstance(value, bool) or not re.fullmatch(r"-?[0-9]{1,9}", str(value).strip()):
            raise SpecError(f"{place}{show(value)} is not a whole number")
        if int(value) < least:
            raise SpecError(f"{place}must be at least {least}, not {value}")
        return int(value)

    return convert


def some_time(value: Any, where: str = "") -> float:
    """A duration that is not nothing, in seconds; raises SpecError."""
    place = f"{where}: " if where else ""
    try:
        found = seconds(value)
    except SpecError as error:
        raise SpecError(f"{place}{error}") from None
    if found <= 0:
        raise SpecError(f"{place}must be more than nothing, not {value!r}")
    return found


def version(value: Any) -> tuple[int, ...]:
    """`17.2` as (17, 2), so that 9.6 < 17; raises SpecError. Trailing text (`17.2-1.deb`) is ignored."""
    match = re.match(r"v?([0-9]+(?:\.[0-9]+)*)", str(value).strip())
    if not match:
        raise SpecError(f"{value!r} is not a version (17.2)")
    return tuple(int(part) for part in match.group(1).split("."))


class Duration(float):
    """Seconds that are shown as a person would write them."""

    def __str__(self) -> str:
        return f"{self * 1000:.4g}ms" if self < 1 else f"{float(self):.4g}s"


def show(value: Any, limit: int = 200) -> str:
    """A value as a person may read it in a message, cut at `limit` characters."""
    if value is MISSING:
        return "nothing"
    if isinstance(value, Duration):
        return str(value)
    if isinstance(value, float):
        value = round(value, 4)
    try:
        text = json.dumps(value, ensure_ascii=False, default=str)
    except (TypeError, ValueError, RecursionError):
        text = repr(value)
    return text if len(text) <= limit else text[:limit] + f"... ({len(text)} characters)"


def same(left: Any, right: Any) -> bool:
    """Equality as JSON sees it: true is not 1."""
    if isinstance(left, bool) or isinstance(right, bool):
        return isinstance(left, bool) and isinstance(right, bool) and left == right
    if isinstance(left, (list, tuple)) and isinstance(right, (list, tuple)):
        return len(left) == len(right) and all(same(a, b) for a, b in zip(left, right))
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    return bool(left == right)


_TYPES: dict[str, Callable[[Any], bool]] = {
    "null": lambda value: value is None,
    "boolean": lambda value: isinstance(value, bool),
    "number": lambda value: isinstance(value, (int, float)) and not isinstance(value, bool),
    "string": lambda value: isinstance(value, str),
    "array": lambda value: isinstance(value, list),
    "object": lambda value: isinstance(value, dict),
}


def _contains(value: Any, operand: Any) -> bool:
    if isinstance(value, str):
        return str(operand) in value
    if isinstance(value, dict):
        return operand in value
    return isinstance(value, (list, tuple)) and any(same(item, operand) for item in value)


_ORDER: dict[str, Callable[[Any, Any], bool]] = {
    "lt": lambda a, b: bool(a < b),
    "lte": lambda a, b: bool(a <= b),
    "gt": lambda a, b: bool(a > b),
    "gte": lambda a, b: bool(a >= b),
}
_TESTS: dict[str, Callable[[Any, Any], bool]] = {
    "eq": same,
    "ne": lambda a, b: not same(a, b),
    "in": lambda a, b: any(same(a, item) for item in b),
    "not_in": lambda a, b: not any(same(a, item) for item in b),
    "contains": _contains,
    "not_contains": lambda a, b: not _contains(a, b),
    "starts_with": lambda a, b: isinstance(a, str) and a.startswith(str(b)),
    "ends_with": lambda a, b: isinstance(a, str) and a.endswith(str(b)),
    "matches": lambda a, b: isinstance(a, str) and re.search(b, a) is not None,
    "type": lambda a, b: _TYPES[b](a),
}
_WORDS = {
    "eq": "",
    "ne": "not ",
    "lt": "below ",
    "lte": "at most ",
    "gt": "above ",
    "gte": "at least ",
    "in": "one of ",
    "not_in": "none of ",
    "contains": "containing ",
    "not_contains": "not containing ",
    "starts_with": "starting with ",
    "ends_with": "ending with ",
    "matches": "matching ",
    "type": "of type ",
}
OPERATORS = (*_TESTS, *_ORDER, "exists", "length")


class Predicate:
    """A compiled expectation.

    :param expected: a plain value (equals) or a mapping of operators.
    :param where: how problems name this place.
    :param convert: turns an operand into what is compared (`seconds`, `size`, `percent`, `version`).
    :param plain: the operator a plain value stands for.
    """

    def __init__(
        self,
        expected: Any,
        where: str,
        convert: Callable[[Any], Any] | None = None,
        plain: str = "eq",
    ) -> None:
        self._convert = convert
        if not isinstance(expected, dict):
            expected = {plain: expected}
        if not expected:
            raise SpecError(f"{where}: an empty expectation asserts nothing")
        problems = unknown_keys(expected, OPERATORS, where)
        self._rules: list[tuple[str, Any, Any]] = []
        for operator, operand in expected.items():
            try:
                self._rules.append((operator, self._operand(operator, operand, where), operand))
            except SpecError as error:
                problems += [f"{where}.{operator}: {problem}" for problem in error.problems]
        if problems:
            raise SpecError(*problems)

    def _operand(self, operator: str, operand: Any, where: str) -> Any:
        if operator == "exists" and not isinstance(operand, bool):
            raise SpecError("must be true or false")
        if operator == "type" and operand not in _TYPES:
            raise SpecError(f"unknown type {operand!r}; known: {', '.join(_TYPES)}")
        if operator == "length":
            return Predicate(operand, f"{where}.length")
        if operator in ("starts_with", "ends_with", "matches") and operand in (None, ""):
            raise SpecError("every text begins, ends and matches with nothing; what should be there?")
        if operator == "matches":
            try:
                return re.compile(str(operand))
            except re.error as error:
                raise SpecError(f"invalid regular expression: {error}") from None
        if operator in ("in", "not_in"):
            if not isinstance(operand, list) or not operand:
                raise SpecError("must be a list with at least one value")
            return [self._converted(item) for item in operand]
        if operator in _ORDER or operator in ("eq", "ne"):
            operand = self._converted(operand)
            if operator in _ORDER and (isinstance(operand, (bool, dict, list)) or operand is None):
                raise SpecError(f"cannot compare with {show(operand)}")
        return operand

    def _converted(self, value: Any) -> Any:
        return self._convert(value) if self._convert else value

    def failure(self, value: Any) -> str | None:
        """None when the value satisfies it, else what was expected."""
        for operator, operand, raw in self._rules:
            try:
                held = self._holds(operator, operand, value)
            except (TypeError, ValueError, SpecError):
                held = False
            if not held:
                return self._word(operator, raw)
        return None

    def _holds(self, operator: str, operand: Any, value: Any) -> bool:
        if operator == "exists":
            return (value is not MISSING) is operand
        if value is MISSING:
            return False
        if operator == "length":
            return isinstance(value, (str, list, dict)) and operand.failure(len(value)) is None
        if self._convert and operator in (*_ORDER, "eq", "ne", "in", "not_in"):
            value = self._convert(value)
        if operator in _ORDER:
            if isinstance(value, bool) or isinstance(value, str) is not isinstance(operand, str):
                return False
            return _ORDER[operator](value, operand)
        return _TESTS[operator](value, operand)

    def _word(self, operator: str, raw: Any) -> str:
        if operator == "exists":
            return "a value" if raw else "nothing"
        if operator == "length":
            return "length " + str(Predicate(raw, "length"))
        # "500ms" and "10%" are quantities here, not strings.
        return _WORDS[operator] + (str(raw) if self._convert and isinstance(raw, str) else show(raw))

    def __str__(self) -> str:
        return " and ".join(self._word(operator, raw) for operator, _operand, raw in self._rules)


def on_text(expected: Any, where: str, plain: str = "eq") -> Predicate:
    """A predicate on what is always text; raises SpecError for what no text, or every text, would satisfy."""
    for operator, operand in (expected if isinstance(expected, dict) else {plain: expected}).items():
        if operand is None and operator != "exists":
            raise SpecError(f"{where}: null is no text; {{exists: false}} expects that there is none")
        if operand == "" and operator in ("contains", "not_contains"):
            raise SpecError(f"{where}: every text contains the empty one; {{eq: ''}} expects an empty text")
    return Predicate(expected, where, plain=plain)


class StatusPredicate:
    """HTTP status codes: `200`, `2xx`, or a list of either."""

    def __init__(self, expected: Any, where: str) -> None:
        items = expected if isinstance(expected, list) else [expected]
        if not items:
            raise SpecError(f"{where}: an empty list asserts nothing")
        for item in items:
            if isinstance(item, bool) or not re.fullmatch("[1-5]([0-9]{2}|xx)", str(item)):
                raise SpecError(f"{where}: {show(item)} is not a status (200, 2xx, [200, 409])")
        self._items = [str(item) for item in items]

    def failure(self, value: Any) -> str | None:
        """None when the status is accepted, else what was expected."""
        text = str(value)
        held = any(text == item or (item.endswith("xx") and text[:1] == item[0]) for item in self._items)
        return None if held else str(self)

    def __str__(self) -> str:
        return " or ".join(self._items)
