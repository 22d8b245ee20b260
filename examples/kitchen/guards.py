"""What stands between the outside and the kitchen: tokens, webhook signatures, rate limits. No framework."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from typing import Any

Clock = Callable[[], float]


class Refused(Exception):
    """Why something was not let in."""


class Tokens:
    """Signed bearer tokens: any replica can check them, none has to remember them."""

    def __init__(self, secret: str, seconds: int = 3600, clock: Clock = time.time) -> None:
        self.secret, self.seconds, self.clock = secret.encode(), seconds, clock

    def _sign(self, payload: str) -> str:
        return hmac.new(self.secret, payload.encode(), hashlib.sha256).hexdigest()

    def issue(self, **claims: Any) -> str:
        """A token that says `claims` for as long as it is valid."""
        claims["exp"] = int(self.clock()) + self.seconds
        payload = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
        return f"{payload}.{self._sign(payload)}"

    def read(self, token: str) -> dict[str, Any]:
        """The claims of a token; raises Refused."""
        payload, _, signature = token.partition(".")
        if not hmac.compare_digest(signature.encode(), self._sign(payload).encode()):
            raise Refused("the token is not one of ours")
        claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        if claims["exp"] <= self.clock():
            raise Refused("the token has expired")
        return claims


class Webhooks:
    """A webhook is taken once, fresh, and signed: hex HMAC-SHA256 over `<timestamp in ms>.<raw body>`."""

    def __init__(self, secret: str, tolerance: float = 300, clock: Clock = time.time) -> None:
        self.secret, self.tolerance, self.clock = secret.encode(), tolerance, clock
        self._seen: dict[str, float] = {}

    def sign(self, timestamp: str, body: bytes) -> str:
        """The signature of a body at a time."""
        return hmac.new(self.secret, timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()

    def accept(self, body: bytes, signature: str, timestamp: str, request_id: str) -> None:
        """Take a webhook, or raise Refused. Request ids and signatures are both accepted once."""
        if not hmac.compare_digest(signature.encode(), self.sign(timestamp, body).encode()):
            raise Refused("signature does not fit")
        now = self.clock()
        if not timestamp.isdecimal() or abs(now - int(timestamp) / 1000) > self.tolerance:
            raise Refused(f"timestamp is more than {self.tolerance:g} s away from now")
        if not request_id:
            raise Refused("X-Request-Id is missing")
        self._seen = {key: until for key, until in self._seen.items() if until >= now}
        keys = (f"id:{request_id}", f"signature:{signature}")
        if any(key in self._seen for key in keys):
            raise Refused("seen before")
        # Older than twice the tolerance it would be refused as stale.
        self._seen.update(dict.fromkeys(keys, now + 2 * self.tolerance))


class RateLimit:
    """A bucket of tokens for each key: `per_minute` at once, refilled evenly."""

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self.clock = clock
        self._buckets: dict[str, tuple[float, float]] = {}

    def take(self, key: str, per_minute: int) -> tuple[int, float]:
        """Take one token: how many are left, and the seconds to wait (0 when one was there)."""
        now = self.clock()
        tokens, last = self._buckets.get(key, (float(per_minute), now))
        tokens = min(per_minute, tokens + (now - last) * per_minute / 60)
        taken = tokens >= 1
        self._buckets[key] = (tokens - taken, now)
        return int(tokens - taken), 0.0 if taken else (1 - tokens) * 60 / per_minute
