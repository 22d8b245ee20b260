"""Cookies come, are sent where they belong, and go."""

from __future__ import annotations

from ansible.module_utils.slipway.verify.http.client import Request, parse_url
from ansible.module_utils.slipway.verify.http.cookies import Jar


def jar(*values: str) -> Jar:
    found = Jar()
    found.keep("shop.test", [("set-cookie", value) for value in values])
    return found


def test_cookies_are_sent_to_the_host_that_set_them() -> None:
    kept = jar("a=1; Path=/", "b=2; HttpOnly")
    assert kept.header("shop.test") == "a=1; b=2" and kept.header("other.test") == ""
    assert Request(parse_url("http://shop.test/"), jar=kept).head()["Cookie"] == "a=1; b=2"
    assert "Cookie" not in Request(parse_url("http://other.test/"), jar=kept).head()
    own = Request(parse_url("http://shop.test/"), headers={"cookie": "mine=1"}, jar=kept)
    assert {k: v for k, v in own.head().items() if k.lower() == "cookie"} == {"cookie": "mine=1"}


def test_cookies_that_are_taken_back_or_cannot_be_sent() -> None:
    assert jar("a=1", "a=; Path=/").header("shop.test") == ""
    assert jar("a=1", "a=x; Max-Age=0").header("shop.test") == ""
    assert jar("a=1", "a=x; expires=Thu, 01 Jan 1970 00:00:00 GMT").header("shop.test") == ""
    assert jar('a="x\\012y"', "b=2", "=;;=").header("shop.test") == "b=2"


def test_a_copy_leaves_no_trace() -> None:
    kept = jar("a=1")
    kept.copy().keep("shop.test", [("set-cookie", "a=2")])
    assert kept.value("shop.test", "a") == "1" and kept.value("shop.test", "b") is None
