"""A system on this machine: the application's Compose file, what slipway adds to it, and the real Compose."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.slipway.compose import yaml as yamlfile
from ansible.module_utils.slipway.compose.files import Compose, load
from ansible.module_utils.slipway.compose.override import resources
from ansible.module_utils.slipway.model.system import Service, System

NAME = "compose-t"
IMAGE = "slipway/debian:13"
FILE = """
name: theirs
x-common: &common
  image: slipway/debian:13
  init: true
  command: sleep 1000
services:
  web:
    <<: *common
    build: {context: .}
    scale: 1
    restart: always
    env_file: .env
    environment: ["SEEN=${TOLD}"]
    depends_on:
      db: {condition: service_healthy}
      migrate: {condition: service_completed_successfully}
      api: {condition: service_started}
    networks: {back: {}, front: {aliases: [shop]}}
    volumes: ["uploads:/data", "./conf:/conf:ro", "pinned:/pinned"]
  api:
    <<: *common
    networks: [back]
    depends_on: [db]
  worker:
    <<: *common
    profiles: [full]
    networks: [back]
    depends_on: [db]
  migrate:
    <<: *common
    command: "true"
    networks: [back]
    depends_on: [db]
  db:
    <<: *common
    volumes: ["pg:/var/lib/data"]
    ports: ["5432:5432"]
    networks: [back]
  mail: {image: "example.test/mail:1", ports: ["1025:1025"], networks: [dev]}
networks:
  front: {name: fixed}
  back: {driver: bridge}
  dev:
volumes:
  pg: {driver: local}
  uploads:
    driver: local
    driver_opts: {type: tmpfs, device: tmpfs}
  pinned: {name: compose-t-kept}
"""


def system(stateful_elsewhere: bool = False) -> System:
    """Two app hosts; the database is on the first, or on a host of its own."""
    services = [
        Service("web", "web", port=8000, replicas=2, drain=1),
        Service("api", "web", port=9000),
        Service("worker", "worker", single_active=True, drain=1),
        Service("migrate", "job"),
        Service("db", "stateful", port=5432, drain=1),
    ]
    addresses = {"app1": "127.0.0.1", "app2": "127.0.0.2", "data1": "192.0.2.7"}
    return System(
        name=NAME,
        port_base=22800 - 100,  # so that green starts at 22800
        services={service.name: service for service in services},
        app_hosts=["app1", "app2"],
        data_hosts=["data1" if stateful_elsewhere else "app1"],
        addresses=addresses,
    )


def docker(*arguments: str, check: bool = True) -> str:
    """Run docker and return what it prints."""
    ran = subprocess.run(["docker", *arguments], capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0 or not check, ran.stderr
    return ran.stdout.strip()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """The application's source with its environment."""
    (tmp_path / "compose.yaml").write_text(FILE)
    (tmp_path / ".env").write_text("TOLD='a$b'\n")
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "a").write_text("configured")
    return tmp_path


@pytest.fixture
def compose(source: Path) -> Compose:
    """The application's Compose file, as slipway reads it."""
    loaded = load(source, ["compose.yaml"])
    assert loaded.problems == []
    return loaded


Run = Callable[..., str]


@pytest.fixture
def run(source: Path) -> Run:
    """Run docker compose for a project with an override, exactly as on a host."""

    def compose_run(project: str, override: dict[str, Any], *arguments: str, check: bool = True) -> str:
        (source / "slipway.yaml").write_text(yamlfile.dump(override))
        files = ["-f", str(source / "compose.yaml"), "-f", str(source / "slipway.yaml")]
        where = ["--project-directory", str(source), "--env-file", str(source / ".env")]
        return docker("compose", "-p", project, *where, *files, *arguments, check=check)

    return compose_run


@pytest.fixture
def ready(compose: Compose) -> Iterator[None]:
    """Create what slipway creates before Compose runs, and remove every trace afterwards."""
    found = resources(compose, system(), "app1")
    for network in found["networks"]:
        docker("network", "create", "--label", f"slipway.system={NAME}", network["name"])
    for volume in found["volumes"]:
        docker("volume", "create", "--label", f"slipway.system={NAME}", volume["name"])
    yield
    mine = ["--filter", f"label=slipway.system={NAME}"]
    for container in docker("ps", "-aq", *mine).split():
        docker("rm", "-f", container)
    for project in (NAME, f"{NAME}-blue", f"{NAME}-green"):
        for network in docker(
            "network", "ls", "-q", "--filter", f"label=com.docker.compose.project={project}"
        ).split():
            docker("network", "rm", network)
    for network in docker("network", "ls", "-q", *mine).split():
        docker("network", "rm", network)
    for volume in docker("volume", "ls", "-q", *mine).split():
        docker("volume", "rm", volume)


def config(text: str) -> dict[str, Any]:
    """Parse `docker compose config --format json`."""
    parsed: dict[str, Any] = json.loads(text)
    return parsed
