"""Records that were written before releases were typed: two real ones, the first live before, the second rolled back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.slipway.model.release import Release
from ansible.module_utils.slipway.release import plan, records
from ansible.module_utils.slipway.release.hosts import Site

OLD: list[dict[str, Any]] = json.loads((Path(__file__).parent / "records_before_hosts.json").read_text())
SITE = Site(edge=["edge1"], app=["app1", "app2"], data=["data1"], database=True, database_host="data1")
ROOT = "/var/lib/slipway/reviews"
# What only some releases have: how they ended.
ENDED = {
    "verdict",
    "reason",
    "ended_at",
    "live_from",
    "live_until",
    "taken_back",
    "keeps_warm",
    "phase",
    "passed",
    "run",
    "generation",
    "written",
    "started_at",
}
LATER = {"hosts", "makes_database", "environment_key"}


@pytest.mark.parametrize("record", OLD, ids=lambda record: str(record["verdict"]))
@pytest.mark.parametrize(
    "lost", [None, *sorted(set(OLD[0]) - {"id", "colour", "domain", "edge", "url", "system"})]
)
def test_every_key_that_is_read_is_there(record: dict[str, Any], lost: str | None) -> None:
    """Also where a still older slipway did not write one of them."""
    older = {key: value for key, value in record.items() if key != lost}
    made = records.complete(older, SITE.app, SITE.data)
    assert set(Release.__annotations__) - ENDED - LATER <= set(made)
    if lost is None:
        assert {key: made[key] for key in record if key not in ("needed",)} == {  # type: ignore[literal-required]
            key: record[key] for key in record if key not in ("needed",)
        }


def test_the_live_one_is_taken_up() -> None:
    made = plan.taken_up(OLD, SITE, ROOT, keep_warm=False)
    assert made["id"] == OLD[0]["id"] and not made["needed"] and made["hosts"]["app1"]["starts"]


def test_one_that_broke_off_is_taken_up() -> None:
    broken = {key: value for key, value in OLD[1].items() if key not in ("verdict", "ended_at", "reason")}
    made = plan.taken_up([OLD[0], broken], SITE, ROOT, keep_warm=False)
    assert made["id"] == broken["id"] and made["needed"]
    assert made["hosts"]["app1"]["back"]["running"] == ["blue"] and made["hosts"]["app1"]["ran"]


def test_a_deploy_and_a_rollback_go_on_from_them() -> None:
    facts = {
        key: OLD[1][key]
        for key in ("revision", "services", "servers", "routes", "app_hosts", "stateful_on", "system")
    }
    planned = plan.deploy(OLD, "blue", facts, OLD[1]["inputs"], force=False)
    made, nowhere = plan.whole(planned, OLD, SITE, ROOT, keep_warm=False)
    assert made["colour"] == "green" and made["previous"] == OLD[0]["id"] and nowhere == []
    second = {**OLD[1], "verdict": "live", "live_from": "2026-11-30T02:57:07Z"}
    first = {**OLD[0], "live_until": "2026-11-30T02:57:07Z", "taken_back": False}
    back, _ = plan.whole(
        plan.rollback([first, second], "green", None), [first, second], SITE, ROOT, keep_warm=False
    )
    assert back["content"] == first["id"] and back["hosts"]["app2"]["end"]["stopped"] == ["green"]
