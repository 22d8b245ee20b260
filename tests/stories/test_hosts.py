"""Hosts that are lost, leave the inventory, join it or change groups between a release and the way back."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import ALL_VARIANTS, FLEET, ROOT, ROUTES, System, on, ship, traffic, until

pytestmark = pytest.mark.skipif(not ALL_VARIANTS, reason="make test-all")


def with_app_hosts(
    reviews: System, directory: Path, *hosts: str, data: tuple[str, ...] = ("data1",)
) -> System:
    """The reference system with these app and data hosts."""
    inventory = directory / "-".join([*hosts, *data])
    shutil.copytree(ROOT / "inventories/prod", inventory)
    lines = "".join(f"    {host}:\n" for host in hosts)
    text = (inventory / "hosts.yml").read_text().replace("    app1:\n    app2:\n", lines)
    (inventory / "hosts.yml").write_text(
        text.replace("    data1:\n", "".join(f"    {host}:\n" for host in data))
    )
    return replace(reviews, inventory=str(inventory))


def test_a_dead_host_that_leaves_the_inventory_does_not_keep_a_release_from_being_taken_back(
    reviews: System, tmp_path: Path
) -> None:
    ship(reviews, "v1")
    assert reviews.deploy("v2").code == 0
    subprocess.run(["docker", "kill", f"{FLEET}-app2"], check=True, capture_output=True)
    try:
        lost = reviews.rollback()
        assert lost.code != 0
        assert "UNREACHABLE  app2" in lost.output and "take it out of the inventory" in lost.output
        assert reviews.version() == "2.0.0"
        left = with_app_hosts(reviews, tmp_path, "app1")
        assert (done := left.rollback()).code == 0, done.output[-4000:]
        assert reviews.version() == "1.0.0"
    finally:
        assert reviews.run("playbooks/fleet.yml").code == 0
    # It is back, with the release it had: the next one brings it along.
    assert (done := reviews.deploy("v2")).code == 0, done.output[-4000:]
    assert {one["app_hosts"].keys() == {"app1", "app2"} for one in reviews.records()[-1:]} == {True}
    assert reviews.rollback().code == 0


def test_a_host_that_joins_is_cleared_when_the_release_fails_and_rests_when_it_is_taken_back(
    reviews: System, tmp_path: Path
) -> None:
    ship(reviews, "v1")
    more = with_app_hosts(reviews, tmp_path, "app1", "app2", "app3")
    assert more.deploy("broken-route", verify_deadline="10s").code != 0
    assert on("app3", "docker ps -aq") == ""
    # Another host is another site, and so a reload: it may close a kept connection under a client that is about to use it.
    fresh = [route for route in ROUTES if route.get("connections") == "fresh"]
    with traffic(reviews, rate=50, routes=fresh) as seen:
        assert (done := more.deploy("v2")).code == 0, done.output[-4000:]
        assert "(healthy)" in on("app3", "docker ps")
        assert (done := more.rollback()).code == 0, done.output[-4000:]
    seen.assert_none_failed()
    assert reviews.version() == "1.0.0"
    assert on("app3", "docker ps -q") == ""


def test_a_host_that_is_an_app_host_no_longer_keeps_nothing_of_the_system(
    reviews: System, tmp_path: Path
) -> None:
    ship(reviews, "v1")
    assert (done := reviews.deploy("v2")).code == 0, done.output[-4000:]
    assert reviews.containers("app2")
    fewer = with_app_hosts(reviews, tmp_path, "app1", data=("data1", "app2"))
    assert fewer.deploy("broken-route", verify_deadline="10s").code != 0
    # It serves on while the release that leaves it has not come to its end.
    assert reviews.containers("app2") and reviews.version() == "2.0.0"
    fresh = [route for route in ROUTES if route.get("connections") == "fresh"]
    with traffic(reviews, rate=50, routes=fresh) as seen:
        assert (done := fewer.deploy("v2")).code == 0, done.output[-4000:]
    seen.assert_none_failed()
    assert reviews.containers("app2", running=False) == {}
    assert (done := reviews.rollback()).code == 0, done.output[-4000:]
    assert reviews.version() == "2.0.0" and reviews.containers("app2")


def workers(system: System) -> set[tuple[str, str]]:
    """Where workers run, and of which colour."""
    return {
        (host, name.split("-")[1])
        for host in ("app1", "app2")
        for name in system.containers(host)
        if "-worker-" in name
    }


def moment(host: str, container: str, what: str) -> str:
    """When a container was started or ended, as docker says it."""
    return on(host, f"docker inspect -f '{{{{.State.{what}}}}}' {container}").strip()


def test_a_worker_that_moves_to_another_host_starts_when_the_old_one_has_ended(
    reviews: System, tmp_path: Path
) -> None:
    ship(reviews, "v1")
    ((_, old),) = workers(reviews)
    new = {"blue": "green", "green": "blue"}[old]
    turned = with_app_hosts(reviews, tmp_path, "app2", "app1")
    run = turned.start("deploy.yml", app_version="v2", watch_seconds=60)
    until(run, "== Switch")
    # It takes five seconds to end, once it is told to.
    worker = f"reviews-{old}-worker-1"
    on("app1", f"kill -STOP $(docker inspect -f '{{{{.State.Pid}}}}' {worker})")
    slow = f"docker events --filter container={worker} --filter event=kill | (read -r _; sleep 5; docker kill -s CONT {worker})"
    on("app1", f"timeout 60 sh -c '{slow}' >/dev/null 2>&1 &")
    until(run, "== Watch")
    assert workers(reviews) == {("app2", new)}
    assert moment("app1", worker, "FinishedAt") < moment("app2", f"reviews-{new}-worker-1", "StartedAt")
    # The way back of a run that has died keeps the order too.
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()
    time.sleep(3)
    assert (done := turned.rollback()).code == 0, done.output[-4000:]
    assert reviews.version() == "1.0.0" and workers(reviews) == {("app1", old)}
    waited = "select count(*) from ops.worker_generations where waited_for is not null"
    assert (reviews.sql(waited), reviews.sql("select count(*) from ops.worker_overlaps")) == ("0", "0")
