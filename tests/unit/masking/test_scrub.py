"""Nothing that looks secret and nothing unprintable gets past `publishable`."""

from __future__ import annotations

import json
import signal

import pytest
from ansible.module_utils.slipway.masking.names import MASK
from ansible.module_utils.slipway.masking.scrub import clean, publishable, scrub
from hypothesis import given
from hypothesis import strategies as st

SECRET = "hunter2-Zq9"


@pytest.mark.parametrize(
    "key",
    [
        "password",
        "DB_PASSWORD",
        "dbPassword",
        "pgpassword",
        "secret",
        "client-secret",
        "token",
        "X-Auth-Token",
        "api_key",
        "apiKey",
        "key",
        "SECRET_KEY",
        "private_key",
        "smtp_pass",
        "authorization",
        "Set-Cookie",
        "credentials",
        "passphrase",
        "basic_auth",
    ],
)
def test_keys_that_look_secret_lose_their_value(key: str) -> None:
    assert publishable({"a": [{key: SECRET}]}) == {"a": [{key: MASK}]}
    assert SECRET not in json.dumps(publishable({key: {"deep": [SECRET]}}))


@pytest.mark.parametrize(
    "key",
    [
        "name",
        "value",
        "passed",
        "primary_key",
        "foreign_keys",
        "public_key",
        "monkey",
        "keepalive",
        "bypass",
        "keyspace",
        "author",
        "compass",
        "",
    ],
)
def test_harmless_keys_keep_their_value(key: str) -> None:
    assert publishable({key: "seen"}) == {key: "seen"}


def test_numbers_under_doubtful_keys_are_counts_and_under_secret_keys_are_not() -> None:
    assert publishable({"keys": 4, "tokens": 1500}) == {"keys": 4, "tokens": 1500}
    assert publishable({"password": 123456}) == {"password": MASK}
    assert publishable({"password_set": True, "token": None}) == {"password_set": True, "token": None}


@pytest.mark.parametrize(
    "text",
    [
        f"cannot connect to postgres://app:{SECRET}@10.0.0.3:5432/shop",
        f"redis://:{SECRET}@cache:6379/0 refused",
        f"host=db user=app password={SECRET} dbname=shop",
        f"PGPASSWORD='{SECRET}' psql",
        f'{{"api_key": "{SECRET}"}}',
        f"{{'client_secret': '{SECRET}'}}",
        f"GET /hook?token={SECRET}&a=1",
        f"Authorization: Bearer {SECRET}",
        f"authorization: {SECRET}",
        f"sent bearer abcdefgh{SECRET}",
        f"-----BEGIN RSA PRIVATE KEY-----\n{SECRET}\n-----END RSA PRIVATE KEY-----",
        f"-----BEGIN PRIVATE KEY-----\n{SECRET}",
    ],
)
def test_secrets_inside_texts_are_replaced(text: str) -> None:
    assert SECRET not in scrub(text)
    assert MASK in scrub(text)


@pytest.mark.parametrize(
    "text",
    [
        "DB_PASSWORD: missing in environment.yml line 12, add it",
        "SECRET_KEY= is empty",
        "the token is older than 14 days",
        "http://10.0.0.1:8080/ready answered 500",
        "http://10.0.0.1:8080/people?mail=x@example.com answered 404",
        "git@github.com:slipway/shop.git",
        "basic authentication is required",
    ],
)
def test_messages_for_people_stay_as_they_are(text: str) -> None:
    assert scrub(text) == text


def test_terminal_escapes_and_control_characters_go() -> None:
    assert clean("\x1b[31mred\x1b[0m \x1b]0;title\x07a\x00b\x08\r\nc\ud800") == "red ab\nc?"


def test_a_key_counts_as_it_is_shown() -> None:
    assert publishable({"pass\x00word": 123456}) == {"password": MASK}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner) | st.tuples(inner),
    max_leaves=20,
)


@given(JSON)
def test_the_result_is_strict_json_and_stays_the_same_when_done_again(value: object) -> None:
    once = publishable(value)
    json.dumps(once, allow_nan=False).encode("utf-8")
    assert publishable(once) == once


@pytest.mark.parametrize(
    "unit", ["a.", "a:b@", "a://b:", "secret-", '"secret":"', '"a\\\\', "\x1b]", "bearer "]
)
def test_scrubbing_a_long_unlucky_text_comes_to_an_end(unit: str) -> None:
    # A pattern that backtracks would be at it for hours: the alarm ends the test, and nobody measures.
    signal.alarm(120)
    try:
        scrub(unit * (200_000 // len(unit)))
    finally:
        signal.alarm(0)
