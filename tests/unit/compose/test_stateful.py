"""Services that keep data: started, and never recreated silently."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.slipway.compose import stateful
from ansible.module_utils.slipway.compose.project import ProjectError


class Engine:
    """An engine that has a container for each of `running`, made from the configuration `made`; files ask for `asked`."""

    def __init__(self, running: list[str], made: str = "1111", asked: str = "1111") -> None:
        self.running, self.made, self.asked = running, made, asked
        self.ran: list[list[str]] = []

    def run(self, command: list[str]) -> tuple[int, str, str]:
        self.ran.append(command)
        if "config" in command:
            return 0, f"db {self.asked}\n", ""
        if command[:2] == ["docker", "ps"]:
            return 0, "".join(f"id-{name} shop\n" for name in self.running), ""
        if command[:2] == ["docker", "inspect"]:
            return 0, json.dumps([self.inspected(name) for name in self.running]), ""
        if "up" in command and not ("--no-recreate" in command and self.running):
            self.running, self.made = ["db"], self.asked
        return 0, "", ""

    def inspected(self, name: str) -> dict[str, Any]:
        labels = {
            "com.docker.compose.service": name,
            "com.docker.compose.project": "shop",
            "com.docker.compose.config-hash": self.made,
        }
        return {
            "Id": f"{name}-{self.made}", "Name": f"/shop-{name}-1", "Image": "sha256:0", "Config": {"Labels": labels},
            "State": {"Status": "running", "StartedAt": "2026-11-22T05:54:57Z"}, "NetworkSettings": {},
        }  # fmt: skip

    @property
    def ups(self) -> list[list[str]]:
        return [command for command in self.ran if "up" in command]


@pytest.fixture
def asked(tmp_path: Path) -> dict[str, Any]:
    spec = {"services": ["db"], "files": ["compose.yaml"], "env_file": ".env", "directory": ""}
    (tmp_path / "project.json").write_text(json.dumps(spec))
    return {"name": "shop", "directory": str(tmp_path), "recreate": False, "timeout": 5, "settled": 0}


def test_what_does_not_run_is_started(asked: dict[str, Any]) -> None:
    engine = Engine([])
    planned = stateful.ensure(engine.run, asked, check=True)
    assert planned["changed"] and planned["diff"] == {"before": "", "after": "start db\n"} and not engine.ups
    done = stateful.ensure(engine.run, asked)
    assert done["changed"] and done["diff"]["after"] == "shop-db-1: running, configuration 1111\n"
    assert [one["service"] for one in done["containers"]] == ["db"] and len(engine.ups) == 1


def test_a_changed_configuration_is_reported_and_kept(asked: dict[str, Any]) -> None:
    engine = Engine(["db"], asked="2222")
    done = stateful.ensure(engine.run, asked)
    assert (done["changed"], done["drifted"]) == (False, ["db"]) and done["diff"]["before"] == done["diff"][
        "after"
    ]
    assert [gate["verdict"] for gate in done["gates"]] == ["warn"]
    assert all("--no-recreate" in command for command in engine.ups)


def test_where_it_is_asked_for_a_changed_one_is_recreated(asked: dict[str, Any]) -> None:
    asked["recreate"], engine = True, Engine(["db"], asked="2222")
    planned = stateful.ensure(engine.run, asked, check=True)
    assert planned["changed"] and planned["diff"]["after"].endswith("configuration 1111\nrecreate db\n")
    done = stateful.ensure(engine.run, asked)
    assert done["changed"] and done["gates"] == []
    assert "1111" in done["diff"]["before"] and "2222" in done["diff"]["after"]


def test_files_that_are_yet_to_come_are_no_failure_in_a_plan_alone(
    asked: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "project.json").unlink()
    assert stateful.ensure(Engine([]).run, asked, check=True)["changed"] is True
    with pytest.raises(ProjectError, match="is missing, so shop can't be started"):
        stateful.ensure(Engine([]).run, asked)
