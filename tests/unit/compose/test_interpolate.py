"""Variables of a Compose file."""

from __future__ import annotations

import pytest
from ansible.module_utils.slipway.compose.interpolate import interpolate
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("plain", "plain"),
        ("$A", "1"),
        ("${A}b", "1b"),
        ("$$A", "$A"),
        ("${MISSING}", ""),
        ("${MISSING:-x}", "x"),
        ("${EMPTY:-x}", "x"),
        ("${EMPTY-x}", ""),
        ("${A:-x}", "1"),
        ("${A:+y}", "y"),
        ("${MISSING:+y}", ""),
        ("${EMPTY+y}", "y"),
        ("${MISSING:-${A}}", "1"),
        ("${MISSING:-${ALSO:-z}}-${A}", "z-1"),
        ("a$", "a$"),
    ],
)
def test_as_compose_does(text: str, filled: str) -> None:
    assert interpolate(text, {"A": "1", "EMPTY": ""}) == filled


def test_a_required_one_without_value() -> None:
    with pytest.raises(ValueError, match="set it"):
        interpolate("${MISSING:?set it}", {})


@given(st.text())
def test_what_is_escaped_comes_back(text: str) -> None:
    assert interpolate(text.replace("$", "$$"), {}) == text
