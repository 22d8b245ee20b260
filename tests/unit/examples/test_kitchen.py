"""What guards the kitchen: tokens, webhook signatures, rate limits."""

from __future__ import annotations

import hashlib
import hmac
import importlib.util
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

_spec = importlib.util.spec_from_file_location(
    "example_kitchen_guards", Path(__file__).resolve().parents[3] / "examples/kitchen/guards.py"
)
assert _spec and _spec.loader
guards = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(guards)

NOW = 1_800_000_000.0
STAMP = str(int(NOW * 1000))
BODY = b'{"event":"invoice.paid","id":"evt_1"}'


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


def signature(body: bytes = BODY, stamp: str = STAMP, secret: bytes = b"secret") -> str:
    return hmac.new(secret, f"{stamp}.".encode() + body, hashlib.sha256).hexdigest()


def test_a_signed_webhook_is_taken_once() -> None:
    webhooks = guards.Webhooks("secret", clock=Clock())
    webhooks.accept(BODY, signature(), STAMP, "request-1")
    with pytest.raises(guards.Refused, match="seen before"):
        webhooks.accept(BODY, signature(), STAMP, "request-1")
    with pytest.raises(guards.Refused, match="seen before"):
        webhooks.accept(BODY, signature(), STAMP, "request-2")  # the same signature with another id
    other = BODY.replace(b"evt_1", b"evt_2")
    with pytest.raises(guards.Refused, match="seen before"):
        webhooks.accept(other, signature(other), STAMP, "request-1")  # the same id with another body
    webhooks.accept(other, signature(other), STAMP, "request-2")


@pytest.mark.parametrize(
    ("body", "signed", "stamp", "request_id", "reason"),
    [
        (BODY + b" ", signature(), STAMP, "r", "signature"),
        (BODY, signature(secret=b"another"), STAMP, "r", "signature"),
        (BODY, signature(), str(int(STAMP) + 1), "r", "signature"),
        (BODY, "", STAMP, "r", "signature"),
        (BODY, "ungültig", STAMP, "r", "signature"),
        (BODY, signature(stamp=""), "", "r", "timestamp"),
        (BODY, signature(stamp="now"), "now", "r", "timestamp"),
        (BODY, signature(), STAMP, "", "X-Request-Id"),
    ],
)
def test_what_is_not_signed_or_complete_is_refused(
    body: bytes, signed: str, stamp: str, request_id: str, reason: str
) -> None:
    webhooks = guards.Webhooks("secret", clock=Clock())
    with pytest.raises(guards.Refused, match=reason):
        webhooks.accept(body, signed, stamp, request_id)
    webhooks.accept(BODY, signature(), STAMP, "r")  # a refused request leaves no trace


@given(st.integers(min_value=-3600, max_value=3600))
def test_only_fresh_webhooks_are_taken_and_never_twice(age: int) -> None:
    clock = Clock()
    webhooks = guards.Webhooks("secret", tolerance=300, clock=clock)
    stamp = str(int((NOW - age) * 1000))
    accepted = 0
    for later in (0, 1, 299, 600, 601, 1200):
        clock.now = NOW + later
        try:
            webhooks.accept(BODY, signature(stamp=stamp), stamp, f"request-{later}")
            accepted += 1
        except guards.Refused:
            pass
    assert accepted <= 1
    if abs(age) <= 300:
        assert accepted == 1


def test_tokens_expire_and_cannot_be_made_up() -> None:
    clock = Clock()
    tokens = guards.Tokens("secret", seconds=60, clock=clock)
    token = tokens.issue(email="a@example.com", plan="pro")
    assert tokens.read(token)["plan"] == "pro"
    forged = guards.Tokens("another", clock=clock).issue(email="a@example.com", plan="enterprise")
    payload, _, _ = forged.partition(".")
    for wrong in (forged, f"{payload}.{token.partition('.')[2]}", token[:-1], "", ".", "a.b"):
        with pytest.raises(guards.Refused, match="not one of ours"):
            tokens.read(wrong)
    clock.now += 60
    with pytest.raises(guards.Refused, match="expired"):
        tokens.read(token)


def test_a_rate_limit_holds_for_each_key_and_recovers_evenly() -> None:
    clock = Clock()
    limits = guards.RateLimit(clock=clock)
    assert [limits.take("a", 60)[1] == 0 for _ in range(61)] == [True] * 60 + [False]
    assert limits.take("a", 60) == (0, 1.0)
    assert limits.take("b", 60) == (59, 0.0)
    clock.now += 2
    assert [limits.take("a", 60)[1] == 0 for _ in range(3)] == [True, True, False]
    clock.now += 3600
    assert limits.take("a", 60)[0] == 59
