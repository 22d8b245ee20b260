"""One list of phases, and whoever else has them in an order."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.slipway.model import phases

ROOT = Path(__file__).resolve().parents[3]


def imported(playbook: str) -> list[str]:
    """The phases a top-level playbook imports, in order; each has its name as tag."""
    plays = yaml.safe_load((ROOT / playbook).read_text())
    names = [Path(play["ansible.builtin.import_playbook"]).stem for play in plays]
    assert names[0] == "fleet"
    titles = {phase.name: phase.title for phase in phases.PHASES}
    assert [play["name"] for play in plays[1:]] == [titles[name] for name in names[1:]]
    assert [play["tags"] for play in plays[1:]] == [[name] for name in names[1:]]
    return names[1:]


@pytest.mark.parametrize(
    ("playbook", "kind"), [("deploy.yml", phases.DEPLOY), ("rollback.yml", phases.ROLLBACK)]
)
def test_the_playbooks_have_the_phases_in_this_order(playbook: str, kind: str) -> None:
    assert imported(playbook) == phases.of_kind(kind)


@pytest.mark.parametrize("name", phases.NAMES)
def test_each_phase_is_a_playbook_that_says_which_it_is(name: str) -> None:
    plays: list[dict[str, Any]] = yaml.safe_load((ROOT / "playbooks" / f"{name}.yml").read_text())
    named = [play for play in plays if play.get("vars", {}).get("slipway_phase")]
    assert named, f"playbooks/{name}.yml sets no slipway_phase"
    assert {play["vars"]["slipway_phase"] for play in named} == {name}
    assert all(play["name"].lower().startswith(f"{name} ·") for play in named), "its headline on the screen"


def test_the_architecture_page_lists_them() -> None:
    page = (ROOT / "docs/ARCHITECTURE.md").read_text()
    table = page[page.index("| phase | does |") :].split("\n\n")[0]
    assert re.findall(r"^\| (\w+) \|", table, re.MULTILINE)[1:] == phases.of_kind(phases.DEPLOY)


def test_what_needs_what() -> None:
    assert phases.needs("switch", phases.DEPLOY) == phases.needs("switch", phases.ROLLBACK) == "verify"
    assert phases.needs("start", phases.ROLLBACK) == "rollback"
    assert phases.needs("finish", phases.ROLLBACK) == "confirm"
    assert phases.needs("finish", phases.DEPLOY) == "watch"
    assert phases.needs("preflight", phases.DEPLOY) is phases.needs("backup", phases.ROLLBACK) is None


def test_traffic_moves_with_the_switch() -> None:
    for kind in (phases.DEPLOY, phases.ROLLBACK):
        names = phases.of_kind(kind)
        after = names[names.index("switch") :]
        assert [name for name in names if not phases.before_traffic(name)] == after
    assert not phases.before_traffic("no phase"), "what is not known may have moved traffic"


def test_the_latest_of_several() -> None:
    assert phases.latest(["verify", None, "backup", "no phase"]) == "verify"
    assert phases.latest([None, "no phase"]) is None
