"""The embedded fleet: whoever has been let into a host is not let in again, until the host is another."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest
from ansible.module_utils.slipway.fleet import Fleet

from .conftest import sh


class Counted(Fleet):
    """A fleet that counts how often a host is entered through the engine."""

    entered = 0

    def _let_in(self, container: Any, key: Path, timeout: int) -> str:
        self.entered += 1
        return super()._let_in(container, key, timeout)


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Counted]:
    made = Counted(docker.from_env(), "slipway-test-fleet", "slipway/host:13", str(tmp_path / "fleet"))
    made.remove(check=False)
    yield made
    made.remove(check=False)


def reached(fleet: Counted) -> str:
    """Return what the host says its name is, over SSH with the fleet's key and the host keys it knows."""
    options = f"-o UserKnownHostsFile={fleet.directory}/known_hosts -o BatchMode=yes -i {fleet.directory}/id_ed25519"
    address = fleet.containers()["one"].labels["slipway.address"]
    return sh("ssh", *options.split(), f"root@{address}", "hostname")


def test_a_host_is_entered_once_a_start(fleet: Counted) -> None:
    assert fleet.ensure(["one"], 60, check=False)["created"] == ["one"]
    assert reached(fleet) == "one"
    assert fleet.ensure(["one"], 60, check=False)["changed"] is False
    assert fleet.entered == 1
    fleet.containers()["one"].restart(timeout=1)
    assert fleet.ensure(["one"], 60, check=False)["changed"] is False
    assert fleet.entered == 2
    assert reached(fleet) == "one"


def test_a_key_that_is_new_is_let_in(fleet: Counted) -> None:
    fleet.ensure(["one"], 60, check=False)
    (fleet.directory / "id_ed25519").unlink()
    (fleet.directory / "id_ed25519.pub").unlink()
    fleet.ensure(["one"], 60, check=False)
    assert reached(fleet) == "one"
