"""What is said before anything is touched, and what is never said."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
from conftest import ALL_VARIANTS, FLEET, ROOT, VAR, System, ship


def test_all_mistakes_are_named_at_once_and_nothing_is_touched(reviews: System) -> None:
    ship(reviews, "v1")
    before = reviews.records(), reviews.containers("app1")
    services = {
        "web": {"kind": "web", "port": 8000, "replica": 2, "health": "/health"},
        "wroker": {"kind": "worker"},
        "worker": {"kind": "worker"},
        "migrate": {"kind": "job"},
        "seed": {"kind": "job"},
        "db": {"kind": "stateful", "image": "slipway/postgres:17", "port": 5432},
        "redis": {"kind": "stateful", "image": "slipway/redis:8", "port": 6379},
    }
    values = {"POSTGRES_PASSWORD": "x" * 32, "REDIS_PASSWORD": "short", "SECRET_KEY": "k" * 40}
    done = reviews.deploy("v1", app_services=services, environment_values=values)
    assert done.code != 0
    for words in (
        "replica",
        "replicas",
        "wroker",
        "worker",
        "REDIS_PASSWORD",
        "DATABASE_URL",
        "CUSTOMER_APP_URL",
    ):
        assert words in done.output, (words, done.output[-5000:])
    assert (reviews.records(), reviews.containers("app1")) == before


def test_a_plan_touches_nothing(reviews: System) -> None:
    ship(reviews, "v1")
    before = reviews.records(), reviews.containers("app1"), reviews.containers("data1")
    done = reviews.deploy("v2", "--check", "--diff")
    assert done.code == 0, done.output[-5000:]
    assert "would" in done.output
    # Known from the source, without its image on the host or a container of it.
    assert re.search(r"migrations pending +[01] ", done.output), done.output[-5000:]
    assert (reviews.records(), reviews.containers("app1"), reviews.containers("data1")) == before
    assert reviews.version() == "1.0.0"
    back = reviews.rollback("--check")
    assert back.code == 0 or "no release to go back to" in back.output, back.output[-5000:]
    assert (reviews.records(), reviews.containers("app1"), reviews.containers("data1")) == before


def test_no_secret_is_printed_even_with_vvv(reviews: System) -> None:
    secrets = [path.read_text().split()[0] for path in (ROOT / "var/secrets/reviews").iterdir()]
    assert len(secrets) == 4
    ship(reviews, "v1")
    for run in (
        reviews.deploy("v2", "-vvv", "--diff", release_force=True),
        reviews.rollback("-vvv", "--diff"),
    ):
        assert run.code == 0, run.output[-3000:]
        for secret in secrets:
            assert secret not in run.output, [
                line[:200] for line in run.output.splitlines() if secret in line
            ][:3]
    for report in Path(VAR / "reports").rglob("*.*"):
        if report.is_file():
            text = report.read_text()
            assert not any(secret in text for secret in secrets), report


def test_a_plan_for_hosts_that_do_not_exist_says_how_to_make_them() -> None:
    hello = System(inventory="inventories/hello", extra={"fleet_name": f"{FLEET}-none"})
    done = hello.deploy(None, "--check")
    assert done.code != 0
    assert "ansible-playbook playbooks/fleet.yml -i" in done.output, done.output
    listed = subprocess.run(
        ["docker", "ps", "-aq", "--filter", f"name={FLEET}-none"], capture_output=True, text=True, check=True
    )
    assert listed.stdout == ""


@pytest.mark.skipif(not ALL_VARIANTS, reason="two minutes; make test-all")
def test_a_system_ships_to_bare_debian_12() -> None:
    subprocess.run([str(ROOT / "images/build"), "bare:12"], check=True)
    subprocess.run([str(ROOT / "examples/hello/build")], check=True)
    old = {"fleet_name": f"{FLEET}-12", "fleet_image": "slipway/bare:12"}
    hello = System(inventory="inventories/hello", name="hello", domain="hello.example.test", extra=old)
    try:
        assert hello.run("playbooks/fleet.yml").code == 0
        # The engine, nginx, not even python3-apt is there.
        plan = hello.deploy(None, "--check", "--diff")
        assert plan.code == 0, plan.output[-4000:]
        assert re.search(r"app1 +missing, and installed by the next phase: .*docker\.io", plan.output)
        first = hello.deploy()
        assert first.code == 0, first.output[-4000:]
        assert first.verdict == "live"
        assert hello.deploy().changed == 0
    finally:
        hello.run("playbooks/fleet.yml", fleet_state="absent")


def test_a_second_system_ships_beside_the_first(reviews: System) -> None:
    ship(reviews, "v1")
    before = {host: reviews.containers(host) for host in ("app1", "app2", "data1")}
    hello = System(inventory="inventories/hello", name="hello", domain="hello.example.test")
    first = hello.deploy()
    assert first.code == 0, first.output[-4000:]
    assert json.loads(hello.get("/version").stdout)["version"] == "1"
    services = {"web": {"kind": "web", "image": "slipway/hello:2", "port": 8080, "health": "/health"}}
    second = hello.deploy(app_services=services)
    assert second.code == 0, second.output[-4000:]
    assert json.loads(hello.get("/version").stdout)["version"] == "2"
    assert re.search(r"^verdict\s+live", hello.rollback().output, re.MULTILINE)
    assert json.loads(hello.get("/version").stdout)["version"] == "1"
    assert {host: reviews.containers(host) for host in before} == before
    assert reviews.version() == "1.0.0"
