"""Review links: the key in a guest's link proves that we sent it."""

from __future__ import annotations

import hashlib
import hmac
from uuid import UUID


def review_key(secret: str, review_id: UUID) -> str:
    """The key of a review's link: 32 hexadecimal digits."""
    return hmac.new(secret.encode(), f"review:{review_id}".encode(), hashlib.sha256).hexdigest()[:32]


def review_url(base: str, secret: str, review_id: UUID) -> str:
    """The link a guest is sent."""
    return f"{base}/review/{review_id}?key={review_key(secret, review_id)}"


def key_fits(secret: str, review_id: UUID, key: str) -> bool:
    """Whether `key` is the one of this review's link, compared in constant time."""
    return hmac.compare_digest(review_key(secret, review_id).encode(), key.encode())
