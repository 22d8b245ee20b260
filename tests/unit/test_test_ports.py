"""Ports that tests publish lie below those the system gives to outgoing connections, or they are taken now and then."""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]


def test_no_fixed_port_is_an_ephemeral_one() -> None:
    found = [
        f"{path.relative_to(TESTS)}: {number}"
        for directory in ("integration", "stories", "bench")
        for path in (TESTS / directory).rglob("*.py")
        for number in re.findall(
            r"(?:127\.0\.0\.1:|range\(|(?i:port)\w*\"?\s*[=:]\s*(?:\{[^}]*: )?)(\d{5})\b", path.read_text()
        )
        if 32768 <= int(number) <= 60999
    ]
    assert found == [], found
