"""YAML with lines, and back."""

from __future__ import annotations

import pytest
from ansible.module_utils.slipway.compose.yaml import RESET, Override, dump, parse
from hypothesis import given
from hypothesis import strategies as st


def test_every_key_has_its_line() -> None:
    document = parse("a:\n  b: 1\n  c:\n    - x\n    - {d: 2}\n", "f")
    assert document.data == {"a": {"b": 1, "c": ["x", {"d": 2}]}}
    assert document.lines[("a",)] == 1
    assert document.lines[("a", "b")] == 2
    assert document.lines[("a", "c", 1, "d")] == 5
    assert document.line(("a", "nowhere", "deeper")) == 1
    assert document.line(("nowhere",)) == 0


def test_merged_keys_stand_where_they_are_written() -> None:
    document = parse("x: &x\n  ports: [1]\nweb:\n  <<: *x\n  image: i\nown:\n  <<: *x\n  ports: [2]\n", "f")
    assert document.data["web"] == {"ports": [1], "image": "i"}
    assert document.lines[("web", "ports")] == 2
    assert document.lines[("own", "ports")] == 8
    assert document.data["own"] == {"ports": [2]}
    assert document.duplicates == []


def test_keys_that_stand_twice_are_all_found() -> None:
    document = parse("a: 1\na: 2\nb:\n  c: 1\n  d: 1\n  c: 2\n", "f")
    assert document.duplicates == [(("a",), 2), (("b", "c"), 6)]
    assert document.data["a"] == 2


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("on", "on"),
        ("yes", "yes"),
        ("true", True),
        ("22:22", "22:22"),
        ("0x10", 16),
        ("010", 10),
        ("1_000", "1_000"),
        ("2026-11-21", "2026-11-21"),
        ("1.5", 1.5),
        ("~", None),
        ("!vault x", "x"),
        ("!override [1]", Override([1])),
        ("!reset null", RESET),
    ],
)
def test_scalars_as_compose_reads_them(text: str, value: object) -> None:
    assert parse(f"a: {text}", "f").data == {"a": value}


def test_what_cannot_be_read_has_a_line() -> None:
    document = parse("a: 1\nb: [1\nc: 2\n", "f")
    assert document.error
    assert document.error_line == 3
    assert document.data is None


def test_an_alias_to_its_parent_does_not_hang() -> None:
    assert parse("a: &a\n  b: *a\n", "f").lines[("a", "b")] == 2


def test_override_and_reset_are_written_as_tags() -> None:
    text = dump({"ports": Override(["a"]), "build": RESET, "deps": Override({})})
    assert "ports: !override\n" in text
    assert "build: !reset" in text
    assert "deps: !override {}" in text
    assert parse(text, "f").data == {"ports": Override(["a"]), "build": RESET, "deps": Override({})}


LEAF = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    st.sampled_from(
        [
            "yes",
            "on",
            "y",
            "null",
            "~",
            "1e3",
            "0o7",
            "22:22",
            "<<",
            "=",
            "1_0",
            ".inf",
            "",
            "- a",
            "a: b",
            "#",
        ]
    ),
)
KEY = st.from_regex(r"[a-z][a-z0-9_.-]{0,8}", fullmatch=True)
DATA = st.recursive(
    LEAF, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEY, inner, max_size=3), max_leaves=8
)


@given(data=st.dictionaries(KEY, DATA, max_size=4))
def test_what_is_written_is_read_back(data: dict[str, object]) -> None:
    assert parse(dump(data), "f").data == data
