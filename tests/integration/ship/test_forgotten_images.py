"""What is left of a release that is forgotten: no image that only it had."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.common.arg_spec import ModuleArgumentSpecValidator
from ansible.module_utils.slipway.lean import controller as lean

from .conftest import sh

NAMES = [f"slipway-test-forgotten:{number}" for number in range(4)]
HOLDER = "slipway-test-forgotten-holder"


@pytest.fixture
def images() -> Iterator[None]:
    """Four images; a container of somebody else runs from the second."""
    sh("docker", "rm", "--force", HOLDER, check=False)
    for name in NAMES:
        # Another content each, or the engine would only take a name away.
        sh(
            "docker",
            "build",
            "--quiet",
            "--tag",
            name,
            "-",
            input=f"FROM slipway/debian:13\nLABEL one={name}\n",
        )
    sh("docker", "create", "--name", HOLDER, NAMES[1], "true")
    yield
    sh("docker", "rm", "--force", HOLDER, check=False)
    sh("docker", "image", "rm", "--force", *NAMES, check=False)


def record(root: Path, **arguments: Any) -> dict[str, Any]:
    """Run the module as a host does."""
    _, spec = lean.prepared("release_record")
    validated = ModuleArgumentSpecValidator(spec["argument_spec"]).validate({"root": str(root), **arguments})
    program = lean.program("release_record", validated.validated_parameters)
    done = subprocess.run([sys.executable, "-"], input=program, capture_output=True, text=True, check=False)
    said: dict[str, Any] = json.loads(done.stdout.rpartition(lean.MARK)[2])
    return said


def test_images_of_forgotten_releases_go_unless_something_uses_them(images: None, tmp_path: Path) -> None:
    removed = []
    for number, name in enumerate(NAMES):
        identifier = f"20261121T21000{number}Z-1a2b3c{number}"
        data = {"system": "shop", "content": identifier, "colour": "blue", "images": {"web": name}}
        record(tmp_path, state="begun", release=identifier, data=data)
        closed = record(tmp_path, state="closed", release=identifier, verdict="live", keep=2)
        assert not closed.get("failed"), closed
        removed += closed["removed_images"]
        # Records tell time to the second.
        time.sleep(1.1)
    left = sh(
        "docker", "image", "ls", "--format", "{{.Repository}}:{{.Tag}}", "slipway-test-forgotten"
    ).split()
    assert sorted(left) == NAMES[1:], closed
    assert removed == NAMES[:1]
