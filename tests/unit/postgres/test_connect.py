"""Reaching the server: a password is never shown, whatever was written wrongly."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.module_utils.slipway.masking.names import MASK
from ansible.module_utils.slipway.postgres.connect import Target
from ansible.module_utils.slipway.postgres.sql import Refused

# The password is always made of these two, so neither half may appear.
HALVES = ("SECRET", "TAIL")
UNREADABLE = [
    "postgresql://app:SECRET%zzTAIL@h/db",
    "postgresql://app:SECRET@TAIL@h/db",
    "postgresql://app:SECRET/TAIL@h/db",
    "postgresql://app:12345/TAIL@h/db",
    "host=h password=SECRET TAIL",
    "host=h password='SECRET TAIL",
]


def refusal(**params: Any) -> Refused:
    with pytest.raises(Refused) as caught:
        Target(params).connect()
    return caught.value


@pytest.mark.parametrize("dsn", UNREADABLE)
def test_a_dsn_that_cannot_be_read_is_refused_without_showing_it(dsn: str) -> None:
    error = refusal(dsn=dsn)
    assert "dsn cannot be read" in str(error) and "%40" in str(error)
    assert not any(half in str(error) for half in HALVES)
    # Nor in a traceback.
    assert error.__context__ is None or error.__suppress_context__


def test_a_password_is_masked_in_what_the_client_library_says() -> None:
    # Whoever writes the password where the host belongs is told so by libpq in its own words.
    for params in (
        {"dsn": "postgresql://app:SECRETTAIL@/db?host=/nowhere/SECRETTAIL&port=1"},
        {"login_host": "/nowhere/SECRETTAIL", "login_port": 1, "login_password": "SECRETTAIL"},
    ):
        text = str(refusal(**params))
        assert "cannot connect" in text and f"/nowhere/{MASK}" in text, text
        assert not any(half in text for half in HALVES)
    # However short it is.
    assert "/nowhere/q7" not in str(refusal(login_host="/nowhere/q7", login_port=1, login_password="q7"))


def test_a_good_dsn_is_taken() -> None:
    for dsn in (
        "postgresql://app:a%40b@h:5432,g:5433/db",
        "host=h password='a b'",
        "",
        "host=h dbname=odd@name",
    ):
        Target({"dsn": dsn})
