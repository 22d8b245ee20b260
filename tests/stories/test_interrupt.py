"""Ctrl-C in the middle of a release."""

from __future__ import annotations

import os
import re
import signal
import time

import pytest
from conftest import ALL_VARIANTS, System, ship, traffic, until


@pytest.mark.parametrize("phase", ["start", "switch", "confirm"] if ALL_VARIANTS else ["switch"])
def test_an_interrupted_release_fails_no_request_and_the_same_command_again_ships(
    reviews: System, phase: str
) -> None:
    ship(reviews, "v1")
    with traffic(reviews, rate=50) as seen:
        run = reviews.start("deploy.yml", app_version="v2")
        until(run, f"== {phase.title()}")
        time.sleep(0.8)
        os.killpg(run.pid, signal.SIGINT)
        interrupted = time.monotonic()
        rest, _ = run.communicate(timeout=60)
        assert run.returncode == 99, rest[-3000:]
        assert time.monotonic() - interrupted < 20
        assert "User interrupted execution" in rest, rest[-3000:]
        # Neither a later phase nor the way back: a record that is open tells the next run what to settle.
        assert not re.search(r"^== ", rest, re.MULTILINE), rest[-3000:]
        assert "taken back" not in rest and not reviews.records()[-1].get("verdict"), rest[-3000:]
        again = reviews.deploy("v2")
        assert again.code == 0 and again.verdict == "live", again.output[-4000:]
        assert reviews.version() == "2.0.0"
        time.sleep(1)
    seen.assert_none_failed()
    assert all(record.get("verdict") for record in reviews.records())
