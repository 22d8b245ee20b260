"""The environment contract, and what its messages may show."""

from __future__ import annotations

import pytest
from ansible.module_utils.slipway.model.environment import as_text, checksum, effective, render, validate
from hypothesis import given
from hypothesis import strategies as st


def said(values: dict, contract: dict) -> list[str]:
    """Return the findings as `NAME contract|value: problem -> fix`."""
    return [
        f"{name} {'contract' if in_contract else 'value'}: {problem} -> {fix}"
        for name, in_contract, problem, fix in validate(values, contract)
    ]


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        ("string", ["x", " "], []),
        ("integer", ["1", "-3", "+0", 8000], ["1.5", "a", "1_0", "٣"]),
        ("number", ["1.5", "-1e3", 2], ["nan", "inf", "1_0", "x"]),
        ("boolean", [True, "false", "Yes", "0"], ["maybe", "2"]),
        (
            "url",
            ["https://a.example/x?y=1"],
            ["a.example", "http://", "http://a b", "http://a:port", "mailto:x"],
        ),
        (
            "postgres_url",
            [
                "postgresql://u:p@h:5432/d",
                "postgresql+psycopg://u@h/d",
                "postgres:///d?host=/run/pg",
                "postgres://h?dbname=d",
            ],
            ["mysql://h/d", "postgresql://h", "postgresql://h/", "postgresql:///d", "postgres://u:p/w@h/d"],
        ),
        (
            "redis_url",
            ["redis://h:6379/0", "rediss://:p@h", "unix:///run/redis"],
            ["http://h", "redis://", "h:6379"],
        ),
        ("list", ["a,b", ["a", "b"], "a"], ["a,,b", "a,", ","]),
    ],
)
def test_types(kind: str, good: list, bad: list) -> None:
    for value in good:
        assert said({"V": value}, {"V": {"type": kind}}) == [], value
    for value in bad:
        assert len(said({"V": value}, {"V": {"type": kind}})) == 1, value


def test_all_mistakes_at_once_and_no_value_in_them() -> None:
    contract = {
        "DATABASE_URL": {"type": "postgres_url", "secret": True},
        "SECRET_KEY": {"secret": True, "min_length": 32, "forbidden": ["changeme"]},
        "API_TOKEN": {"pattern": "tok_[a-z]+"},
        "LEVEL": {"type": "enum", "values": ["info", "debug"]},
        "OTHER": {"description": "the other thing"},
        "EMPTY": {},
        "FREE": {"required": False, "type": "integer"},
    }
    values = {
        "DATABASE_URL": "postgres//app:hunter2@db",
        "SECRET_KEY": "Changeme-hunter2",
        "API_TOKEN": "hunter2",
        "LEVEL": "inof",
        "LEVLE": "info",
        "EMPTY": "",
        "COMPOSE_FILE": "x",
        "A-B": "x",
        "MAP": {"a": 1},
    }
    found = said(values, contract)
    text = "\n".join(found)
    assert "hunter2" not in text
    assert "LEVLE value: is not in environment_contract -> did you mean 'LEVEL'?" in found
    assert any(
        line.startswith(
            "OTHER contract: is required and has no value -> set environment_values.OTHER: the other"
        )
        for line in found
    )
    assert any(line.startswith("EMPTY value: is required and its value is empty") for line in found)
    assert "LEVEL value: is not one of the allowed values; seen: 'inof' -> use one of info, debug" in found
    assert any(line.startswith("DATABASE_URL value: has no scheme; seen: 24 characters") for line in found)
    assert any(
        line.startswith("API_TOKEN value: does not match the pattern tok_[a-z]+; seen: 7 characters")
        for line in found
    )
    assert any(
        line.startswith("SECRET_KEY value: is shorter than 32 characters: it has 16") for line in found
    )
    assert any(line.startswith("SECRET_KEY value: contains 'changeme'") for line in found)
    assert any(line.startswith("COMPOSE_FILE value: is a setting of Compose itself") for line in found)
    assert any(line.startswith("A-B value: is not a name") for line in found)
    assert any(line.startswith("MAP value: is a mapping") for line in found)


def test_a_value_that_is_no_secret_is_shown() -> None:
    assert "seen: 'x y'" in said({"V": "x y"}, {"V": {"pattern": "z", "secret": False}})[0]
    assert "seen: 'many'" in said({"V": "many"}, {"V": {"type": "integer"}})[0]
    assert "many" not in said({"V": "many"}, {"V": {"type": "integer", "secret": True}})[0]


def test_mistakes_of_the_contract_itself() -> None:
    assert said({"V": "a"}, {"V": {"pattern": "("}})[0].startswith("V contract: its pattern is not a regular")
    assert said({"V": "a"}, {"V": {"type": "enum"}})[0].startswith("V contract: is an enum without values")
    assert said({}, {"V": {"type": "integer", "default": "x"}})[0].startswith(
        "V contract: its default is not an integer"
    )


def test_without_a_contract_every_name_is_accepted() -> None:
    assert said({"ANY": "x"}, {}) == []


def test_optional_variables_may_be_missing_or_empty() -> None:
    contract = {"A": {"required": False, "type": "integer"}, "B": {"required": False, "min_length": 3}}
    assert said({"B": ""}, contract) == []


def test_effective_values() -> None:
    contract = {"A": {"default": 1}, "B": {"default": "x"}, "C": {}, "D": {"default": True}}
    assert effective({"A": 2, "C": ["a", "b"], "D": None, "E": None}, contract) == {
        "A": "2",
        "B": "x",
        "C": "a,b",
        "D": "true",
    }


@pytest.mark.parametrize("value", [{"a": 1}, "a\0b", "\ud800", ["a,b"]])
def test_what_no_environment_carries(value: object) -> None:
    with pytest.raises(ValueError, match=r"."):
        as_text(value)


def test_render_is_one_line_a_variable_by_name() -> None:
    text = render({"B": "two words", "A": "1", "C": 'a\n"$x" \\'})
    assert text == 'A=1\nB="two words"\nC="a\\n\\"\\$x\\" \\\\"\n'


KEY = b"0123456789abcdef"


def test_checksum_depends_on_names_values_and_key() -> None:
    seen = {
        checksum(texts, key)
        for texts in ({}, {"A": "b"}, {"A": "c"}, {"B": "b"}, {"A": "b", "B": ""}, {"A": 'b"], ["B", "'})
        for key in (KEY, KEY[::-1])
    }
    assert len(seen) == 12
    assert checksum({"A": "1", "B": "2"}, KEY) == checksum({"B": "2", "A": "1"}, KEY)
    with pytest.raises(ValueError, match="16"):
        checksum({}, b"short")


@given(secret=st.text(min_size=6).filter(lambda text: text.strip()))
def test_no_message_shows_a_secret(secret: str) -> None:
    for kind in (
        "integer",
        "number",
        "boolean",
        "url",
        "postgres_url",
        "redis_url",
        "enum",
        "list",
        "string",
    ):
        rule = {
            "type": kind,
            "secret": True,
            "values": ["a"],
            "pattern": "zzz",
            "min_length": 999,
            "forbidden": "passw",
        }
        for line in said({"V": f"Xq{secret}Zj"}, {"V": rule}):
            assert f"Xq{secret}Zj" not in line
            assert "Xq" not in line
