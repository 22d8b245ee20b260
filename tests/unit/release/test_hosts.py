"""What each host does in a release."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.module_utils.slipway.model.release import HostPlan, Release
from ansible.module_utils.slipway.release import plan
from ansible.module_utils.slipway.release.hosts import Site, host_plans
from ansible.module_utils.slipway.release.records import complete

SITE = Site(edge=["edge1", "edge2"], app=["app1", "app2"], data=["data1"], database=True)
SERVICES = {"web": ["web", "admin"], "worker": ["worker"], "job": ["seed"], "stateful": ["db"]}


def app(*hosts: str) -> dict[str, dict[str, Any]]:
    return {host: {"address": host, "services": ["web", "admin", "worker"]} for host in hosts}


def release(**more: Any) -> Release:
    """The second release of a system, on the hosts of SITE."""
    known = {
        "id": "r2",
        "colour": "green",
        "previous_colour": "blue",
        "previous": "r1",
        "previous_content": "r1",
        "services": SERVICES,
        "app_hosts": app("app1", "app2"),
        "stateful_on": {"db": "data1"},
        "database_host": "data1",
        "needed": True,
    }
    return complete({**known, **more}, ["app1", "app2"], ["data1"])


BEFORE = release(id="r1", colour="blue", verdict="live", needed=False)


def plans(made: Release, before: Release | None = BEFORE, site: Site = SITE) -> dict[str, HostPlan]:
    return host_plans(made, before, site)


def who(key: str, made: Release, site: Site = SITE, before: Release | None = BEFORE) -> list[str]:
    """The hosts that do something."""
    return [host for host, does in plans(made, before, site).items() if does[key]]  # type: ignore[literal-required]


@pytest.mark.parametrize(
    ("key", "hosts"),
    [
        ("leads", ["edge1"]),
        ("turns", ["edge1", "edge2"]),
        ("dumps", ["data1"]),
        ("database", ["data1"]),
        ("keeps", ["data1"]),
        ("ships", ["app1", "app2", "data1"]),
        ("files", ["app1", "app2", "data1"]),
        ("stateful", ["data1"]),
        ("migrates", ["app1"]),
        ("starts", ["app1", "app2"]),
        ("takes_part", ["app1", "app2"]),
        ("hands_over", ["app1", "app2"]),
        ("ran", ["app1", "app2"]),
        ("left", []),
        ("joined", []),
    ],
)
def test_an_ordinary_release(key: str, hosts: list[str]) -> None:
    assert who(key, release()) == hosts


def test_what_is_shipped_where() -> None:
    made = plans(release())
    assert made["app1"]["ships"] == ["web", "admin", "worker", "seed"]
    assert made["data1"]["ships"] == made["data1"]["stateful"] == ["db"] and made["edge1"]["ships"] == []
    both = plans(release(stateful_on={"db": "app1"}, database_host="app1"))
    assert both["app1"]["ships"] == ["web", "admin", "worker", "seed", "db"]


@pytest.mark.parametrize(
    ("made", "site", "hosts"),
    [
        ({}, SITE, ["data1"]),
        # The first release makes its database.
        ({"previous": None}, SITE, []),
        # But for one that is elsewhere, and has been there before.
        ({"previous": None, "services": {**SERVICES, "stateful": []}}, SITE, ["data1"]),
        ({}, Site(["edge1"], ["app1"], ["data1"], database=False), []),
        # Nothing to ship; a phase that is run alone between releases.
        ({"needed": False}, SITE, []),
        ({"needed": False}, Site(["edge1"], ["app1"], ["data1"], database=True, alone=True), ["data1"]),
        # Its data was brought to a host where this release is the first to start it.
        ({}, Site(["edge1"], ["app1"], ["data1"], database=True, moved=["db"]), []),
    ],
)
def test_who_dumps_the_database(made: dict[str, Any], site: Site, hosts: list[str]) -> None:
    assert who("dumps", release(**made), site) == hosts


def test_with_nothing_to_ship_nothing_is_sent_or_handed_over_and_data_is_looked_after() -> None:
    made = release(needed=False, colour="blue")
    for key in ("ships", "files", "migrates", "hands_over"):
        assert who(key, made) == [], key
    assert who("stateful", made) == ["data1"] and who("starts", made) == ["app1", "app2"]


def test_a_rollback_migrates_nothing() -> None:
    assert who("migrates", release(kind="rollback")) == []


def test_what_runs_when_it_is_live_and_when_it_was_taken_back() -> None:
    does = plans(release())["app1"]
    assert does["end"] == {"running": ["green"], "workers": "green", "stopped": ["blue"], "absent": []}
    assert does["back"] == {"running": ["blue"], "workers": "blue", "stopped": [], "absent": ["green"]}
    assert does["workers"] == "green"


def test_a_colour_that_is_kept_warm_is_not_stopped() -> None:
    assert plans(release(keep_warm=True))["app1"]["end"]["stopped"] == []


def test_the_first_release_ends_no_colour_and_goes_back_to_none() -> None:
    does = plans(release(previous=None, previous_colour="none", previous_content=None), None)["app1"]
    assert does["end"] == {"running": ["green"], "workers": "green", "stopped": [], "absent": []}
    assert does["back"] == {"running": [], "workers": "none", "stopped": [], "absent": ["green"]}


def test_the_way_back_never_removes_the_colour_that_serves() -> None:
    does = plans(release(previous_colour="green"))["app1"]
    assert does["back"]["absent"] == [] and does["end"]["stopped"] == []


def test_a_host_that_is_an_app_host_no_longer_keeps_nothing() -> None:
    site = Site(edge=["edge1", "app2"], app=["app1"], data=["data1"], database=True)
    made = release(app_hosts=app("app1"), previous_app_hosts=["app1", "app2"], colour_hosts=["app1", "app2"])
    does = plans(made, site=site)["app2"]
    assert does["left"] and does["takes_part"] and does["ran"] and not does["starts"]
    assert does["end"] == {"running": [], "workers": "none", "stopped": [], "absent": ["blue", "green"]}
    assert does["back"] == {"running": ["blue"], "workers": "blue", "stopped": [], "absent": ["green"]}
    # A run that died had it as an app host still: what it runs of the release stays until the next one.
    died = release(colour_hosts=["app1", "app2"])
    assert plans(died, site=site)["app2"]["end"]["absent"] == ["blue"]


def test_a_host_that_has_joined_since_has_nothing_of_the_older_release() -> None:
    made = release(kind="rollback", app_hosts=app("app1"), keep_warm=True)
    does = plans(made)["app2"]
    assert does["joined"] and not does["starts"] and does["workers"] == "none"
    assert does["end"] == {"running": [], "workers": "none", "stopped": ["blue"], "absent": []}


def test_a_host_that_comes_with_the_release_has_nothing_to_go_back_to() -> None:
    does = plans(release(previous_app_hosts=["app1"]))["app2"]
    assert does["back"] == {"running": [], "workers": "none", "stopped": [], "absent": ["green"]}


def test_every_host_has_every_key() -> None:
    for does in plans(release()).values():
        assert set(does) == set(HostPlan.__annotations__)


def record(**more: Any) -> dict[str, Any]:
    return {**BEFORE, "live_from": "2026-11-21T22:00:00Z", **more}


def test_a_phase_that_is_run_alone_takes_up_what_is_under_way_else_what_is_live() -> None:
    live, begun = record(), {**release(id="20261121T220000Z-2"), "phase": "build"}
    del begun["needed"]
    made = plan.taken_up([live, begun], SITE, "/var/lib/slipway/shop", keep_warm=False)
    assert made["id"] == begun["id"] and made["needed"] and made["backup"] == begun["id"]
    made = plan.taken_up([live], SITE, "/var/lib/slipway/shop", keep_warm=False)
    assert made["alone"] and plan.taken_up([live, begun], SITE, "/var/lib/slipway/shop", False)["alone"]
    assert made["id"] == "r1" and not made["needed"] and made["previous_colour"] == "blue"
    assert made["hosts"]["data1"]["dumps"], "playbooks/backup.yml between releases backs up"
    assert made["backup"] not in ("r1", ""), "under an id of its own"
    with pytest.raises(plan.PlanError, match=r"no release on these hosts yet.*deploy\.yml"):
        plan.taken_up([], SITE, "/var/lib/slipway/shop", keep_warm=False)
