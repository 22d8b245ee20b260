"""Hosts that are lost, leave the inventory and join it between a release and the way back."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import ALL_VARIANTS, FLEET, ROOT, ROUTES, System, on, ship, traffic

pytestmark = pytest.mark.skipif(not ALL_VARIANTS, reason="make test-all")


def with_app_hosts(reviews: System, directory: Path, *hosts: str) -> System:
    """The reference system with these app hosts."""
    inventory = directory / "-".join(hosts)
    shutil.copytree(ROOT / "inventories/prod", inventory)
    lines = "".join(f"    {host}:\n" for host in hosts)
    text = (inventory / "hosts.yml").read_text().replace("    app1:\n    app2:\n", lines)
    (inventory / "hosts.yml").write_text(text)
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
