"""Whether a phase may begin: every phase, in every state that a run can leave."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.slipway.model import phases
from ansible.module_utils.slipway.release import entry

DEPLOY, ROLLBACK = phases.of_kind(phases.DEPLOY), phases.of_kind(phases.ROLLBACK)


def record(at: str, kind: str = phases.DEPLOY, **more: Any) -> dict[str, Any]:
    return {"id": "20261121T210000Z-1a2b3c4", "kind": kind, "phase": at, **more}


def may(one: dict[str, Any], phase: str, run: str = "") -> bool:
    try:
        entry.see(one, phase, run)
    except entry.NotYet:
        return False
    return True


@pytest.mark.parametrize("kind", [phases.DEPLOY, phases.ROLLBACK])
@pytest.mark.parametrize("passed", [False, True])
@pytest.mark.parametrize("at", DEPLOY[1:])
def test_alone_only_the_next_one_and_the_same_again(kind: str, passed: bool, at: str) -> None:
    names = phases.of_kind(kind)
    if at not in names:
        return
    one = record(at, kind, **({"passed": at} if passed else {}))
    following = names[names.index(at) + 1 : names.index(at) + 2] if passed else []
    # Of a rollback also not those that only a deploy has.
    assert [phase for phase in phases.NAMES if may(one, phase, "another run") and phase != names[0]] == [
        phase for phase in names[1:] if phase == at or phase in following
    ]


def test_a_whole_run_goes_from_each_to_the_next() -> None:
    for names, kind in ((DEPLOY, phases.DEPLOY), (ROLLBACK, phases.ROLLBACK)):
        for at, following in zip(names[1:], names[2:]):
            assert may(record(at, kind, run="me"), following, "me")
            assert not may(record(at, kind, run="somebody"), following, "me")
            assert not may(record(at, kind), following, "")


def test_finish_in_a_run_that_was_killed_in_start_is_refused_with_what_comes_first() -> None:
    with pytest.raises(entry.NotYet) as refused:
        entry.see(record("start", run="killed"), "finish", "me")
    said = str(refused.value)
    assert "finish comes after watch, and release 20261121T210000Z-1a2b3c4 is in phase start" in said
    assert "not known to have passed" in said and "deploy.yml" in said


def test_a_phase_never_goes_back_to_one_before() -> None:
    for at, before in zip(DEPLOY[2:], DEPLOY[1:]):
        assert not may(record(at, run="me", passed=at), before, "me")


def test_a_warm_rollback_has_traffic_at_once_but_only_its_own_run_skips() -> None:
    warm = record("rollback", phases.ROLLBACK, warm=True, run="me")
    assert may(warm, "switch", "me") and may(warm, "confirm", "me")
    assert not may(warm, "confirm", "another") and not may(warm, "finish", "another")
    assert not may({**warm, "warm": False}, "confirm", "me")


@pytest.mark.parametrize("verdict", ["live", "rolled_back", "abandoned"])
@pytest.mark.parametrize("phase", DEPLOY[1:])
def test_nothing_goes_on_with_a_release_that_has_ended(verdict: str, phase: str) -> None:
    with pytest.raises(entry.NotYet, match="has ended"):
        entry.see(record("finish", verdict=verdict, run="me"), phase, "me")


@pytest.mark.parametrize("phase", DEPLOY[1:])
def test_on_a_live_release_alone(phase: str) -> None:
    live = record("finish", verdict="live")
    if phase in entry.ON_LIVE:
        entry.see_alone(None, live, phase)
    else:
        with pytest.raises(entry.NotYet, match="No release is under way") as refused:
            entry.see_alone(None, live, phase)
        assert "backup" in str(refused.value)


def test_alone_what_is_under_way_counts_not_what_is_live() -> None:
    live = record("finish", verdict="live")
    with pytest.raises(entry.NotYet):
        entry.see_alone(record("start"), live, "backup")
    entry.see_alone(record("start"), live, "start")


def test_what_may_be_run_alone_are_phases_and_the_page_lists_them() -> None:
    assert set(entry.ON_LIVE) <= set(phases.NAMES)
    page = (Path(__file__).parents[3] / "docs/recovery.md").read_text()
    table = page.split("| phase | does |")[1].split("\n\n")[0]
    assert tuple(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == entry.ON_LIVE


@pytest.mark.parametrize("name", entry.BESIDE)
def test_beside_a_release_that_is_under_way_nothing_works_on_what_is_live(name: str) -> None:
    entry.see_alone(None, record("finish", verdict="live"), name)
    with pytest.raises(entry.NotYet, match="is under way, in phase build"):
        entry.see_alone(record("build"), record("finish", verdict="live"), name)
