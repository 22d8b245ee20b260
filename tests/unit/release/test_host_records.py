"""The records of a host, as the module release_record keeps them: written by who has the system, refused to all others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.slipway.host import fence
from ansible.module_utils.slipway.release import entry, host_records, records

NAME = "20261121T210000Z-1a2b3c4"


def mine(root: Path, generation: int, token: str) -> dict[str, Any]:
    return {"root": str(root), "generation": generation, "token": token, "owner": token}


def keep(root: Path, state: str, check: bool = False, **more: Any) -> dict[str, Any]:
    asked = {
        "root": str(root), "state": state, "release": NAME, "phase": None, "verdict": None, "reason": None, "data": {},
        "records": [], "keep": 0, "fence": None, **more,
    }  # fmt: skip
    return host_records.keep(asked, lambda _: (0, "", ""), lambda _: None, check)


@pytest.fixture
def begun(tmp_path: Path) -> Path:
    """A host on which run `a`, the second, has begun a release."""
    root = tmp_path / "shop"
    keep(root, "fenced", fence=mine(root, 2, "a"))
    keep(root, "begun", phase="prepare", data={"kind": "deploy", "colour": "blue"}, fence=mine(root, 2, "a"))
    return root


def test_a_record_says_which_run_began_it_and_which_wrote_it(begun: Path) -> None:
    keep(begun, "phase", phase="backup", fence=mine(begun, 2, "a"))
    keep(begun, "fenced", fence=mine(begun, 3, "b"))
    known = keep(begun, "noted", data={"images": {"web": "x"}}, fence=mine(begun, 3, "b"))
    (record,) = known["records"]
    assert (record["generation"], record["written"], record["run"], record["phase"]) == (2, 3, "a", "backup")
    assert known["fence"]["token"] == "b" and known["lost"] is None
    (passed,) = keep(begun, "passed", phase="backup", fence=mine(begun, 3, "b"))["records"]
    assert passed["passed"] == "backup"
    (ended,) = keep(begun, "closed", verdict="abandoned", reason="why", fence=mine(begun, 3, "b"))["records"]
    assert (ended["verdict"], ended["written"]) == ("abandoned", 3)


@pytest.mark.parametrize(
    ("state", "more"),
    [
        ("held", {}),
        ("begun", {"phase": "prepare"}),
        ("phase", {"phase": "backup"}),
        ("noted", {"data": {"x": 1}}),
        ("passed", {"phase": "prepare"}),
        ("closed", {"verdict": "live"}),
        ("synced", {"records": [{"id": NAME, "written": 9}]}),
    ],
)
def test_who_has_lost_the_system_writes_nothing(begun: Path, state: str, more: dict[str, Any]) -> None:
    keep(begun, "fenced", fence=mine(begun, 3, "b"))
    before = (begun / "releases" / NAME / "record.json").read_text()
    with pytest.raises(fence.Lost, match="lost the system to b"):
        keep(begun, state, fence=mine(begun, 2, "a"), **more)
    assert (begun / "releases" / NAME / "record.json").read_text() == before
    seen = keep(begun, "read", fence=mine(begun, 2, "a"))
    assert seen["lost"]["token"] == "b" and seen["report"]["release"]["verdict"] == "inconclusive"


def test_a_plan_writes_nothing_and_takes_nothing(begun: Path) -> None:
    keep(begun, "fenced", check=True, fence=mine(begun, 9, "b"))
    assert fence.read(begun)["generation"] == 2
    assert keep(begun, "closed", check=True, verdict="live", fence=mine(begun, 9, "b"))["changed"] is False


def test_a_phase_that_comes_too_early_is_refused_and_noted_nowhere(begun: Path) -> None:
    with pytest.raises(entry.NotYet):
        keep(begun, "phase", phase="finish", fence=mine(begun, 2, "a"))
    assert records.Releases(begun).read(NAME)["phase"] == "prepare"


def test_an_engine_that_does_not_answer_is_not_taken_for_an_empty_one(tmp_path: Path) -> None:
    asked = {"root": str(tmp_path / "shop"), "state": "read", "fence": None}
    down = (1, "", "Cannot connect to the Docker daemon")
    with pytest.raises(
        records.ReleaseError, match=r"Cannot connect to the Docker daemon.*\n.*systemctl start docker"
    ):
        host_records.keep(asked, lambda _: down, lambda _: "/usr/bin/docker")


def test_what_is_left_without_a_record_is_seen(tmp_path: Path) -> None:
    listed = {"container": "shop-blue-web-1\n", "volume": "shop_db\n"}

    def run(command: list[str]) -> tuple[int, str, str]:
        wanted = command[1] == "container" or "label=slipway.system=shop" in command
        return 0, listed[command[1]] if wanted and "-green" not in str(command) else "", ""

    asked = {"root": str(tmp_path / "shop"), "state": "read", "fence": None}
    seen = host_records.keep(asked, run, lambda _: "/usr/bin/docker")
    assert {"container shop-blue-web-1", "volume shop_db"} <= set(seen["traces"])
