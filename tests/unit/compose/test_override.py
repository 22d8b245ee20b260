"""The second Compose file, as data; tests/integration/compose runs it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.slipway.compose.files import Compose, load
from ansible.module_utils.slipway.compose.override import colour_override, resources, stateful_override
from ansible.module_utils.slipway.compose.yaml import RESET, Override
from ansible.module_utils.slipway.model.system import System

FILE = """
services:
  web: {image: w, networks: [back, front], volumes: ["up:/u", "own:/o", "theirs:/t"], depends_on: [db, job, worker]}
  worker: {image: w, networks: [back], logging: {driver: local}, scale: 3, extra_hosts: ["x:1.2.3.4"]}
  job: {image: w, networks: [back], restart: always, ports: ["1:1"]}
  db: {image: d, networks: {back: {aliases: [database]}, outside: {}}, volumes: ["pg:/v"], depends_on: [web, redis]}
  redis: {image: r, network_mode: none, ports: ["6379:6379"]}
  dev: {image: x}
networks:
  back: {internal: true}
  front: {}
  outside: {external: true}
  unused: {}
volumes: {up: {driver_opts: {type: tmpfs}}, own: {name: mine}, theirs: {external: true}, pg: {}, unused: {}}
"""
IMAGES = {name: f"{name}:1" for name in ("web", "worker", "job", "db", "redis")}


@pytest.fixture
def compose(tmp_path: Path) -> Compose:
    """The application's file."""
    (tmp_path / "compose.yaml").write_text(FILE)
    return load(tmp_path, ["compose.yaml"])


def system(**groups: list[str]) -> System:
    """A system on `app` and `data` hosts."""
    services = {
        "web": {"kind": "web", "port": 80},
        "worker": {"kind": "worker", "replicas": 2, "drain": 30},
        "job": {"kind": "job"},
        "db": {"kind": "stateful", "port": 5432},
        "redis": {"kind": "stateful"},
    }
    variables = {"app_name": "shop", "app_port_base": 18000, "app_services": services}
    return System.of(variables, groups, {"one": "10.0.0.1", "two": "fd00::2"})


ONE = {"app": ["one"], "data": ["one"]}
APART = {"app": ["two"], "data": ["one"]}


def colour(compose: Compose, groups: dict[str, Any], host: str, release: str = "r1") -> dict[str, Any]:
    """The blue override."""
    return colour_override(compose, system(**groups), "blue", host, release, IMAGES)


def test_released_services(compose: Compose) -> None:
    services = colour(compose, APART, "two")["services"]
    assert services["db"] is RESET
    assert services["redis"] is RESET
    assert services["dev"] is RESET
    assert services["web"]["ports"] == Override(["[fd00::2]:18000:80"])
    assert services["web"]["depends_on"] == Override({"worker": {"condition": "service_started"}})
    assert services["web"]["extra_hosts"] == ["db=10.0.0.1", "redis=10.0.0.1"]
    assert services["worker"]["deploy"] == {"replicas": 2}
    assert services["worker"]["scale"] is RESET
    assert services["worker"]["stop_grace_period"] == "30s"
    assert "logging" not in services["worker"], "the application's own decides"
    assert "stop_grace_period" not in services["web"]
    assert services["job"]["restart"] == "no"
    assert "deploy" not in services["job"]


def test_networks_of_a_colour(compose: Compose) -> None:
    assert colour(compose, APART, "two")["networks"] == {"unused": RESET}
    assert colour(compose, ONE, "one")["networks"] == {
        "back": Override({"external": True, "name": "shop-blue_back"}),
        "unused": RESET,
    }
    assert "extra_hosts" not in colour(compose, ONE, "one")["services"]["web"]


def test_volumes_belong_to_the_system(compose: Compose) -> None:
    blue, green = (
        colour_override(compose, system(**ONE), name, "one", "r1", IMAGES)["volumes"]
        for name in ("blue", "green")
    )
    assert blue == green
    assert blue == {
        "up": Override({"external": True, "name": "shop_up"}),
        "own": Override({"external": True, "name": "mine"}),
        "pg": RESET,
        "unused": RESET,
    }


def test_stateful_services_beside_an_app(compose: Compose) -> None:
    data = stateful_override(compose, system(**ONE), "one", IMAGES)
    assert data["services"]["web"] is RESET
    database = data["services"]["db"]
    assert database["networks"] == Override(
        {"back-blue": {"aliases": ["database"]}, "back-green": {"aliases": ["database"]}, "outside": {}}
    )
    assert database["ports"] == Override(["10.0.0.1:5432:5432"])
    assert database["depends_on"] == Override({"redis": {"condition": "service_started"}})
    redis = data["services"]["redis"]
    assert redis["ports"] == Override([]), "without a declared port nothing is published"
    assert "networks" not in redis
    assert data["networks"] == {
        "front": RESET,
        "unused": RESET,
        "back": RESET,
        "back-blue": {"external": True, "name": "shop-blue_back"},
        "back-green": {"external": True, "name": "shop-green_back"},
    }


def test_stateful_services_on_a_host_of_their_own(compose: Compose) -> None:
    data = stateful_override(compose, system(**APART), "one", IMAGES)
    assert "networks" not in data["services"]["db"]
    assert data["networks"] == {"front": RESET, "unused": RESET}


def test_what_has_to_be_there_first(compose: Compose) -> None:
    labels = {"slipway.system": "shop"}
    assert resources(compose, system(**ONE), "one") == {
        "networks": [
            {"internal": True, "name": "shop-blue_back", "labels": labels},
            {"internal": True, "name": "shop-green_back", "labels": labels},
        ],
        "volumes": [
            {"name": "mine", "labels": labels},
            {"name": "shop_pg", "labels": labels},
            {"driver_opts": {"type": "tmpfs"}, "name": "shop_up", "labels": labels},
        ],
    }
    assert resources(compose, system(**APART), "two")["networks"] == []
    assert [one["name"] for one in resources(compose, system(**APART), "two")["volumes"]] == [
        "mine",
        "shop_up",
    ]
    assert [one["name"] for one in resources(compose, system(**APART), "one")["volumes"]] == ["shop_pg"]


def test_only_labels_tell_releases_apart(compose: Compose) -> None:
    first, second = (colour(compose, ONE, "one", release) for release in ("r1", "r2"))
    for name in ("web", "worker", "job"):
        assert first["services"][name].pop("labels") != second["services"][name].pop("labels")
    assert first == second
