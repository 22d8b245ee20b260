"""Paths into JSON, with and without the jmespath library."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.module_utils.slipway.verify import selectors
from ansible.module_utils.slipway.verify.predicates import MISSING, SpecError
from ansible.module_utils.slipway.verify.selectors import MissingJmespath, Selector
from hypothesis import given
from hypothesis import strategies as st

DATA = {"a": {"b-c": [1, {"d": None}]}, "odd key": {"x": 2}, "list": [{"n": 1}, {"n": 2}], "text": "abc"}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("a.b-c[0]", 1),
        ("a.b-c[-1].d", None),
        ("a.b-c[5]", MISSING),
        ('"odd key".x', 2),
        ("a.none", MISSING),
        ("text.x", MISSING),
        ("length(list)", 2),
        ("length(text)", 3),
        ("length(a.none)", MISSING),
        ("@", DATA),
        ("list[?n==`2`].n | [0]", 2),
        ("sum(list[].n)", 3),
        ("max_by(list, &n).n", 2),
        ("list[?n==`9`].n | [0]", MISSING),
        ("sum(text)", MISSING),
    ],
)
def test_paths(path: str, value: Any) -> None:
    assert Selector(path, "here").get(DATA) == value


def test_top_level_list() -> None:
    assert Selector("[1].a", "").get([{}, {"a": 1}]) == 1


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selectors, "jmespath", None)
    assert Selector("a.b-c[0]", "").get(DATA) == 1
    assert Selector("length(list)", "").get(DATA) == 2
    with pytest.raises(MissingJmespath, match="more than a dotted path"):
        Selector("list[?n==`2`]", "here")


def test_mistake() -> None:
    with pytest.raises(SpecError, match="invalid JMESPath"):
        Selector("a[", "here")


@given(st.text(max_size=12), st.sampled_from([DATA, [], 1, None, "x"]))
def test_no_path_crashes(path: str, data: Any) -> None:
    try:
        Selector(path, "here").get(data)
    except SpecError:
        return


def test_names_in_any_script() -> None:
    data = {"größe": {"über": [1, 2]}, "価格": 5}
    assert Selector("größe.über[1]", "here").get(data) == 2
    assert Selector("価格", "here").get(data) == 5
    assert Selector('"größe"."über"', "here").get(data) == [1, 2]
    assert Selector("length(größe.über)", "here").get(data) == 2
