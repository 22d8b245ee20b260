"""Hosts come back by themselves: no controller is there when a host reboots at night."""

from __future__ import annotations

import subprocess
import time

import pytest
from conftest import ALL_VARIANTS, FLEET, System, on, ship, until, wait_for

HOSTS = ("edge1", "app1", "app2", "data1")
CUTS = [("switch", HOSTS)]
if ALL_VARIANTS:
    CUTS += [(phase, HOSTS) for phase in ("backup", "migrate", "start", "confirm", "watch", "finish")]
    CUTS += [
        ("start", ("app1",)),
        ("switch", ("edge1",)),
        ("migrate", ("data1",)),
        ("watch", ("edge1",)),
        ("watch", ("app2",)),
    ]


def test_an_app_host_whose_address_comes_late_at_boot_serves_again_by_itself(reviews: System) -> None:
    ship(reviews, "v1")
    assert (done := reviews.deploy("v1")).code == 0, done.output[-4000:]
    before = set(reviews.containers("app1"))
    address = on("app1", "ip -o -4 addr show dev eth0 | awk '{print $4}'").strip()
    on("app1", "systemctl stop docker.socket docker")
    try:
        on("app1", f"ip addr del {address} dev eth0")
        # The engine starts as at boot, and can't publish on an address that is not there.
        on("app1", "systemctl start docker")
        wait_for(
            "the engine tried",
            30,
            lambda: "cannot assign" in on("app1", "docker inspect -f '{{.State.Error}}' $(docker ps -aq)"),
        )
        assert not [name for name in reviews.containers("app1") if "-web-" in name]
    finally:
        on("app1", f"ip addr add {address} dev eth0 2>/dev/null || true")
        on(
            "app1",
            "ip route add default via $(ip -o -4 addr show dev eth0 | awk '{print $4}' | sed 's,[0-9]*/.*,1,') || true",
        )
    wait_for("it serves again", 60, lambda: set(reviews.containers("app1")) == before)
    assert (done := reviews.deploy("v1")).code == 0, done.output[-4000:]
    assert done.changed == 0, done.output[-4000:]


def test_nginx_is_there_again_when_its_master_dies(reviews: System) -> None:
    ship(reviews, "v1")
    assert reviews.deploy("v1").code == 0
    on("edge1", "kill -9 $(cat /run/nginx.pid)")
    wait_for("nginx answers again", 15, lambda: reviews.version() == "1.0.0")


@pytest.mark.parametrize(
    ("phase", "hosts"), CUTS, ids=lambda one: one if isinstance(one, str) else "+".join(one)
)
def test_a_power_cut_in_a_release_ends_settled(reviews: System, phase: str, hosts: tuple[str, ...]) -> None:
    ship(reviews, "v1")
    run = reviews.start("deploy.yml", app_version="v2", release_force=True, watch_seconds=6)
    seen = until(run, f"== {phase.capitalize()}")
    time.sleep(0.7)
    subprocess.run(
        ["docker", "kill", *(f"{FLEET}-{host}" for host in hosts)], check=True, capture_output=True
    )
    assert run.stdout is not None
    seen += run.stdout.read()
    run.wait(timeout=300)
    assert (back := reviews.run("playbooks/fleet.yml")).code == 0, back.output[-3000:]
    # What is live serves again before anybody has typed anything.
    wait_for("something serves", 90, lambda: reviews.version() in ("1.0.0", "2.0.0"))
    served = reviews.version()
    done = reviews.rollback() if served == "2.0.0" else reviews.deploy("v1")
    assert done.code == 0, seen[-2000:] + done.output[-4000:]
    assert reviews.version() == "1.0.0"
    for host in HOSTS:
        assert all(one.get("verdict") for one in reviews.records(host)), host
    for host in ("app1", "app2"):
        assert len({name.split("-")[1] for name in reviews.containers(host)}) == 1
