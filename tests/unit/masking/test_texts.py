"""Secrets inside texts, in every notation: wherever one stands, nothing of it is left."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
from ansible.module_utils.slipway.masking.names import MASK
from ansible.module_utils.slipway.masking.redactor import Redactor, secret_values
from ansible.module_utils.slipway.masking.scrub import publishable, scrub
from ansible.module_utils.slipway.masking.texts import found, has_password, hide
from hypothesis import given
from hypothesis import strategies as st

# None of these characters is in what stands around, so a piece of the secret can come from nowhere else.
ANY = st.text("ABCXYZ57!$%^*+~äß€ @:/?#[]&=,;|<>", min_size=3, max_size=20).map(lambda text: f"Q7{text}7Q")
PLAIN = st.text("ABCXYZ57!$%^*+~-_", min_size=6, max_size=20).map(lambda text: f"Q7{text}7Q")
NAME = st.sampled_from(
    [
        "password",
        "DB_PASSWORD",
        "PGPASSWORD",
        "apiKey",
        "X-Auth-Token",
        "client_secret",
        "smtp_pass",
        "cookie",
        "credentials",
    ]
)
DOUBTFUL = st.sampled_from(["key", "keys", "tokens", "SIGNING_KEY", "dsn", "cookies", "PGPASSFILE"])

# How a secret of any characters is written, by its name.
NOTATIONS: list[Callable[[str, str], str]] = [
    lambda _, secret: f"cannot connect to postgres://app:{quote(secret, safe='')}@10.0.0.3:5432/shop",
    lambda _, secret: f"redis://:{quote(secret, safe='')}@cache:6379/0 refused",
    lambda _, secret: f"at https://{quote(secret, safe='')}@git.test/a.git",
    lambda _, secret: (
        f"https://{quote(secret, safe='')}:@git.test https://{quote(secret, safe='')}:x-oauth-basic@git.test"
    ),
    lambda _, secret: f"host=db password='{secret}' dbname=shop",
    lambda _, secret: f"host=db password = '{secret}' dbname=shop",
    lambda name, secret: f"GET /hook?a=1&{name}={quote(secret, safe='')}&b=2 -> 200",
    lambda name, secret: f'{name}="{secret}" psql',
    lambda name, secret: f"{name}='{secret}' psql",
    lambda name, secret: json.dumps({"a": 1, name: secret, "b": [2]}, ensure_ascii=False),
    lambda name, secret: json.dumps({"a": {name: secret}}, ensure_ascii=False, separators=(",", ":")),
    lambda name, secret: repr({"a": 1, name: secret}),
    lambda name, secret: json.dumps({name: secret}, ensure_ascii=False)[:-3],
    lambda name, secret: json.dumps({name: [secret.replace("[", "").replace("]", "")]}, ensure_ascii=False),
    lambda name, secret: f"app:\n  {name}: '{secret}'\n  b: 1",
    lambda _, secret: f"-----BEGIN OPENSSH PRIVATE KEY-----\n{secret}\n-----END OPENSSH PRIVATE KEY-----",
    lambda _, secret: f"-----BEGIN PRIVATE KEY-----\n{secret}",
]
# How one without blanks and quotes may be written, too.
BARE: list[Callable[[str, str], str]] = [
    lambda _, secret: f"host=db password={secret} dbname=shop",
    lambda name, secret: f"export {name}={secret}\n",
    lambda name, secret: f"app:\n  - {name}: {secret}\n  b: 1",
    lambda name, secret: f"web-1  | {name}: {secret}",
    lambda _, secret: f"Authorization: Bearer {secret}",
    lambda _, secret: f"authorization: {secret}",
    lambda _, secret: f"Cookie: theme=dark; session={secret}",
    lambda _, secret: f"< Set-Cookie: session={secret}; Path=/",
]


@given(st.sampled_from(NOTATIONS), NAME, ANY)
def test_no_notation_shows_a_secret(notation: Callable[[str, str], str], name: str, secret: str) -> None:
    text = notation(name, secret)
    assert "Q7" in text and MASK in hide(text)
    assert "Q7" not in hide(text) and "7Q" not in hide(text)


@given(st.sampled_from(BARE), NAME, PLAIN)
def test_no_notation_shows_a_bare_secret(notation: Callable[[str, str], str], name: str, secret: str) -> None:
    text = notation(name, secret)
    assert "Q7" not in hide(text) and "7Q" not in hide(text)


@given(DOUBTFUL, PLAIN)
def test_a_text_under_a_doubtful_name_is_hidden_and_a_count_is_not(name: str, secret: str) -> None:
    for text in (f"?{name}={secret}&", f'{{"{name}": "{secret}"}}', f'{{"{name}": ["{secret}"]}}'):
        assert "Q7" not in hide(text)
    for text in (f"{name}=1500, ok", f'{{"{name}": 1500}}', f'{{"{name}": [1, 2.5]}}', f"{name}=true"):
        assert hide(text) == text
        assert "=" in text or MASK in hide(text, counts=False)


def structures(leaf: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Return data of any shape with a leaf somewhere in it."""
    other = st.none() | st.booleans() | st.integers() | st.text("abc", max_size=3)
    return st.recursive(
        leaf,
        lambda inner: st.one_of(
            st.tuples(other, inner),
            st.tuples(inner, other).map(list),
            st.dictionaries(st.text("abc", max_size=3), other, max_size=2).flatmap(
                lambda data: inner.map(lambda item: {**data, "n": item})
            ),
        ),
        max_leaves=8,
    )


