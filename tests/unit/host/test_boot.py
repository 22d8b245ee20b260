"""What is started after a boot."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.slipway.host import boot


def container(project: str, name: str, running: bool = False, error: str = "", **more: Any) -> dict[str, Any]:
    labels = {"com.docker.compose.project": project, "com.docker.compose.oneoff": more.get("oneoff", "False")}
    return {
        "Name": f"/{project}-{name}",
        "Config": {"Labels": labels},
        "State": {"Running": running, "Error": error},
        "HostConfig": {"RestartPolicy": {"Name": more.get("restart", "unless-stopped")}},
    }


FOUND = [
    container("shop", "db"),
    container("shop-blue", "web"),
    container("shop-blue", "worker"),
    container("shop-blue", "job", restart="no"),
    container("shop-blue", "run", oneoff="True"),
    container("shop-green", "web"),
    container("shop-green", "late", error="cannot assign requested address"),
    container("other-blue", "web", error="cannot assign requested address"),
    container("shop-blue", "up", running=True),
]


@pytest.mark.parametrize(
    ("colour", "under_way", "names"),
    [
        ("blue", False, ["shop-blue-web", "shop-blue-worker", "shop-db", "shop-green-late"]),
        ("blue", True, ["shop-db", "shop-green-late"]),
        ("", False, ["shop-db", "shop-green-late"]),
    ],
)
def test_what_is_live_is_started_and_what_the_engine_could_not_start(
    colour: str, under_way: bool, names: list[str]
) -> None:
    assert boot.wanted("shop", colour, under_way, FOUND) == names


def write(root: Path, name: str, **record: Any) -> None:
    directory = root / "releases" / name
    directory.mkdir(parents=True)
    (directory / "record.json").write_text(json.dumps({"id": name, **record}))


def test_the_records_say_what_is_live(tmp_path: Path) -> None:
    assert boot.live(tmp_path) == ("", False)
    write(tmp_path, "r2", colour="blue", verdict="live", generation=3)
    write(tmp_path, "r9", colour="green", verdict="live", generation=1, live_until="x")
    (tmp_path / "releases/r2/broken").mkdir()
    assert boot.live(tmp_path) == ("blue", False)
    write(tmp_path, "r3", colour="green", verdict=None)
    (tmp_path / "releases" / "r9" / "record.json").write_text("{")
    assert boot.live(tmp_path) == ("blue", True)


def test_it_is_tried_until_the_address_is_there(tmp_path: Path) -> None:
    root = tmp_path / "shop"
    write(root, "r2", colour="blue", verdict="live")
    started: list[str] = []

    def run(command: list[str]) -> str:
        if command[1] == "ps":
            return "1"
        if command[1] == "inspect":
            return json.dumps([container("shop-blue", "web", running=len(started) > 2)])
        started.append(command[2])
        return ""

    assert boot.bring(root, run, patience=5, pause=0) == []
    assert started == ["shop-blue-web"] * 3
    assert boot.bring(root, lambda c: "1" if c[1] == "ps" else json.dumps([FOUND[1]]), 0, 0) == [
        "shop-blue-web"
    ]
    assert boot.bring(root, lambda _: "", 0, 0) == []
