"""Starting the services of a Compose project, on the local Docker engine."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible.module_utils.slipway.compose.containers import Container, uptime
from ansible.module_utils.slipway.compose.project import Project, ProjectError

pytestmark = pytest.mark.skipif(shutil.which("docker") is None, reason="needs Docker")

COMPOSE = """
services:
  steady: {image: "slipway/debian:13", command: [sleep, "60"], init: true}
  crashing: {image: "slipway/debian:13", command: [sh, -c, "sleep 1; exit 3"], restart: always}
"""


def run(command: list[str]) -> tuple[int, str, str]:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    (tmp_path / "compose.yaml").write_text(COMPOSE)
    (tmp_path / "slipway.yaml").write_text("{}")
    (tmp_path / ".env").touch()
    spec = {"files": ["compose.yaml"], "env_file": ".env", "directory": "."}
    (tmp_path / "spec.json").write_text(json.dumps(spec))
    made = Project.of(run, "slipway-test-project", str(tmp_path), "spec.json", "slipway.yaml")
    made.remove()
    yield made
    made.remove()


@pytest.fixture
def released(tmp_path: Path) -> Iterator[tuple[Project, list[str]]]:
    """A project of two replicas as a release has it, and which Compose commands it has run."""
    root = tmp_path / "20261122T100000Z-abcdef1"
    root.mkdir()
    (root / "compose.yaml").write_text(COMPOSE)
    labelled = "services: {steady: {labels: {slipway.release: 20261122T100000Z-abcdef1}, scale: 2}}"
    (root / "slipway-blue.yaml").write_text(labelled)
    (root / ".env").touch()
    spec = {"files": ["compose.yaml"], "env_file": ".env", "directory": "", "replicas": {"steady": 2}}
    (root / "colour.json").write_text(json.dumps(spec))
    composed: list[str] = []

    def watched(command: list[str]) -> tuple[int, str, str]:
        composed.extend(command[command.index("--file") :][-1:] if "compose" in command else [])
        return run(command)

    made = Project.of(watched, "slipway-test-released", str(root), "colour.json", "slipway-blue.yaml")
    made.remove()
    made.up(["steady"], recreate=True, timeout=20, settled=0)
    composed.clear()
    yield made, composed
    made.remove()


def ids(project: Project) -> set[str]:
    return {found["id"] for found in project.containers() if found["status"] == "running"}


def test_containers_of_the_same_files_are_started_without_compose(
    released: tuple[Project, list[str]],
) -> None:
    project, composed = released
    before = ids(project)
    project.up(["steady"], recreate=True, timeout=20, settled=0)
    assert ids(project) == before and not composed
    project.stop()
    assert not ids(project)
    project.up(["steady"], recreate=True, timeout=20, settled=0)
    assert ids(project) == before and not composed


@pytest.mark.parametrize("what", ["a file", "a replica", "the network"])
def test_where_anything_else_is_so_compose_looks(released: tuple[Project, list[str]], what: str) -> None:
    project, composed = released
    before = ids(project)
    if what == "a file":
        assert project.root
        (project.root / "compose.yaml").write_text(COMPOSE.replace("60", "61"))
    elif what == "a replica":
        project.docker("rm", "--force", next(iter(before)))
    else:
        project.stop()
        project.docker("network", "rm", f"{project.name}_default")
    project.up(["steady"], recreate=True, timeout=20, settled=0)
    assert composed
    assert len(ids(project)) == 2 and ids(project) != before


def up(project: Project, service: str, settled: float = 2, wait: bool = True) -> Container:
    """Start a service and return its container."""
    project.up([service], recreate=True, timeout=20, settled=settled, wait=wait)
    (found,) = project.containers([service])
    return found


def test_one_without_a_health_check_is_ready_when_it_has_been_up_for_a_while(project: Project) -> None:
    first = up(project, "steady")
    assert uptime(first, time.time()) >= 2
    assert up(project, "steady")["started_at"] == first["started_at"]


def test_the_call_that_waits_counts_from_when_the_one_that_did_not_has_started_it(project: Project) -> None:
    started = up(project, "steady", settled=19, wait=False)
    assert started["status"] == "running" and uptime(started, time.time()) < 19
    ready = up(project, "steady", settled=3)
    assert ready["started_at"] == started["started_at"] and uptime(ready, time.time()) >= 3


def test_one_that_crashes_is_not_ready_because_it_was_started_before(project: Project) -> None:
    up(project, "crashing", wait=False)
    with pytest.raises(ProjectError, match="slipway-test-project-crashing-1"):
        up(project, "crashing")
