"""Signatures as the senders of webhooks make them, and forgeries that differ in exactly one thing."""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import Any

import pytest
from ansible.module_utils.slipway.verify.flows.signing import CASES, Signer, tamper
from ansible.module_utils.slipway.verify.predicates import SpecError
from hypothesis import given
from hypothesis import strategies as st


def test_github_as_documented() -> None:
    """The example in GitHub's documentation of webhook signatures."""
    signer = Signer({"scheme": "github", "secret": "It's a Secret to Everybody"}, "sign")
    signature = signer.sign(b"Hello, World!").headers["X-Hub-Signature-256"]
    assert signature == "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"


def test_standard_webhooks_as_documented(monkeypatch: pytest.MonkeyPatch) -> None:
    """The example in the Standard Webhooks specification's libraries."""
    signer = Signer(
        {"scheme": "standard-webhooks", "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}, "sign"
    )
    signed = signer._with(b'{"test": 2432232314}', "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, signer._secret)
    assert signed.headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_stripe() -> None:
    signed = Signer({"scheme": "stripe", "secret": "whsec_x"}, "sign").sign(b"{}")
    stamp, signature = (part.split("=", 1)[1] for part in signed.headers["Stripe-Signature"].split(","))
    assert signature == hmac.new(b"whsec_x", f"{stamp}.{{}}".encode(), hashlib.sha256).hexdigest()


def test_custom_template_in_milliseconds() -> None:
    signer = Signer(
        {
            "secret": "6b6579",
            "secret_encoding": "hex",
            "payload": "{timestamp}.{body}",
            "encoding": "base64",
            "algorithm": "sha512",
            "timestamp": "milliseconds",
            "headers": {"X-Signature": "{signature}", "X-Timestamp": "{timestamp}", "X-Request-Id": "{id}"},
        },
        "sign",
    )
    signed = signer.sign(b"\xff{body}")
    stamp = signed.headers["X-Timestamp"]
    assert len(stamp) == 13 and signed.headers["X-Request-Id"] == signed.id
    digest = hmac.new(b"key", stamp.encode() + b".\xff{body}", hashlib.sha512).digest()
    assert signed.headers["X-Signature"] == base64.b64encode(digest).decode()


@pytest.mark.parametrize("scheme", ["hex", "base64", "github", "stripe", "standard-webhooks"])
@pytest.mark.parametrize("case", CASES)
def test_forgeries(scheme: str, case: str) -> None:
    secret = base64.b64encode(b"0123456789").decode()
    signer = Signer({"scheme": scheme, "secret": secret}, "sign")
    original = signer.sign(b'{"a": 1}')
    forged = signer.forge(case, original, 600)

    def valid() -> bool:
        again = signer._with(forged.body, forged.id, forged.timestamp, signer._secret)
        return again.headers == forged.headers

    if case == "same_id":
        assert forged == original
    elif case == "stale":
        assert valid() and 599 < original.timestamp - forged.timestamp < 602
    elif case == "tampered_body":
        assert forged.body != original.body and not valid()
    elif case == "no_signature":
        assert not any("signature" in name.lower() for name in forged.headers)
    elif case == "wrong_secret":
        assert forged.body == original.body and not valid()
    else:
        assert forged.body == original.body
        assert {k for k, v in forged.headers.items() if v != original.headers[k]} <= {
            "X-GitHub-Delivery",
            "webhook-id",
        }


@given(st.binary(max_size=50))
def test_tampering_always_changes_the_body(body: bytes) -> None:
    assert tamper(body) != body


def test_tampered_json_is_still_json() -> None:
    assert tamper(b"{}") == b'{"tampered":true}'
    assert tamper(b'{"a": 1} ') == b'{"a": 1,"tampered":true}'


@pytest.mark.parametrize(
    ("given_", "words"),
    [
        ("github", "must be a mapping"),
        ({"scheme": "githb", "secret": "x"}, "did you mean 'github'"),
        ({"scheme": "github"}, "is required"),
        ({"scheme": "custom", "secret": "x"}, "none carries"),
        ({"payload": "{timestamp}", "secret": "x", "header": "X"}, "must contain {body}"),
        ({"payload": "{body}{nonce}", "secret": "x", "header": "X"}, "unknown key 'nonce'"),
        ({"scheme": "hex", "secret": "x", "algorithm": "md5"}, "known: sha1"),
        ({"scheme": "hex", "secret": "x", "encoding": "b64"}, "neither hex nor base64"),
        ({"scheme": "standard-webhooks", "secret": "whsec_!!"}, "not valid base64"),
        ({"scheme": "hex", "secret": "x", "timestamp": "minutes"}, "neither seconds"),
    ],
)
def test_mistakes(given_: Any, words: str) -> None:
    with pytest.raises(SpecError, match=words):
        Signer(given_, "sign")
