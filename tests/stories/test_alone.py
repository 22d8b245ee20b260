"""Phases that are run alone: each asks for the one before it, and none does what nobody has verified."""

from __future__ import annotations

import os
import signal
import subprocess
import time

import pytest
from ansible.module_utils.slipway.model import phases
from conftest import ALL_VARIANTS, System, on, ship, traffic, until, wait_for


def killed(system: System, headline: str, **variables: object) -> None:
    """Leave a release as a run does that is killed in a phase."""
    run: subprocess.Popen[str] = system.start("deploy.yml", app_version="v2", **variables)
    until(run, headline)
    time.sleep(0.5)
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()
    time.sleep(3)


def test_a_release_that_was_killed_goes_on_by_hand_from_where_it_was_and_from_nowhere_else(
    reviews: System,
) -> None:
    ship(reviews, "v1")
    with traffic(reviews, rate=50) as seen:
        killed(reviews, "== Backup")
        for phase in ("finish", "confirm", "start", "job"):
            refused = reviews.run(f"playbooks/{phase}.yml", job="seed")
            assert refused.code != 0, refused.output[-3000:]
            assert f"{phase} comes after" in refused.output or "is under way" in refused.output, (
                refused.output[-3000:]
            )
        assert not reviews.records()[-1].get("verdict")
        assert reviews.version() == "1.0.0"
        for phase in phases.of_kind(phases.DEPLOY)[2:]:
            done = reviews.run(f"playbooks/{phase}.yml", app_version="v2")
            assert done.code == 0, done.output[-4000:]
        time.sleep(1)
    seen.assert_none_failed()
    assert reviews.version() == "2.0.0"
    assert reviews.records("app1")[-1]["verdict"] == "live"
    refused = reviews.run("playbooks/finish.yml")
    assert refused.code != 0 and "No release is under way" in refused.output, refused.output[-3000:]


@pytest.mark.skipif(not ALL_VARIANTS, reason="make test-all")
def test_a_rollback_that_can_not_go_where_it_is_told_takes_nothing_from_a_watch(reviews: System) -> None:
    ship(reviews, "v1")
    run = reviews.start("deploy.yml", app_version="v2", watch_seconds=20)
    until(run, "== Watch")
    time.sleep(1)
    wrong = reviews.rollback(release="20200101T000000Z-typo")
    assert wrong.code != 0
    assert "can't be gone back to: it was never live here" in wrong.output, wrong.output[-3000:]
    assert run.stdout is not None
    rest = run.stdout.read()
    assert run.wait(timeout=120) == 0, rest[-4000:]
    assert reviews.version() == "2.0.0"
    # Given back by the process that kept it alive, a moment after the run has ended.
    wait_for(
        "the lock", 10, lambda: not on("edge1", "cat /var/lib/slipway/reviews/lock.json 2>/dev/null || true")
    )
