"""Workers that are handed over in the background: the call returns at once, and the next one finds it done."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.common.arg_spec import ModuleArgumentSpecValidator
from ansible.module_utils.slipway.lean import controller as lean

NAME = "slipway-test-background"
# Takes two seconds to end.
WORKER = "trap 'sleep 2; exit 0' TERM; while true; do sleep 0.1; done"
COMPOSE = f"""
services:
  worker: {{image: "slipway/debian:13", command: [sh, -c, "{WORKER}"], stop_grace_period: 20s}}
"""


def colours(directories: dict[str, str], path: str = os.environ["PATH"], **arguments: Any) -> dict[str, Any]:
    """Run the module as a host does."""
    _, spec = lean.prepared("compose_colours")
    given = {"name": NAME, "colours": directories, "settled": 0, **arguments}
    validated = ModuleArgumentSpecValidator(spec["argument_spec"]).validate(given)
    program = lean.program("compose_colours", validated.validated_parameters)
    done = subprocess.run(
        [sys.executable, "-"],
        input=program,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PATH": path},
    )
    said: dict[str, Any] = json.loads(done.stdout.rpartition(lean.MARK)[2])
    return said


def statuses() -> dict[str, str]:
    """Return the states of the workers by colour."""
    listed = ["docker", "ps", "-a", "--filter", f"name={NAME}", "--format", "{{.Names}} {{.State}}"]
    lines = subprocess.run(listed, capture_output=True, text=True, check=True).stdout.split("\n")
    return {name.split("-")[-3]: state for name, _, state in (line.partition(" ") for line in lines if line)}


@pytest.fixture
def directories(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Files for both colours; green works."""
    made = {}
    for colour in ("blue", "green"):
        root = tmp_path / f"20261122T10000{len(made)}Z-abcdef1"
        root.mkdir()
        (root / "compose.yaml").write_text(COMPOSE)
        (root / f"slipway-{colour}.yaml").write_text("{}")
        (root / ".env").touch()
        spec = {
            "files": ["compose.yaml"],
            "env_file": ".env",
            "directory": "",
            "web": [],
            "worker": ["worker"],
        }
        (root / "colour.json").write_text(json.dumps(spec))
        made[colour] = str(root)
    colours(made, absent=["blue", "green"])
    assert not colours(made, workers="green").get("failed")
    yield made
    colours(made, absent=["blue", "green"])


def test_the_next_call_finds_the_work_handed_over(directories: dict[str, str]) -> None:
    assert statuses() == {"green": "running"}
    begun = colours(directories, workers="blue", wait=False)
    assert begun["changed"] is True and "blue: start worker" in begun["diff"]["after"]
    # The old one has not ended yet, and so the new one has not begun.
    assert statuses() == {"green": "running"}
    done = colours(directories, workers="blue")
    assert done["changed"] is False
    assert statuses() == {"green": "exited", "blue": "running"}


def test_what_goes_wrong_in_the_background_is_said_by_the_next_call(directories: dict[str, str]) -> None:
    (Path(directories["blue"]) / "compose.yaml").write_text(
        "services: {worker: {image: 'slipway/nowhere:1'}}"
    )
    assert not colours(directories, workers="blue", wait=False).get("failed")
    done = colours(directories, workers="blue")
    assert done["failed"] is True and "slipway/nowhere:1" in done["msg"]


def test_a_call_that_only_starts_web_services_waits_as_well(directories: dict[str, str]) -> None:
    colours(directories, workers="blue", wait=False)
    assert not colours(directories, running=["green"]).get("failed")
    assert statuses() == {"green": "exited", "blue": "running"}


def test_containers_whose_files_the_application_writes_to_are_left_to_compose(
    directories: dict[str, str],
) -> None:
    root = Path(directories["green"])
    spec = json.loads((root / "colour.json").read_text())
    (root / "colour.json").write_text(json.dumps({**spec, "replicas": {"worker": 1}}))
    (root / "SingletonLock").symlink_to("nowhere")
    done = colours(directories, workers="green")
    assert not done.get("failed"), done
    assert statuses() == {"green": "running"}


def test_what_an_earlier_release_left_running_in_a_colour_ends_when_the_next_one_starts_in_it(
    directories: dict[str, str],
) -> None:
    # The host was away when its worker moved to another one, and is back with all that ran on it.
    described = Path(directories["green"]) / "colour.json"
    described.write_text(json.dumps({**json.loads(described.read_text()), "worker": []}))
    assert statuses() == {"green": "running"}
    done = colours(directories, running=["green"])
    assert not done.get("failed") and done["changed"] is True, done
    assert statuses() == {}


def test_a_host_without_an_engine_has_nothing_to_remove(directories: dict[str, str]) -> None:
    done = colours(directories, path="/nowhere", absent=["blue", "green"], workers="none")
    assert not done.get("failed") and done["changed"] is False, done
    assert colours(directories, path="/nowhere", running=["green"])["failed"] is True
