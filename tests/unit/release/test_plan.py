"""What a run is going to do."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.module_utils.slipway.release import plan

FACTS: dict[str, Any] = {"version": "v2", "revision": "bbbbbbbbbb", "services": {"web": ["web"]}}
INPUTS = {"revision": "bbbbbbbbbb", "environment": "e1", "compose": "c1"}
LIVE = {
    "id": "20261121T210000Z-aaaaaaa",
    "content": "20261121T210000Z-aaaaaaa",
    "colour": "blue",
    "verdict": "live",
    "live_from": "2026-11-21T21:05:00Z",
    "version": "v1",
    "inputs": {"revision": "aaaaaaaaaa", "environment": "e1", "compose": "c1"},
}


def test_the_first_release() -> None:
    made = plan.deploy([], "none", FACTS, INPUTS, force=False)
    assert (
        made["needed"]
        and made["colour"] == "blue"
        and made["previous"] is None
        and made["previous_colour"] == "none"
    )
    assert made["id"].endswith("-bbbbbbb") and made["content"] == made["id"]


def test_the_next_release_takes_the_other_colour_and_says_what_has_changed() -> None:
    made = plan.deploy([LIVE], "blue", FACTS, INPUTS, force=False)
    assert made["colour"] == "green" and made["previous"] == LIVE["id"] and made["why"] == ["source"]


def test_nothing_has_changed() -> None:
    same = plan.deploy([LIVE], "blue", FACTS, LIVE["inputs"], force=False)
    assert not same["needed"] and same["id"] == LIVE["id"] and same["colour"] == "blue"
    forced = plan.deploy([LIVE], "blue", FACTS, LIVE["inputs"], force=True)
    assert forced["needed"] and forced["why"] == ["asked for"]


def test_the_edge_decides_which_colour_is_free() -> None:
    # A switch back after the record was written must not put the new release over the live one.
    assert plan.deploy([LIVE], "green", FACTS, INPUTS, force=False)["colour"] == "blue"


def test_a_rollback_runs_from_the_files_of_the_older_release() -> None:
    older = {**LIVE, "live_until": "2026-11-21T22:00:00Z"}
    newer = {
        **LIVE,
        "id": "20261121T215500Z-ccccccc",
        "content": "20261121T215500Z-ccccccc",
        "colour": "green",
        "live_from": "2026-11-21T22:00:00Z",
    }
    made = plan.rollback([older, newer], "green", None)
    assert made["kind"] == "rollback" and made["content"] == older["content"] and made["colour"] == "blue"
    assert made["version"] == "v1" and made["previous"] == newer["id"] and "live_from" not in made


def test_a_rollback_is_made_of_the_images_of_the_older_release() -> None:
    images = {"images": {"web": "shop-web:1-aaaa"}, "image_ids": {"web": "sha256:aaaa"}}
    older = {**LIVE, **images, "live_until": "2026-11-21T22:00:00Z"}
    newer = {
        **LIVE,
        "id": "20261121T215500Z-ccccccc",
        "content": "20261121T215500Z-ccccccc",
        "images": {"web": "shop-web:2-bbbb"},
        "image_ids": {"web": "sha256:bbbb"},
        "live_from": "2026-11-21T22:00:00Z",
    }
    made = plan.rollback([older, newer], "green", None)
    assert {key: made[key] for key in images} == images


def test_a_rollback_knows_where_the_older_release_ran() -> None:
    where = {"app_hosts": on("app1", "app2"), "servers": servers(1, 2)}
    older = {**LIVE, **where, "live_until": "2026-11-21T22:00:00Z"}
    newer = {**LIVE, "id": "20261121T215500Z-ccccccc", "content": "20261121T215500Z-ccccccc",
             "live_from": "2026-11-21T22:00:00Z", "app_hosts": on("app1"), "servers": servers(1),
             "stateful_on": {"db": "data1", "queue": "data2"}}  # fmt: skip
    made = plan.rollback([{**older, "stateful_on": {"db": "data3"}}, newer], "green", None)
    assert {name: made[name] for name in where} == where
    assert made["stateful_on"] == {"db": "data3", "queue": "data2"}
    assert plan.rollback([older, newer], "green", None)["stateful_on"] == newer["stateful_on"]


def test_a_rollback_knows_whether_the_old_colour_still_runs() -> None:
    older = {**LIVE, "live_until": "2026-11-21T22:00:00Z"}
    newer = {**LIVE, "id": "20261121T215500Z-ccccccc", "content": "20261121T215500Z-ccccccc", "colour": "green",
             "live_from": "2026-11-21T22:00:00Z", "previous_content": older["content"]}  # fmt: skip
    assert plan.rollback([older, newer], "green", None)["warm"] is False
    assert plan.rollback([older, {**newer, "keeps_warm": True}], "green", None)["warm"] is True
    elsewhere = {**newer, "keeps_warm": True, "previous_content": "20261121T200000Z-0000000"}
    assert plan.rollback([older, elsewhere], "green", None)["warm"] is False


def test_no_release_to_go_back_to_is_said() -> None:
    with pytest.raises(plan.NothingToGoBackTo, match=LIVE["id"]):
        plan.rollback([LIVE], "blue", None)


def on(*hosts: str, worker: str = "") -> dict[str, Any]:
    """The hosts of a release: what runs where."""
    return {
        host: {"address": f"10.0.0.{number}", "services": ["web", "worker"] if host == worker else ["web"]}
        for number, host in enumerate(("app1", "app2", "app3"), 1)
        if host in hosts
    }


def servers(*numbers: int) -> dict[str, dict[str, list[str]]]:
    return {"web": {"blue": [f"10.0.0.{n}:1" for n in numbers], "green": [f"10.0.0.{n}:2" for n in numbers]}}


def test_a_service_is_not_started_where_its_data_is_not() -> None:
    before = {"stateful_on": {"db": "data1", "redis": "data1"}}
    for fine in ({}, {"db": "data1"}, {"db": "data1", "redis": "data1", "queue": "data2"}):
        plan.see_data_stays(before, {"stateful_on": fine}, [])
    for earlier in (None, {}):
        plan.see_data_stays(earlier, before, [])
    moved = {"stateful_on": {"db": "data2", "redis": "data2"}}
    plan.see_data_stays(before, moved, ["db", "redis"])
    with pytest.raises(plan.DataLeftBehind) as refused:
        plan.see_data_stays(before, moved, ["redis"])
    said = str(refused.value)
    assert "db keeps its data on data1 and would start empty on data2" in said and "redis" not in said
    assert "`host: data1` beside db" in said and """-e '{"stateful_moved": ["db"]}'""" in said
    with pytest.raises(plan.DataLeftBehind, match="db keeps its data on data1 and would go back to"):
        plan.see_data_stays(before, {**moved, "kind": "rollback"}, ["redis"])


ALL = ("edge", "app1", "app2", "app3")


def test_a_host_that_has_left_is_not_gone_back_to() -> None:
    target = {"app_hosts": on("app1", "app2", worker="app1"), "servers": servers(1, 2), "edge_stays": True}
    before = {"app_hosts": on("app1", "app2")}
    made, nowhere = plan.present(target, before, ["app1", "app2"], ALL)
    same = {"previous_app_hosts": ["app1", "app2"], "colour_hosts": ["app1", "app2"], "workers_move": False}
    assert made == {**target, **same} and nowhere == []
    made, nowhere = plan.present(target, before, ["app1"], ("edge", "app1"))
    assert made["servers"] == servers(1) and list(made["app_hosts"]) == ["app1"] and nowhere == []
    assert made["edge_stays"] is False and made["previous_app_hosts"] == made["colour_hosts"] == ["app1"]
    made, nowhere = plan.present(target, before, ["app2"], ("edge", "app2"))
    assert made["servers"] == servers(2) and nowhere == ["worker"]
    # Neither at once, by a site that knows it, nor as if nothing had been left out.
    assert made["warm"] is False and made["inputs"] != {}


def test_a_host_that_is_an_app_host_no_longer_is_known_to_run_the_old_release() -> None:
    planned, before = {"app_hosts": on("app1"), "servers": servers(1)}, {"app_hosts": on("app1", "app2")}
    made, nowhere = plan.present(planned, before, ["app1"], ALL)
    assert made["previous_app_hosts"] == made["colour_hosts"] == ["app1", "app2"] and nowhere == []
    assert list(made["app_hosts"]) == ["app1"]


@pytest.mark.parametrize(
    ("was", "comes", "hosts", "moves"),
    [
        (on("app1", "app2", worker="app1"), on("app1", "app2", worker="app1"), ALL, False),
        (on("app1", "app2", worker="app1"), on("app1", "app2", worker="app2"), ALL, True),
        (on("app1", worker="app1"), on("app2", worker="app2"), ALL, True),
        (on("app1", worker="app1"), on("app2", worker="app2"), ("edge", "app2"), False),  # there is nobody to wait for
        (on("app1"), on("app1", worker="app1"), ALL, False),
        (on("app1", worker="app1"), on("app1"), ALL, False),
        (None, on("app1", worker="app1"), ALL, False),
    ],
)  # fmt: skip
def test_a_worker_that_moves_is_known(
    was: dict[str, Any] | None, comes: dict[str, Any], hosts: tuple[str, ...], moves: bool
) -> None:
    planned = {"app_hosts": comes, "servers": {}, "services": {"worker": ["worker"]}, "warm": True}
    before = {} if was is None else {"app_hosts": was}
    made, _ = plan.present(planned, before, list(comes), hosts)
    assert made["workers_move"] is moves and made["warm"] is not moves


def test_a_host_that_has_joined_since_has_nothing_of_the_older_release() -> None:
    target = {"app_hosts": on("app1"), "servers": servers(1), "edge_stays": True}
    made, _ = plan.present(target, {"app_hosts": on("app1", "app3")}, ["app1", "app3"], ALL)
    assert list(made["app_hosts"]) == ["app1"] and made["previous_app_hosts"] == ["app1", "app3"]
    assert made["edge_stays"] is True


def test_records_that_do_not_name_hosts_are_of_all() -> None:
    made, nowhere = plan.present({"servers": servers(1)}, {}, ["app1", "app2"], ALL)
    assert made["previous_app_hosts"] == ["app1", "app2"] and "app_hosts" not in made and nowhere == []
    assert plan.present({"servers": {}}, None, ["app1"], ALL)[0]["previous_app_hosts"] == ["app1"]


def test_a_release_none_of_whose_hosts_is_left_can_not_be_gone_back_to() -> None:
    target = {"content": "r1", "app_hosts": on("app1", "app2"), "servers": servers(1, 2)}
    with pytest.raises(plan.NothingToGoBackTo, match="app1, app2, where web ran, are no longer app hosts"):
        plan.present(target, None, ["app3"], ALL)
