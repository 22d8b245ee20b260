"""Two controllers: one is suspended, the other ships meanwhile, and the first goes on as if nothing had been."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from ansible.module_utils.slipway.model import phases
from conftest import ALL_VARIANTS, System, on, ship, traffic, until

HEADLINES = {name: f"== {name.capitalize()}" for name in phases.of_kind(phases.DEPLOY) if name != "preflight"}
TTL = 20  # seconds without a heartbeat, the default


def processes(run: subprocess.Popen[str]) -> list[int]:
    """Return all processes of a run, its heartbeat too, which has a session of its own: they share its environment."""
    mark = f"SLIPWAY_STORY={run.args_mark}".encode()  # type: ignore[attr-defined]
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if mark in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def start(system: System, mark: str, **variables: object) -> subprocess.Popen[str]:
    """Start a deploy whose processes can be found."""
    os.environ["SLIPWAY_STORY"] = mark
    try:
        run = system.start("deploy.yml", **variables)
    finally:
        del os.environ["SLIPWAY_STORY"]
    run.args_mark = mark  # type: ignore[attr-defined]
    return run


def send(run: subprocess.Popen[str], number: signal.Signals) -> None:
    for process in processes(run):
        os.kill(process, number)


@pytest.mark.parametrize("phase", list(HEADLINES) if ALL_VARIANTS else ["start"])
def test_a_controller_that_wakes_up_late_changes_nothing_more(reviews: System, phase: str) -> None:
    ship(reviews, "v1")
    with traffic(reviews) as seen:
        first = start(reviews, f"first-{phase}", app_version="v2", release_force=True)
        try:
            said = until(first, HEADLINES[phase])
            time.sleep(0.5)
            send(first, signal.SIGSTOP)
            time.sleep(TTL + 2)
            second = reviews.deploy("v2", release_force=True)
            assert second.code == 0, second.output[-4000:]
        finally:
            send(first, signal.SIGCONT)
        assert first.stdout is not None
        said += first.stdout.read()
        assert first.wait(timeout=120) != 0, said[-4000:]
        time.sleep(3)
    seen.assert_none_failed()
    assert "has lost the system to" in said, said[-4000:]
    assert "serves on" not in said and "no traffic moved" not in said, said[-4000:]
    assert reviews.version() == "2.0.0"
    live = [one for one in reviews.records() if one["verdict"] == "live" and not one.get("live_until")]
    assert [one["id"] for one in live] and f"reviews {live[0]['id']}" in second.output
    for host in ("edge1", "app1", "app2", "data1"):
        known = {one["id"]: one["verdict"] for one in reviews.records(host)}
        assert known[live[0]["id"]] == "live" and None not in known.values()
    for host in ("app1", "app2"):
        assert {name.split("-")[1] for name in reviews.containers(host)} == {live[0]["colour"]}
    assert on("edge1", "cat /var/lib/slipway/reviews/fence.json")


@pytest.mark.skipif(not ALL_VARIANTS, reason="make test-all")
def test_a_run_that_is_stopped_by_ctrl_z_is_told_apart_and_taken_over_on_purpose(reviews: System) -> None:
    ship(reviews, "v1")
    first = start(reviews, "stopped", app_version="v2", release_force=True)
    try:
        said = until(first, HEADLINES["backup"])
        # What a terminal does: the heartbeat, which has a session of its own, runs on.
        os.killpg(first.pid, signal.SIGSTOP)
        time.sleep(8)
        kept_out = reviews.deploy("v2")
        assert kept_out.code != 0 and "stopped as by Ctrl-Z" in kept_out.output, kept_out.output[-3000:]
        assert '{"release_takeover": true}' in kept_out.output
        taken = reviews.deploy("v2", release_takeover=True)
        assert taken.code == 0, taken.output[-4000:]
    finally:
        os.killpg(first.pid, signal.SIGCONT)
    assert first.stdout is not None
    said += first.stdout.read()
    assert first.wait(timeout=120) != 0
    assert "has lost the system to" in said, said[-4000:]
    assert reviews.version() == "2.0.0"
