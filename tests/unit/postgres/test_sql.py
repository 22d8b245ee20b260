"""Fragments of SQL: what is let through, what is refused, and what counts as the same predicate."""

from __future__ import annotations

import pytest
from ansible.module_utils.slipway.postgres.sql import (
    Refused,
    conjuncts,
    fit_name,
    fragment_problem,
    human_bytes,
    ident,
    parse_bytes,
    tokens,
)
from hypothesis import given
from hypothesis import strategies as st

GOOD = [
    "status",
    '"branchId"',
    '"a""b" DESC NULLS LAST',
    "lower(email)",
    "(data ->> 'k')",
    "(data #>> '{a,b}')",
    "((data ->> 'k')::int)",
    "emb vector_cosine_ops",
    "name gist_trgm_ops (siglen = 32)",
    "b = 'it''s; fine -- really'",
    "b = E'it\\'s (fine'",
    "b = $$a ; b$$",
    "b = $tag$ $$ ; $tag$",
    "a = ANY (ARRAY['x', 'y'])",
    "price - -1 > 0",
    '"weird ; ) name" = 1',
    "note = U&'d\\0061t'",
]
BAD = {
    "": "empty",
    "  ": "empty",
    "a; DROP TABLE t": "';'",
    "(a; b)": "';'",
    "a) INCLUDE (b": "never opened",
    "(a": "never closes",
    "(a]": "never opened",
    "a -- b": "comment",
    "a /* b */": "comment",
    "b = 'x": "never ends",
    'a"': "never ends",
    "b = E'x\\'": "never ends",
    "a\0b": "NUL",
    "b = $$x; DROP": "';'",
}


@pytest.mark.parametrize("text", GOOD)
def test_a_whole_fragment_passes(text: str) -> None:
    assert fragment_problem(text) is None


@pytest.mark.parametrize("text", BAD)
def test_a_fragment_that_could_escape_is_refused(text: str) -> None:
    assert BAD[text] in str(fragment_problem(text))


def test_commas() -> None:
    assert fragment_problem("a, b") is None
    assert "own list element" in str(fragment_problem("a, b", commas=False))
    assert fragment_problem("coalesce(a, b)", commas=False) is None


@given(st.text(max_size=40))
def test_tokens_lose_nothing(text: str) -> None:
    assert "".join(value for _kind, value in tokens(text)) == text


@given(st.text(min_size=1, max_size=40).filter(lambda text: "\0" not in text))
def test_what_passes_keeps_its_brackets_to_itself(text: str) -> None:
    if fragment_problem(text) is None:
        outside = [value for kind, value in tokens(f"({text})") if kind in ("open", "close", "punct")]
        assert ";" not in outside
        assert outside[0] == "(" and outside[-1] == ")"


@given(st.text(min_size=1, max_size=30).filter(lambda text: "\0" not in text))
def test_a_quoted_name_is_one_token(name: str) -> None:
    assert [kind for kind, _value in tokens(ident(name))] == ["quoted"]


SAME = [
    ("((a = 1) AND (b = 2))", "((b = 2) AND (a = 1))"),
    ("(((a = 1) AND (b = 2)) AND (c = 3))", "((a = 1) AND ((b = 2) AND (c = 3)))"),
    ("(a = 1)", "a = 1"),
    ("((x = ' AND ') AND (y = 1))", "((y = 1) AND (x = ' AND '))"),
]
DIFFERENT = [
    ("((a = 1) AND (b = 2))", "((a = 1) OR (b = 2))"),
    ("((a = 1) AND (b = 2))", "(a = 1)"),
    ("((a = 1) OR ((b = 2) AND (c = 3)))", "((b = 2) AND ((c = 3) OR (a = 1)))"),
    ("(x = 'a AND b')", "(x = 'b AND a')"),
    ("((a + b) = 1)", "(a + (b = 1))"),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_the_order_of_conditions_does_not_matter(one: str, other: str) -> None:
    assert conjuncts(one) == conjuncts(other)


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_other_conditions_are_others(one: str, other: str) -> None:
    assert conjuncts(one) != conjuncts(other)


@given(st.text(min_size=1, max_size=80), st.sampled_from(["", "__slip_01234567"]))
def test_names_fit_and_are_whole_characters(base: str, suffix: str) -> None:
    name = fit_name(base, suffix)
    assert len(name.encode(errors="replace")) <= 63
    assert name.endswith(suffix)
    assert base.startswith(name.removesuffix(suffix)) or not suffix


def test_sizes() -> None:
    assert (parse_bytes("91MB"), parse_bytes("1.5 gb"), parse_bytes(12), parse_bytes(None)) == (
        91 * 2**20,
        3 * 2**29,
        12,
        None,
    )
    assert (human_bytes(10), human_bytes(2048), human_bytes(91 * 2**20)) == ("10 bytes", "2.0 kB", "91.0 MB")
    for wrong in ("x", "5 parsec", "1.2.3", "-1"):
        with pytest.raises(Refused):
            parse_bytes(wrong)
