"""Starting the services of a Compose project, on the local Docker engine."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible.module_utils.slipway.containers import Container, uptime
from ansible.module_utils.slipway.project import Project, ProjectError

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