@given(st.tuples(NAME, ANY).flatmap(lambda pair: structures(st.just({pair[0]: pair[1]}))))
def test_by_its_name_no_secret_gets_out_of_any_structure(data: Any) -> None:
    assert "7Q" not in json.dumps(publishable(data))
    assert "7Q" not in json.dumps(Redactor().seen("json @", data))
    assert "7Q" not in hide(json.dumps(data, ensure_ascii=False))


@given(
    structures(
        st.builds(
            lambda notation, name, secret: notation(name, secret), st.sampled_from(NOTATIONS), NAME, ANY
        )
    )
)
def test_no_text_takes_a_secret_out_of_any_structure(data: Any) -> None:
    assert "7Q" not in json.dumps(publishable(data))


@given(st.data())
def test_what_is_known_gets_out_of_no_structure(data: st.DataObject) -> None:
    secret = data.draw(ANY)
    around = st.text("abc", max_size=3)
    told = st.builds(lambda before, after: f"{before}{secret}{after}", around, around)
    nested = data.draw(structures(told | told.map(lambda text: {text: 1}) | st.just({"x": {secret}})))
    assert "7Q" not in json.dumps(Redactor([secret]).data(nested))


def test_two_secrets_that_overlap_leave_nothing() -> None:
    assert Redactor(["abcd", "cdef"]).text("x abcdef x") == f"x {MASK} x"


@pytest.mark.parametrize(
    "text",
    [
        "DB_PASSWORD: missing in environment.yml line 12, add it",
        "SECRET_KEY= is empty",
        "SECRET_KEY: required",
        "KeyError: 'id'",
        "the token is older than 14 days",
        "postgresql://app@10.0.0.3/shop does not answer",
        "http://10.0.0.1:8080/people?mail=x@example.com answered 404",
        "git@github.com:slipway/shop.git, ssh://git@github.com/slipway/shop.git",
        "basic authentication is required",
        "password='' is empty, PASSWORD='' too",
        '{"primary_key": "id", "keys": 4, "author": "joe"}',
    ],
)
def test_messages_for_people_stay_as_they_are(text: str) -> None:
    assert hide(text) == text


def test_a_text_around_a_secret_stays_readable() -> None:
    assert hide("GET /?password=abc&page=2") == f"GET /?password={MASK}&page=2"
    text = "curl 'https://joe:s3cret@shop.test/?token=abc&page=2' -H 'X: y' (PGPASSWORD='s3cret', user=joe)"
    shown = (
        f"curl 'https://joe:{MASK}@shop.test/?token={MASK}&page=2' -H 'X: y' (PGPASSWORD='{MASK}', user=joe)"
    )
    assert hide(text) == shown


def test_words_about_secrets_are_none() -> None:
    """A declaration's texts are prose, too, and what is found in them is masked in every other text."""
    for text in (
        "no authorization: refused",
        "token: missing1",
        '"password": "wrong"',
        "password='' is empty",
    ):
        assert {one for one in found(text) if len(one) >= 3} == set()
    assert secret_values({"sql": "select 1 from tokens where token_type=bearer"}) == set()


@pytest.mark.parametrize(
    ("url", "has"),
    [
        ("https://joe:pw@git.test/a.git", True),
        ("https://joe:p@w?x@git.test/a.git", True),
        ("ssh://git@git.test/a.git", False),
        ("https://joe@git.test/a.git", False),
        ("git@git.test:a.git", False),
    ],
)
def test_a_password_in_an_address(url: str, has: bool) -> None:
    assert has_password(url) is has


@pytest.mark.parametrize(
    "unit",
    [
        *(
            "token",
            "token=",
            'token="',
            "monkey=",
            '"token": "',
            '"token',
            "token: '",
            "password = ",
            "password='",
            "a.",
            "key,",
        ),
        *(
            "token: 1",
            "token: -",
            "| ",
            "- ",
            "://a:",
            "://a@",
            "cookie: a",
            "authorization: ",
            "bearer 1",
            "[",
            "\n",
            "key\n",
        ),
        *("-----BEGIN PRIVATE KEY-----", "keys=1,", '"keys": [1', "key\t"),
    ],
)
def test_a_long_unlucky_text_takes_no_time(unit: str) -> None:
    started = time.process_time()
    scrub(unit * (200_000 // len(unit)))
    Redactor(["token=token="]).body(unit * (200_000 // len(unit)) + " x")
    assert time.process_time() - started < 5
