"""The second Compose file makes blue/green of an application's own, with the real Compose."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ansible.module_utils.slipway.compose import yaml as yamlfile
from ansible.module_utils.slipway.compose.files import Compose, load, minimal
from ansible.module_utils.slipway.compose.images import images
from ansible.module_utils.slipway.compose.override import colour_override, resources, stateful_override
from ansible.module_utils.slipway.model.system import System

from .conftest import IMAGE, NAME, Run, config, docker, system

IMAGES = {"web": IMAGE, "api": IMAGE, "worker": IMAGE, "migrate": IMAGE, "db": IMAGE}


def test_config_of_a_colour(compose: Compose, run: Run) -> None:
    override = colour_override(compose, system(), "blue", "app1", "r1", IMAGES)
    seen = config(run(f"{NAME}-blue", override, "config", "--format", "json"))
    assert set(seen["services"]) == {"web", "api", "worker", "migrate"}
    web = seen["services"]["web"]
    assert web["image"] == IMAGE
    assert "build" not in web
    assert "scale" not in web
    assert web["pull_policy"] == "never"
    assert web["restart"] == "unless-stopped"
    assert web["deploy"]["replicas"] == 2
    assert web["stop_grace_period"] == "1s"
    assert [(port["host_ip"], port["published"], port["target"]) for port in web["ports"]] == [
        ("127.0.0.1", "22700-22701", 8000)
    ]
    assert list(web["depends_on"]) == ["api"]
    assert web["environment"]["SEEN"] == "a$$b"
    assert web["environment"]["TOLD"] == "a$$b"
    assert web["logging"]["options"]["max-size"] == "10m"
    assert web["labels"] == {"slipway.system": NAME, "slipway.release": "r1", "slipway.colour": "blue"}
    assert seen["services"]["api"]["ports"][0]["published"] == "22720"
    assert not seen["services"]["worker"].get("depends_on")
    assert seen["services"]["worker"].get("profiles") is None
    assert seen["networks"] == {
        "back": {"name": f"{NAME}-blue_back", "ipam": {}, "external": True},
        "front": {"name": f"{NAME}-blue_front", "ipam": {}},
    }
    assert {volume["name"] for volume in seen["volumes"].values()} == {f"{NAME}_uploads", "compose-t-kept"}
    assert all(volume["external"] for volume in seen["volumes"].values())


def test_config_of_the_second_host(compose: Compose, run: Run) -> None:
    override = colour_override(compose, system(), "green", "app2", "r1", IMAGES)
    seen = config(run(f"{NAME}-green", override, "config", "--format", "json"))
    assert set(seen["services"]) == {"web", "api", "migrate"}, (
        "the single-active worker runs on the first host"
    )
    assert seen["services"]["web"]["ports"][0]["published"] == "22800-22801"
    assert seen["services"]["web"]["ports"][0]["host_ip"] == "127.0.0.2"
    assert seen["services"]["web"]["extra_hosts"] == ["db=127.0.0.1"]
    assert seen["networks"]["back"] == {"name": f"{NAME}-green_back", "ipam": {}, "driver": "bridge"}


def test_config_of_the_stateful_services(compose: Compose, run: Run) -> None:
    override = stateful_override(compose, system(), "app1", IMAGES)
    seen = config(run(NAME, override, "config", "--format", "json"))
    assert set(seen["services"]) == {"db"}
    database = seen["services"]["db"]
    assert [(port["host_ip"], port["published"]) for port in database["ports"]] == [("127.0.0.1", "5432")]
    assert "slipway.release" not in database["labels"], "a new release must not recreate a database"
    assert {network["name"] for network in seen["networks"].values()} == {
        f"{NAME}-blue_back",
        f"{NAME}-green_back",
    }
    assert seen["volumes"]["pg"] == {"name": f"{NAME}_pg", "external": True}
    assert set(seen["volumes"]) == {"pg"}


def test_config_on_a_data_host(compose: Compose, run: Run) -> None:
    apart = system(stateful_elsewhere=True)
    seen = config(run(NAME, stateful_override(compose, apart, "data1", IMAGES), "config", "--format", "json"))
    assert seen["services"]["db"]["ports"][0]["host_ip"] == "192.0.2.7"
    assert seen["networks"] == {"back": {"name": f"{NAME}_back", "ipam": {}, "driver": "bridge"}}
    assert [volume["name"] for volume in resources(compose, apart, "data1")["volumes"]] == [f"{NAME}_pg"]
    assert resources(compose, apart, "data1")["networks"] == []


def inspect(project: str, service: str) -> list[dict]:
    """Return what Docker knows of the containers of a service."""
    labels = [f"label=com.docker.compose.project={project}", f"label=com.docker.compose.service={service}"]
    found = docker(
        "ps", "-q", "--no-trunc", *(part for label in labels for part in ("--filter", label))
    ).split()
    return json.loads(docker("inspect", *found)) if found else []


@pytest.mark.usefixtures("ready")
def test_both_colours_beside_one_database(compose: Compose, run: Run) -> None:
    blue = colour_override(compose, system(), "blue", "app1", "r1", IMAGES)
    green = colour_override(compose, system(), "green", "app1", "r2", IMAGES)
    # Another range than the declared one, and no database port: other tests of this machine own those.
    stateful = stateful_override(compose, system(), "app1", IMAGES)
    stateful["services"]["db"]["ports"].value = ["127.0.0.1:22845:5432"]
    blue["services"]["web"]["ports"].value = ["127.0.0.1:22802-22803:8000"]
    blue["services"]["api"]["ports"].value = ["127.0.0.1:22804:9000"]
    run(NAME, stateful, "up", "-d", "--no-deps", "db")
    run(f"{NAME}-blue", blue, "up", "-d", "--no-deps", "web", "api", "worker")
    before = inspect(NAME, "db")[0]["Id"], inspect(f"{NAME}-blue", "web")[0]["Id"]
    run(f"{NAME}-green", green, "up", "-d", "--no-deps", "web", "api")

    published = {
        binding["HostPort"]
        for container in inspect(f"{NAME}-green", "web")
        for bindings in container["NetworkSettings"]["Ports"].values()
        for binding in bindings or []
    }
    assert published == {"22800", "22801"}
    assert len(inspect(f"{NAME}-blue", "web")) == 2
    mounted = {
        mount["Name"]
        for container in inspect(f"{NAME}-green", "web")
        for mount in container["Mounts"]
        if "Name" in mount
    }
    assert mounted == {f"{NAME}_uploads", "compose-t-kept"}

    # Names lead to the own colour and to the one database.
    web = inspect(f"{NAME}-green", "web")[0]
    own = {
        net["IPAddress"] for net in inspect(f"{NAME}-green", "api")[0]["NetworkSettings"]["Networks"].values()
    }
    database = {net["IPAddress"] for net in inspect(NAME, "db")[0]["NetworkSettings"]["Networks"].values()}
    for _ in range(10):
        assert docker("exec", web["Id"], "getent", "hosts", "api").split()[0] in own
        assert docker("exec", web["Id"], "getent", "hosts", "db").split()[0] in database
    # A job of the new colour runs beside it.
    run(f"{NAME}-green", green, "run", "--rm", "--no-deps", "-T", "migrate", "cat", "/etc/hostname")

    # The same again changes nothing; a new release leaves the database and the other colour alone.
    run(NAME, stateful, "up", "-d", "--no-deps", "db")
    ids = [container["Id"] for container in inspect(f"{NAME}-green", "web")]
    run(f"{NAME}-green", green, "up", "-d", "--no-deps", "web", "api")
    assert [container["Id"] for container in inspect(f"{NAME}-green", "web")] == ids
    assert (inspect(NAME, "db")[0]["Id"], inspect(f"{NAME}-blue", "web")[0]["Id"]) == before
    run(f"{NAME}-green", green, "down", "-t", "1")
    assert inspect(f"{NAME}-green", "web") == []
    assert inspect(NAME, "db")[0]["State"]["Running"]
    assert docker("volume", "inspect", f"{NAME}_uploads")


def test_a_system_of_images_alone(tmp_path: Path) -> None:
    services = {
        "web": {"kind": "web", "port": 80, "image": IMAGE, "health": "/"},
        "db": {
            "kind": "stateful",
            "image": "slipway/postgres:17",
            "port": 5432,
            "data": "/var/lib/postgresql/data",
        },
    }
    alone = System.of(
        {"app_name": NAME, "app_services": services}, {"app": ["one"], "data": ["one"]}, {"one": "::1"}
    )
    (tmp_path / "compose.yaml").write_text(yamlfile.dump(minimal(alone, environment=True)))
    (tmp_path / ".env").write_text("A=1\n")
    compose = load(tmp_path, ["compose.yaml"])
    pinned = images(compose, alone, [])
    seen = {}
    for name, override in {
        f"{NAME}-blue": colour_override(compose, alone, "blue", "one", "r1", pinned),
        NAME: stateful_override(compose, alone, "one", pinned),
    }.items():
        (tmp_path / "slipway.yaml").write_text(yamlfile.dump(override))
        files = ["-f", str(tmp_path / "compose.yaml"), "-f", str(tmp_path / "slipway.yaml")]
        seen[name] = config(docker("compose", "-p", name, *files, "config", "--format", "json"))
    web = seen[f"{NAME}-blue"]["services"]["web"]
    assert web["environment"] == {"A": "1"}
    assert web["ports"][0]["host_ip"] == "::1"
    assert {one["name"] for one in seen[f"{NAME}-blue"]["networks"].values()} == {f"{NAME}-blue_default"}
    assert all(one["external"] for one in seen[f"{NAME}-blue"]["networks"].values())
    assert {one["name"] for one in seen[NAME]["networks"].values()} == {
        f"{NAME}-blue_default",
        f"{NAME}-green_default",
    }
    assert set(seen[NAME]["services"]) == {"db"}
    assert seen[NAME]["volumes"]["db-data"] == {"name": f"{NAME}_db-data", "external": True}
