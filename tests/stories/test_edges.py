"""Two edges: what holds for one holds for each, and neither is right because it comes first."""

from __future__ import annotations

import os
import shutil
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import ALL_VARIANTS, ROOT, System, on, ship, until

FLAGS = "/var/lib/slipway/reviews/edge"


def with_edges(reviews: System, directory: Path, *edges: str) -> System:
    """The reference system behind these edges."""
    inventory = directory / "-".join(edges)
    shutil.copytree(ROOT / "inventories/prod", inventory)
    lines = "".join(f"    {edge}:\n" for edge in edges)
    text = (inventory / "hosts.yml").read_text().replace("    edge1:\n", lines)
    (inventory / "hosts.yml").write_text(text)
    return replace(reviews, inventory=str(inventory))


def served(system: System, edge: str) -> str:
    """Return what an edge answers: the version, or what was said instead."""
    answer = system.get("/version", edge=edge)
    return answer.stdout + answer.stderr


def live(system: System, host: str) -> list[str]:
    return [
        one["id"] for one in system.records(host) if one["verdict"] == "live" and not one.get("live_until")
    ]


@pytest.fixture
def both(reviews: System, tmp_path: Path) -> System:
    """The reference system behind two edges, v1 live on both."""
    system = with_edges(reviews, tmp_path, "edge1", "edge2")
    ship(reviews, "v1")
    done = system.deploy("v1")
    assert done.code == 0, done.output[-4000:]
    for edge in ("edge1", "edge2"):
        assert "1.0.0" in served(system, edge), served(system, edge)
    return system


@pytest.mark.skipif(not ALL_VARIANTS, reason="make test-all")
def test_an_edge_that_points_elsewhere_is_put_right_though_there_is_nothing_to_ship(both: System) -> None:
    colour = on("edge1", f"ls {FLAGS} | sort -r | head -1").strip()
    wrong = {"blue": "green", "green": "blue"}[colour]
    on("edge2", f"rm -f {FLAGS}/*; touch {FLAGS}/{wrong}")
    assert "1.0.0" not in served(both, "edge2")
    done = both.deploy("v1")
    assert done.code == 0, done.output[-4000:]
    assert f"edge2 pointed at {wrong}" in done.output, done.output[-4000:]
    assert "1.0.0" in served(both, "edge2")
    again = both.deploy("v1")
    assert (again.code, again.changed) == (0, 0), again.output[-4000:]


def test_a_watch_that_fails_on_the_second_edge_fails_the_release_though_the_first_has_passed(
    both: System,
) -> None:
    run = both.start("deploy.yml", app_version="v2", watch_seconds=6)
    until(run, "== Watch")
    time.sleep(1)
    on("edge2", "systemctl stop nginx")
    deadline = time.monotonic() + 30
    watched = "cat /var/lib/slipway/reviews/releases/*/watch.json 2>/dev/null | tail -1"
    while '"fail"' not in on("edge2", watched, check=False):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    # Nobody is there any more to say so; the first edge goes on watching, and passes.
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()
    on("edge2", "systemctl start nginx")
    time.sleep(7)
    assert "1.0.0" in served(both, "edge2") and "2.0.0" in served(both, "edge1")
    done = both.rollback()
    assert done.code == 0, done.output[-4000:]
    for edge in ("edge1", "edge2"):
        assert "1.0.0" in served(both, edge)
        assert both.records(edge)[-1]["verdict"] == "rolled_back"


def test_a_first_edge_that_was_rebuilt_learns_what_is_live_and_loses_nothing(both: System) -> None:
    before = live(both, "edge2")
    on("edge1", "rm -rf /var/lib/slipway/reviews")
    done = both.deploy("v2")
    assert done.code == 0, done.output[-4000:]
    for edge in ("edge1", "edge2"):
        assert "2.0.0" in served(both, edge)
    new = both.records("edge1")[-1]
    assert new["previous"] == before[0] and new["kind"] == "deploy"
    assert live(both, "edge1") == live(both, "edge2") == live(both, "app1") == [new["id"]]
    assert before[0] in [one["id"] for one in both.records("edge1")]
    assert new["id"] in on("data1", "ls /var/lib/slipway/reviews/backups")


@pytest.mark.skipif(not ALL_VARIANTS, reason="make test-all")
def test_an_edge_that_was_away_and_comes_first_again_brings_nothing_old_back(
    both: System, reviews: System, tmp_path: Path
) -> None:
    # An inventory without it, while it is away: it keeps its old records.
    other = with_edges(reviews, tmp_path / "other", "edge2")
    assert (done := other.deploy("v2")).code == 0, done.output[-4000:]
    newest = live(both, "edge2")
    assert live(both, "edge1") != newest
    assert (done := both.deploy("v2")).code == 0, done.output[-4000:]
    assert live(both, "edge1") == live(both, "edge2") == newest
    assert "2.0.0" in served(both, "edge1")


@pytest.mark.skipif(not ALL_VARIANTS, reason="make test-all")
def test_one_record_is_damaged_and_all_are_gone_but_on_one_host(both: System) -> None:
    newest = live(both, "app1")
    on("edge1", f"echo '{{' > /var/lib/slipway/reviews/releases/{newest[0]}/record.json")
    for host in ("edge2", "app2", "data1"):
        on(host, "rm -f /var/lib/slipway/reviews/releases/*/record.json")
    assert (done := both.deploy("v1")).code == 0, done.output[-4000:]
    everybody = ("edge1", "edge2", "app1", "app2", "data1")
    for host in everybody:
        assert live(both, host) == newest
    # And none anywhere: a first release would take the place of what runs, without a backup.
    for host in everybody:
        on(host, "mv /var/lib/slipway/reviews/releases /var/lib/slipway/reviews/kept")
    try:
        refused = both.deploy("v1")
        assert refused.code != 0 and "No host has a record of a release" in refused.output, refused.output[
            -3000:
        ]
        assert "1.0.0" in served(both, "edge1")
    finally:
        for host in everybody:
            on(host, "cd /var/lib/slipway/reviews; rm -rf releases; mv kept releases")
    assert (done := both.deploy("v1")).code == 0, done.output[-4000:]
