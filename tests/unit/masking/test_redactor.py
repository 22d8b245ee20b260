"""Secrets are found where people write them, and masked in every form they take."""

from __future__ import annotations

import base64
import json
import time
from typing import Any
from urllib.parse import quote

import pytest
from ansible.module_utils.slipway.masking.names import MASK
from ansible.module_utils.slipway.masking.redactor import Redactor, secret_values
from hypothesis import given
from hypothesis import strategies as st

SECRET = st.text(min_size=4, max_size=30).filter(lambda text: text.strip() == text and MASK not in text)


@pytest.mark.parametrize(
    "declared",
    [
        {"postgres": {"host": "db", "password": "s3cret-pw"}},
        {"redis": {"password": "s3cret-pw"}},
        {"http": {"headers": {"Authorization": "Bearer s3cret-pw"}}},
        {"http": {"headers": {"authorization": "Basic " + base64.b64encode(b"joe:s3cret-pw").decode()}}},
        {"http": {"headers": {"X-Api-Key": "s3cret-pw", "Cookie": "a=b"}}},
        {"http": "https://joe:s3cret-pw@shop.test/"},
        {"postgres": "postgresql://app:s3cret-pw@db/shop"},
        {"postgres": "host=db password=s3cret-pw dbname=shop"},
        {"postgres": {"dsn": "host=db password='s3cret-pw'"}},
        {"post": "/login", "json": {"user": {"db_password": "s3cret-pw"}}},
        {"sign": {"scheme": "github", "secret": "s3cret-pw"}},
        [{"steps": [{"form": {"access_token": "s3cret-pw"}}]}],
        {"json": {"accessToken": "s3cret-pw"}},
        {"json": {"newPassword": "s3cret-pw"}},
        {"form": {"password_confirmation": "s3cret-pw"}},
        {"headers": {"X-Auth-Token": "s3cret-pw"}},
        {"headers": {"Cookie": "lang=en; session=s3cret-pw"}},
        {"get": "/download?id=7&api_key=s3cret-pw"},
        {"http": "https://shop.test/?token=s3cret-pw#top"},
        {"body": "user=joe&password=s3cret-pw"},
        {"body": '{"user": {"password": "s3cret-pw"}}'},
        {"http": "https://s3cret-pw@shop.test/"},
        {"http": "https://joe:s3cret%2Dpw@shop.test/"},
    ],
)
def test_found(declared: Any) -> None:
    assert "s3cret-pw" in secret_values(declared)


def test_an_empty_password_is_none() -> None:
    assert secret_values({"dsn": "host=db password='' dbname=shop", "url": "redis://:@cache"}) == set()


@pytest.mark.parametrize(
    ("url", "secret"),
    [
        ("postgresql://app:p@ss@word@db/shop", "p@ss@word"),
        ("amqp://app:a:b@broker", "a:b"),
        ("https://ghp_x0@git.test/a.git", "ghp_x0"),
        ("https://joe:pw1@a.test/?mail=joe@b.test", "pw1"),
    ],
)
def test_found_in_a_url(url: str, secret: str) -> None:
    assert secret in secret_values({"at": url})
    assert secret not in Redactor(secret_values({"at": url})).text(f"cannot connect to {url}")


def test_the_user_of_a_database_is_no_secret() -> None:
    assert secret_values({"at": ["postgresql://app@db/shop", "ssh://git@git.test/a.git"]}) == set()


@pytest.mark.parametrize(
    ("label", "value", "shown"),
    [
        ("json access_token", "eyJ0", MASK),
        ("json user.apiKey", "eyJ0", MASK),
        ("json secrets[0]", "eyJ0", MASK),
        ('json "odd key".api_key', 12345, MASK),
        ("header set-cookie", "session=eyJ0; Path=/", MASK),
        ("header X-Auth-Token", "eyJ0", MASK),
        ("row select api_key", "eyJ0", MASK),
        ("json @", {"user": {"api_key": "eyJ0", "name": "joe"}}, {"user": {"api_key": MASK, "name": "joe"}}),
        ("json users", [{"token": ["eyJ0"]}, {"token": None}], [{"token": [MASK]}, {"token": None}]),
        ("body", '{"api_key": "eyJ0", "n": 1}', f'{{"api_key": "{MASK}", "n": 1}}'),
        (
            "data",
            '{"tokens": ["eyJ0", "eyJ1"], "pin_secret": 1234',
            f'{{"tokens": "{MASK}", "pin_secret": "{MASK}"',
        ),
        ("body", '{"tokens": 1500}', f'{{"tokens": "{MASK}"}}'),
        # Whether there is one is what one wants to know.
        ("json token", "", ""),
        ("json auth", True, True),
        ("json length(tokens)", 3, 3),
        ("json status", "healthy", "healthy"),
        ("json cursor.key", "eyJ0", MASK),
        ("json primary_key", "id", "id"),
        ("json @", {"token": {"id": "eyJ0"}, "tokens": 1500}, {"token": {"id": MASK}, "tokens": 1500}),
        ("target auth", 2, 2),
        ("status", 200, 200),
    ],
)
def test_what_an_expectation_sees_is_masked_by_its_name(label: str, value: Any, shown: Any) -> None:
    assert Redactor().seen(label, value) == shown


def test_what_is_only_named_like_a_secret_is_left_alone() -> None:
    declared = {
        "save": {"token": {"json": "access_token", "secret": True}},
        "expect": {"json": {"token_type": "bearer", "password": "never"}},
        "name": "password reset",
        "url": "https://shop.test/token",
    }
    assert secret_values(declared) == set()


@given(SECRET, st.text(max_size=20), st.text(max_size=20))
def test_masked_in_every_form(secret: str, before: str, after: str) -> None:
    redactor = Redactor([secret])
    for form in (
        secret,
        quote(secret, safe=""),
        json.dumps(secret)[1:-1],
        base64.b64encode(secret.encode()).decode(),
    ):
        assert form not in redactor.text(form)
        assert MASK in redactor.text(before + form + after)


def test_data_and_learning() -> None:
    redactor = Redactor()
    redactor.add({"a": ["tok-123", None, True, "x"], "b": 98765})
    assert redactor.data({"k tok-123": ["tok-123", 98765, 1, True]}) == {f"k {MASK}": [MASK, MASK, 1, True]}


def test_longer_secrets_go_first() -> None:
    redactor = Redactor(["abc", "abcdef"])
    assert redactor.text("abcdef abc") == f"{MASK} {MASK}"


def test_credentials_of_a_url_are_masked_in_the_header_they_become() -> None:
    redactor = Redactor(secret_values({"http": "https://joe:s3cret-pw@shop.test/"}))
    sent = "Basic " + base64.b64encode(b"joe:s3cret-pw").decode()
    assert redactor.text(f"you sent {sent}") == f"you sent Basic {MASK}"


def test_secrets_are_masked_where_a_page_repeats_them() -> None:
    redactor = Redactor(["a<b>&c"])
    assert redactor.text("<p>wrong password a&lt;b&gt;&amp;c</p>") == f"<p>wrong password {MASK}</p>"


def test_a_page_with_one_quotation_mark_is_masked_in_no_time() -> None:
    """A megabyte of this took a minute, which no deadline reaches."""
    page = '"' + "token " * 170_000
    started = time.process_time()
    assert Redactor().body(page) == page
    assert time.process_time() - started < 5


def test_settings_beside_a_secret_stay_readable() -> None:
    declared = {"sign": {"secret_encoding": "base64", "secret": "s3cret-pw"}, "auth_source": "admin"}
    assert secret_values(declared) == {"s3cret-pw"}
