"""Sentences about a release that ends."""

from __future__ import annotations

from ansible.module_utils.slipway.release.words import ending, reason


def test_why_it_is_taken_back_names_each_failure_once_and_who_is_lost() -> None:
    failures = {"edge1": "", "app1": "Start: not healthy", "app2": "Start: not healthy", "data1": None}
    assert reason("start", failures) == "failed in phase start: Start: not healthy; lost data1"
    assert reason("start", {"edge1": "", "app1": "no"}) == "failed in phase start: no"


def test_how_a_run_ends() -> None:
    release = {"id": "r2", "previous": "r1", "needed": True}
    assert ending(release, "") == "Release r2 was taken back; r1 serves on."
    assert ending({**release, "previous": None}, "") == "Release r2 was taken back; no release serves on."
    assert "could not be taken back altogether: edge1 is away." in ending(release, "edge1 is away.")
    assert ending({**release, "needed": False}, "") == (
        "There was nothing to ship, and nothing was taken back: r2 stays live as it is."
    )
