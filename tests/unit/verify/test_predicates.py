"""The language of expectations: what it means, and that it cannot be used to expect nothing."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.module_utils.slipway.verify.predicates import (
    MISSING,
    Predicate,
    SpecError,
    StatusPredicate,
    percent,
    same,
    seconds,
    show,
    size,
    some_time,
    unfilled,
    unknown_keys,
    version,
    whole,
)
from hypothesis import given
from hypothesis import strategies as st

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("expected", "value", "held"),
    [
        (1, 1, True),
        (1, True, False),
        (True, 1, False),
        ("1", 1, False),
        (None, None, True),
        (None, MISSING, False),
        ({"exists": False}, MISSING, True),
        ({"exists": True}, None, True),
        ({"exists": True}, MISSING, False),
        ({"eq": {"a": [1, True]}}, {"a": [1, True]}, True),
        ({"eq": {"a": [1, True]}}, {"a": [1, 1]}, False),
        ({"gte": 1, "lt": 3}, 2, True),
        ({"gte": 1, "lt": 3}, 3, False),
        ({"gte": 1}, "2", False),
        ({"gte": 1}, True, False),
        ({"gte": 1}, None, False),
        ({"gte": 1}, [2], False),
        ({"contains": "b"}, "abc", True),
        ({"contains": 2}, [1, 2], True),
        ({"contains": True}, [1, 2], False),
        ({"contains": "k"}, {"k": 1}, True),
        ({"contains": "k"}, 5, False),
        ({"not_contains": "b"}, "abc", False),
        ({"starts_with": "a", "ends_with": "c"}, "abc", True),
        ({"matches": "^a.c$"}, "abc", True),
        ({"matches": "^b"}, "abc", False),
        ({"matches": "1"}, 1, False),
        ({"in": [1, 2]}, 2, True),
        ({"in": [1, 2]}, True, False),
        ({"not_in": [1, 2]}, 3, True),
        ({"type": "number"}, True, False),
        ({"type": "array"}, [], True),
        ({"length": 2}, [1, 2], True),
        ({"length": {"gte": 3}}, "ab", False),
        ({"length": 1}, 5, False),
        ({"ne": 1}, 2, True),
        ({"ne": 1}, MISSING, False),
    ],
)
def test_meaning(expected: Any, value: Any, held: bool) -> None:
    assert (Predicate(expected, "here").failure(value) is None) is held


@given(JSON, JSON)
def test_equality_is_an_equivalence_on_json(left: Any, right: Any) -> None:
    assert same(left, left)
    assert same(left, right) == same(right, left)
    assert (Predicate({"eq": left}, "").failure(right) is None) == same(left, right)
    assert (Predicate({"ne": left}, "").failure(right) is None) != same(left, right)


@given(st.sampled_from(["gt", "lt", "contains", "matches", "length", "type", "in"]), JSON)
def test_no_value_makes_a_predicate_crash(operator: str, value: Any) -> None:
    operand: Any = {"type": "number", "in": [1], "length": 1, "matches": "a"}.get(operator, 1)
    Predicate({operator: operand}, "").failure(value)


@pytest.mark.parametrize(
    ("expected", "words"),
    [
        ({}, "asserts nothing"),
        ({"contain": 1}, "did you mean 'contains'"),
        ({"matches": "("}, "invalid regular expression"),
        ({"in": []}, "at least one value"),
        ({"exists": "yes"}, "must be true or false"),
        ({"type": "strnig"}, "unknown type"),
        ({"lt": None}, "cannot compare"),
        ({"length": {}}, "asserts nothing"),
    ],
)
def test_mistakes(expected: Any, words: str) -> None:
    with pytest.raises(SpecError, match=words):
        Predicate(expected, "here")


def test_units() -> None:
    assert [seconds(text) for text in ("500ms", "5s", "2m", "1.5h", 3, "7")] == [0.5, 5, 120, 5400, 3, 7]
    assert [size(text) for text in ("64MiB", "1GB", "512k", "2g", 10)] == [
        67108864,
        10**9,
        524288,
        2147483648,
        10,
    ]
    assert [percent(text) for text in ("1%", "0.5 %", 2)] == [1, 0.5, 2]
    assert (
        version("17.2-1.deb") == (17, 2)
        and version("9.6") < version("17")
        and version("v1.10") > version("1.9")
    )
    for function, text in (
        (seconds, "5 parsecs"),
        (seconds, -1),
        (seconds, True),
        (size, "5 XB"),
        (percent, "x"),
    ):
        with pytest.raises(SpecError):
            function(text)
    assert Predicate({"lt": "800ms"}, "", seconds).failure(0.5) is None
    assert Predicate({"lt": "800ms"}, "", seconds).failure(0.9) == "below 800ms"
    assert Predicate("17", "", version, "gte").failure("17.2") is None
    assert Predicate({"gte": 17}, "", version).failure("not a version") == "at least 17"


@given(st.floats(0, 1e6))
def test_seconds_take_their_own_output(value: float) -> None:
    assert seconds(f"{value:.6f}s") == pytest.approx(value, abs=1e-6)


def test_status() -> None:
    assert StatusPredicate(["2xx", 409], "").failure(204) is None
    assert StatusPredicate(["2xx", 409], "").failure(409) is None
    assert StatusPredicate("200", "").failure(201) == "200"
    for wrong in ([], "2x", 600, True, "abc", [200, "ok"]):
        with pytest.raises(SpecError):
            StatusPredicate(wrong, "")


def test_near_misses() -> None:
    assert unknown_keys({"htpp": 1}, ("http", "tcp"), "x") == ["x: unknown key 'htpp'; did you mean 'http'?"]
    assert unknown_keys({"zzz": 1}, ("http", "tcp"), "x") == ["x: unknown key 'zzz'; known: http, tcp"]
    assert unknown_keys({"http": 1}, ("http",), "x") == []


def test_shown_values_tell_types_apart_and_are_bounded() -> None:
    assert (show("1"), show(1), show(True), show(None), show(MISSING)) == (
        '"1"',
        "1",
        "true",
        "null",
        "nothing",
    )
    assert len(show("a" * 1000)) < 250


@pytest.mark.parametrize(
    "value", [float("inf"), float("nan"), -1, "-1s", True, None, "", "soon", "1e3s", [], {}]
)
def test_no_durations_and_no_sizes(value: object) -> None:
    for convert in (seconds, size):
        with pytest.raises(SpecError):
            convert(value)


@pytest.mark.parametrize("value", ["nan", "inf", "five", "", None, "5%%", True])
def test_no_percentages(value: object) -> None:
    with pytest.raises(SpecError):
        percent(value)


@pytest.mark.parametrize("value", [True, 2.5, "2.5", "many", None, -1, "0x3", [], "9" * 20])
def test_no_whole_numbers(value: object) -> None:
    with pytest.raises(SpecError, match="here: "):
        whole(0, "here")(value)


def test_whole_numbers_and_times() -> None:
    assert whole(1)("3") == whole(3)(3) == 3
    assert some_time("5s") == 5.0
    with pytest.raises(SpecError, match="here: must be more than nothing"):
        some_time(0, "here")


def test_what_was_never_filled_in() -> None:
    declared = {
        "url": "http://{{ host }}/",
        "expect": {"body": {"not_contains": "{{"}},
        "list": ["{% if x %}"],
    }
    problems = unfilled(declared, "check")
    assert len(problems) == 2
    assert "check.url: {{ host }} was not filled in" in problems[0] and "check.list[0]" in problems[1]
    assert unfilled({"body": "{ {a} } ${uuid} }}", "n": 5}, "") == []
