"""How a guest felt, from the words of the comment. Good enough to sort a list by."""

from __future__ import annotations

import re

_GOOD = {
    "amazing",
    "best",
    "delicious",
    "excellent",
    "friendly",
    "fun",
    "great",
    "loved",
    "perfect",
    "wonderful",
}
_BAD = {
    "awful",
    "bad",
    "burnt",
    "cold",
    "dirty",
    "disappointed",
    "late",
    "never",
    "raw",
    "rude",
    "slow",
    "waited",
}


def sentiment(rating: str | None, comment: str | None) -> str:
    """`positive`, `neutral` or `negative`; the rating decides where the words do not."""
    words = re.findall(r"[a-z]+", (comment or "").lower())
    score = sum(word in _GOOD for word in words) - sum(word in _BAD for word in words)
    if score == 0:
        score = {"great": 1, "good": 1, "could_be_better": -1}.get(rating or "", 0)
    return "positive" if score > 0 else "negative" if score < 0 else "neutral"
