"""Images are built and pulled where they are missing, and named so that the name never moves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.slipway.images.builder import BuildError, provide


class Engine:
    """An engine with images by reference; whatever is in `broken` can be neither built nor pulled."""

    def __init__(self, *images: str, broken: str = "") -> None:
        self.images: dict[str, dict[str, str]] = {name: {} for name in images}
        self.broken = broken
        self.ran: list[list[str]] = []

    def run(self, command: list[str], environ_update: dict[str, str] | None = None) -> tuple[int, str, str]:
        self.ran.append(command)
        if command[:3] == ["docker", "image", "inspect"]:
            if command[3] not in self.images:
                return 1, "", "Error: No such image"
            found = {"Id": "sha256:0123456789abcdef", "Config": {"Labels": self.images[command[3]]}}
            return 0, json.dumps([found]), ""
        if command[:2] == ["docker", "pull"]:
            self.images[command[-1]] = {}
            return (1, "", "denied") if command[-1] == self.broken else (0, "", "")
        if command[0] == "sh":
            assert environ_update is not None and environ_update["DOCKER_BUILDKIT"] == "1"
            Path(command[4]).write_text("the last line")
            tag = command[command.index("--tag") + 1]
            if tag == self.broken:
                return 1, "", ""
            self.images[tag] = dict([command[command.index("--label") + 1].split("=")])
        return 0, "", ""

    def did(self, *words: str) -> bool:
        return any(set(words) <= set(command) for command in self.ran)


@pytest.fixture
def asked(tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "Dockerfile").touch()
    return {
        "source": str(tmp_path), "revision": "abc", "builds": [{"service": "web", "tag": None}], "prefix": "shop",
        "tag": "1", "references": [{"service": "db", "reference": "postgres:17"}], "unpinned": ["db"],
        "ca_file": None, "proxy": None, "log": str(tmp_path / "build.log"),
    }  # fmt: skip


def test_what_is_missing_is_built_and_pulled_and_what_is_there_is_not(asked: dict[str, Any]) -> None:
    engine = Engine()
    done = provide(engine.run, asked)
    assert (
        done["changed"]
        and done["diff"]["after"] == "build shop/web:1-0123456789ab (web)\npull postgres:17 (db)\n"
    )
    # A database keeps the name it was given; whatever is released gets one of its own.
    assert {name: image["reference"] for name, image in done["images"].items()} == {
        "web": "shop/web:1-0123456789ab", "db": "postgres:17",
    }  # fmt: skip
    assert engine.did("tag", "shop/web:1-0123456789ab")
    engine.ran.clear()
    again = provide(engine.run, asked)
    assert (
        not again["changed"]
        and again["diff"]["after"] == ""
        and not engine.did("pull")
        and not engine.did("sh")
    )
    assert provide(engine.run, {**asked, "revision": "abd"})["changed"]


def test_a_plan_builds_pulls_and_names_nothing(asked: dict[str, Any]) -> None:
    engine = Engine("postgres:17")
    planned = provide(engine.run, {**asked, "unpinned": []}, check=True)
    assert planned["diff"]["after"] == "build shop/web:1 (web)\n" and planned["images"]["web"]["id"] == ""
    assert {tuple(command[:3]) for command in engine.ran} == {("docker", "image", "inspect")}


def test_what_can_not_be_had_is_said(asked: dict[str, Any]) -> None:
    with pytest.raises(BuildError, match="the last line") as failed:
        provide(Engine(broken="shop/web:1").run, asked)
    assert failed.value.result == {"rc": 1}
    with pytest.raises(BuildError, match="cannot be pulled: denied"):
        provide(Engine(broken="postgres:17").run, asked)
    with pytest.raises(BuildError, match=r"ca_file\) does not exist"):
        provide(Engine().run, {**asked, "ca_file": "/no/such/file"})
    with pytest.raises(BuildError, match="builds need a source"):
        provide(Engine().run, {**asked, "source": None})
    with pytest.raises(BuildError, match="Is Docker installed and running on the controller"):
        provide(lambda _command, **_more: (127, "", "no docker"), {**asked, "builds": []})
