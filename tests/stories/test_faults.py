"""Hosts that fail, controllers that die, people who get in each other's way."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable

import pytest
from ansible.module_utils.slipway.model import phases
from conftest import ALL_VARIANTS, FLEET, System, on, ship, traffic, until

HEADLINES = {name: f"== {name.capitalize()}" for name in phases.of_kind(phases.DEPLOY) if name != "preflight"}


def colours(system: System, host: str) -> set[str]:
    """Which colours have containers on a host, running or not."""
    return {name.split("-")[1] for name in system.containers(host, running=False)}


def stop_engine() -> None:
    on("app2", "systemctl stop docker.socket docker")


def start_engine() -> None:
    on("app2", "systemctl start docker")


def fill_disk() -> None:
    # The engine can't write a container's files: what a full disk looks like to it, on a volume this machine shares.
    on("app2", "mount -t tmpfs -o size=4k tmpfs /var/lib/docker/containers || true")


def free_disk() -> None:
    on("app2", "umount /var/lib/docker/containers || true")


def cut_off() -> None:
    subprocess.run(["docker", "network", "disconnect", FLEET, f"{FLEET}-app2"], check=True)


def plug_in(address: str) -> None:
    subprocess.run(["docker", "network", "connect", "--ip", address, FLEET, f"{FLEET}-app2"], check=True)


@pytest.mark.parametrize("fault", ["engine", *(["disk", "network"] if ALL_VARIANTS else [])])
def test_one_host_fails_and_both_stay_on_the_old_release(reviews: System, fault: str) -> None:
    ship(reviews, "v1")
    address = reviews.address("app2")
    broken: Callable[[], None]
    mended: Callable[[], None]
    broken, mended = {
        "engine": (stop_engine, start_engine),
        "disk": (fill_disk, free_disk),
        "network": (cut_off, lambda: plug_in(address)),
    }[fault]
    run = reviews.start("deploy.yml", app_version="v2")
    try:
        seen = until(run, HEADLINES["start"])
        broken()
        assert run.stdout is not None
        seen += run.stdout.read()
        assert run.wait(timeout=120) != 0
    finally:
        mended()
    assert "app2" in seen.split("\nverdict", 1)[1], seen[-3000:]
    assert reviews.version() == "1.0.0"
    # The host is back; the same command again settles what was left there.
    deadline = time.monotonic() + 30
    while "docker" not in on("app2", "docker info 2>/dev/null | head -1; echo docker", check=False):
        assert time.monotonic() < deadline
        time.sleep(0.5)
    again = reviews.deploy("v1")
    assert again.code == 0, again.output[-4000:]
    assert reviews.version() == "1.0.0"
    assert colours(reviews, "app1") == colours(reviews, "app2")
    assert {record["verdict"] for record in reviews.records("app2")} >= {"live", "abandoned"}


@pytest.mark.parametrize("phase", list(HEADLINES) if ALL_VARIANTS else ["switch"])
def test_a_killed_controller_interrupts_nobody_and_the_next_run_settles_it(
    reviews: System, phase: str
) -> None:
    ship(reviews, "v1")
    with traffic(reviews, rate=50) as seen:
        run = reviews.start("deploy.yml", app_version="v2", release_force=True)
        until(run, HEADLINES[phase])
        time.sleep(0.8)
        os.killpg(run.pid, signal.SIGKILL)
        run.wait()
        time.sleep(3)
        after_start = list(HEADLINES).index(phase) >= list(HEADLINES).index("switch")
        settled = reviews.rollback() if after_start else reviews.deploy("v1")
        assert settled.code == 0, settled.output[-4000:]
        time.sleep(1)
    seen.assert_none_failed()
    assert all(record.get("verdict") for record in reviews.records())
    assert reviews.version() == "1.0.0"


def test_a_release_that_is_taken_back_leaves_the_edge_as_it_was(reviews: System) -> None:
    ship(reviews, "v1")
    run = reviews.start("deploy.yml", app_version="v2", edge_headers={"X-Candidate": "yes"})
    until(run, HEADLINES["confirm"])
    assert "x-candidate: yes" in reviews.headers()
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()
    assert reviews.rollback().code == 0
    assert "x-candidate" not in reviews.headers()
    assert reviews.version() == "1.0.0"


def test_the_second_of_two_deploys_is_told_who_is_at_it(reviews: System) -> None:
    ship(reviews, "v1")
    first = reviews.start("deploy.yml", app_version="v2")
    try:
        until(first, HEADLINES["backup"])
        second = reviews.deploy("v2")
        assert second.code != 0
        assert "is under way: the lock is held by" in second.output, second.output[-3000:]
        assert "deploy.yml, phase" in second.output
        assert second.seconds < 20
    finally:
        assert first.stdout is not None
        rest = first.stdout.read()
        first.wait(timeout=300)
    assert first.returncode == 0, rest[-3000:]
    assert reviews.version() == "2.0.0"


@pytest.mark.skipif(not ALL_VARIANTS, reason="make test-all")
def test_a_worker_that_does_not_come_up_takes_a_warm_rollback_back(reviews: System) -> None:
    ship(reviews, "v1")
    before = next(one for one in reversed(reviews.records()) if one["verdict"] == "live")
    assert (done := reviews.deploy("v2", release_keep_warm=True)).code == 0, done.output[-4000:]
    compose = f"/var/lib/slipway/reviews/releases/{before['content']}/compose.yaml"
    on("app1", f'cp {compose} /root/kept; sed -i \'s/"-m", "app.worker"/"-c", "exit(3)"/\' {compose}')
    back = reviews.rollback(release_keep_warm=True)
    assert back.code != 0 and back.verdict == "rolled_back", back.output[-4000:]
    assert "worker-1 ended" in back.output and "last exit code 3" in back.output, back.output[-4000:]
    assert reviews.version() == "2.0.0"
    running = on("app1", "docker ps --format '{{.Names}}'").split()
    assert {name.split("-")[1] for name in running if "-worker-" in name} == colours(reviews, "app1")
    on("app1", f"cp /root/kept {compose}")
    assert (done := reviews.rollback()).code == 0, done.output[-4000:]
    assert reviews.version() == "1.0.0"
