"""What hosts know together, and when that is too little."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.module_utils.slipway.release.known import Known, Unknowable
from ansible.module_utils.slipway.release.records import ReleaseError

OLD = {
    "id": "20261121T230000Z-old",
    "colour": "blue",
    "verdict": "live",
    "live_from": "2026-11-21T23:10:00Z",
    "live_until": "2026-11-21T21:10:00Z",
    "generation": 1,
    "written": 2,
    "members": ["edge1", "edge2", "app1", "data1"],
}
# Shipped later, from a controller whose clock is two hours behind.
LIVE = {
    **OLD,
    "id": "20261121T210000Z-new",
    "colour": "green",
    "live_from": "2026-11-21T21:10:00Z",
    "live_until": None,
    "generation": 2,
    "app_hosts": {"app1": {"address": "10.0.0.1", "services": ["web"]}},
    "stateful_on": {"db": "data1"},
}


def view(*records: dict[str, Any], **more: Any) -> dict[str, Any]:
    known = {
        "root": "/var/lib/slipway/shop",
        "records": list(records),
        "damaged": [],
        "edge": "none",
        "fence": {"generation": 0},
        "lock": None,
        "watches": {},
        "files": ["20261121T210000Z-new"],
        "stateful": True,
        "traces": [],
    }
    return {**known, **more}


def known(**views: dict[str, Any]) -> Known:
    everybody = {host: view(OLD, LIVE, edge="green") for host in ("edge1", "edge2", "app1", "data1")}
    return Known({**everybody, **views}, ["edge1", "edge2"])


def test_no_host_is_right_by_its_position() -> None:
    """The first edge was rebuilt, the second was away while the newest release went live."""
    stale = {**OLD, "live_until": None, "written": 1}
    seen = known(edge1=view(), edge2=view(stale, edge="blue"))
    assert seen.live == LIVE and seen.colour == "green"
    assert seen.lacking == ["edge1", "edge2"] and seen.misdirected == ["edge1", "edge2"]
    assert [one["id"] for one in seen.records] == [OLD["id"], LIVE["id"]]


def test_the_next_number_is_higher_than_any_host_has_seen() -> None:
    assert known().generation == 2
    assert known(data1=view(fence={"generation": 7, "token": "x"})).generation == 7
    assert known(app1=view({**LIVE, "written": 9})).generation == 9
    assert Known({"edge1": view()}, ["edge1"]).generation == 0


def test_one_record_on_one_host_is_enough_for_all() -> None:
    lost = {host: view() for host in ("edge1", "edge2", "app1")}
    seen = known(**lost)
    seen.see_enough()
    assert seen.live == LIVE and seen.lacking == ["edge1", "edge2", "app1"]


def test_a_minority_can_not_know_what_is_live() -> None:
    few = Known({"edge1": view(LIVE, edge="green")}, ["edge1"])
    with pytest.raises(Unknowable, match="edge2, app1, data1 did not answer") as refused:
        few.see_enough()
    assert '"release_lost": ["edge2", "app1", "data1"]' in str(refused.value)
    few.see_enough(["edge2", "app1"])
    Known({"edge1": view(LIVE), "app1": view()}, ["edge1"]).see_enough()


def test_an_edge_that_was_not_asked_is_not_taken_to_agree() -> None:
    """As with --limit: the watch may have failed there."""
    for edges, silent in ((["edge1", "edge9"], "edge9"), (["edge9"], "edge9")):
        with pytest.raises(Unknowable, match=f"{silent} is in group edge and was not asked"):
            Known({"edge1": view(LIVE, edge="green"), "app1": view(LIVE)}, edges).see_enough(
                ["edge2", "data1"]
            )


def test_a_first_release_is_refused_where_something_is_left_without_a_record() -> None:
    traces = ["container shop-blue-web-1", "volume shop_db"]
    with pytest.raises(Unknowable, match=r"app1: container shop-blue-web-1, volume shop_db") as refused:
        Known({"edge1": view(), "app1": view(traces=traces)}, ["edge1"]).see_enough()
    assert "without a backup" in str(refused.value) and '"release_start_over": true' in str(refused.value)
    Known({"edge1": view(), "app1": view(traces=traces)}, ["edge1"]).see_enough(start_over=True)
    Known({"edge1": view(), "app1": view()}, ["edge1"]).see_enough()


def test_a_damaged_record_is_mended_from_another_host_and_refused_where_there_is_none() -> None:
    broken = view(OLD, damaged=[LIVE["id"]])
    seen = known(edge1=broken)
    seen.see_enough()
    assert seen.lacking == ["edge1"] and seen.live == LIVE
    with pytest.raises(Unknowable, match=f"rm /var/lib/slipway/shop/releases/{LIVE['id']}/record.json"):
        Known({"edge1": broken, "app1": view(OLD)}, ["edge1"]).see_enough(["data1", "edge2"])


def test_somebody_whose_inventory_has_another_edge_first_is_waited_for() -> None:
    theirs = {"holder": {"token": "theirs", "owner": "ada", "controller": "laptop"}, "age": 3.0}
    seen = known(edge2=view(LIVE, lock=theirs))
    with pytest.raises(Unknowable, match=r"ada on laptop .* holds the lock on edge2"):
        seen.see_free("edge1", "mine", 20)
    seen.see_free("edge2", "mine", 20)
    seen.see_free("edge1", "theirs", 20)
    known(edge2=view(LIVE, lock={**theirs, "age": 21.0})).see_free("edge1", "mine", 20)


def test_a_release_under_way_is_judged_by_every_edge() -> None:
    begun = {
        **LIVE,
        "id": "20261121T220000Z-x",
        "colour": "blue",
        "verdict": None,
        "phase": "watch",
        "generation": 3,
    }
    passed, failed = {begun["id"]: "pass"}, {begun["id"]: "fail"}
    turned = view(OLD, LIVE, begun, edge="blue", watches=passed)
    assert known(edge1=turned, edge2=turned).settlement == "complete"
    assert (
        known(edge1=turned, edge2=view(OLD, LIVE, begun, edge="green", watches=failed)).settlement
        == "switch_back"
    )
    assert known(edge1=turned, edge2=view(OLD, LIVE, begun, edge="blue")).settlement == "switch_back"
    assert known().settlement is None
    # They point at it because it has turned them: not misdirected.
    assert known(edge1=turned, edge2=turned).misdirected == []
    early = {**begun, "phase": "build"}
    assert known(edge2=view(OLD, LIVE, early, edge="blue")).misdirected == ["edge2"]


def test_hosts_that_were_rebuilt() -> None:
    assert known().bare(["app1"]) == [] and known().emptied() == {}
    assert known(app1=view(files=[])).bare(["app1"]) == ["app1"]
    assert known(app1=view(files=[])).bare(["app2"]) == []
    assert known(data1=view(stateful=False)).emptied() == {"db": "data1"}


def test_a_rollback_has_to_know_where_it_goes() -> None:
    known().see_way_back("", "mine", 20)
    known().see_way_back(OLD["id"], "mine", 20)
    with pytest.raises(ReleaseError, match="never live here"):
        known().see_way_back("20261121T210000Z-typo", "mine", 20)


def test_a_rollback_takes_nothing_from_a_first_release_that_is_under_way() -> None:
    begun = {**LIVE, "verdict": None, "live_from": None, "phase": "watch"}
    lock = {"holder": {"token": "theirs", "owner": "ada"}, "age": 2.0}
    with pytest.raises(Unknowable, match="there is none to go back to"):
        Known({"edge1": view(begun, lock=lock)}, ["edge1"]).see_way_back("", "mine", 20)
    # Its run has died: settling it is the rollback.
    Known({"edge1": view(begun, lock={**lock, "age": 30.0})}, ["edge1"]).see_way_back("", "mine", 20)
    Known({"edge1": view(begun)}, ["edge1"]).see_way_back("", "mine", 20)


def test_a_record_without_an_end_that_is_older_than_what_is_live_is_not_taken_up_again() -> None:
    """Its host was away while the others closed and later forgot it."""
    forgotten = {
        **OLD,
        "id": "20261121T225900Z-away",
        "verdict": None,
        "live_until": None,
        "generation": 1,
        "phase": "switch",
    }
    seen = known(app1=view(forgotten, LIVE))
    assert seen.unfinished is None and seen.live == LIVE and seen.lacking
    assert next(one for one in seen.records if one["id"] == forgotten["id"])["verdict"] == "inconclusive"
    assert known(app1=view({**forgotten, "generation": 3}, LIVE)).unfinished is not None


def test_a_live_release_that_does_not_answer_is_left_for_what_the_edges_show_on_purpose() -> None:
    turned = view(OLD, LIVE, edge="blue")
    views = {"edge1": turned, "edge2": turned, "app1": view(OLD, LIVE)}
    assert Known(views, ["edge1", "edge2"]).misdirected == ["edge1", "edge2"]
    assert Known(views, ["edge1", "edge2"]).colour == "green"
    given_up = Known(views, ["edge1", "edge2"], LIVE["id"])
    assert (given_up.misdirected, given_up.colour) == ([], "blue")
