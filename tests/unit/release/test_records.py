"""Release records: which is live, where a rollback goes, how one that broke off is settled."""

from __future__ import annotations

import datetime
import json
from pathlib import Path

import pytest
from ansible.module_utils.slipway.release import records as core
from hypothesis import given
from hypothesis import strategies as st


def record(number: int, **more: object) -> core.Record:
    identifier = f"20261121T2100{number:02d}Z-abc000{number}"
    return {"id": identifier, "content": identifier, "colour": "blue", "kind": "deploy", **more}


def went_live(number: int, until: int | None = None, **more: object) -> core.Record:
    ended = {"live_until": f"2026-11-21T22:00:{until:02d}Z"} if until is not None else {}
    return record(number, verdict="live", live_from=f"2026-11-21T22:00:{number:02d}Z", **ended, **more)


def test_an_id_has_its_time_and_the_short_revision() -> None:
    moment = datetime.datetime(2026, 11, 21, 21, 0, tzinfo=datetime.timezone.utc)
    assert core.release_id("1A2B3C4D5E", moment) == "20261121T210000Z-1a2b3c4"
    assert core.RELEASE_ID.match(core.release_id("tree-ÄÖ", moment))
    assert core.RELEASE_ID.match(core.release_id("", moment))


@pytest.mark.parametrize("identifier", ["../../etc", "", "20261121T210000Z-", "20261121T210000Z-a/b"])
def test_what_is_not_an_id_is_no_path(tmp_path: Path, identifier: str) -> None:
    with pytest.raises(core.ReleaseError, match="not the id"):
        core.Releases(tmp_path).directory(identifier)


def test_records_survive_being_written_and_an_equal_one_is_not_written(tmp_path: Path) -> None:
    releases = core.Releases(tmp_path)
    assert releases.write(record(1)) is True
    assert releases.write(record(1)) is False
    assert releases.write(record(1, phase="build")) is True
    assert releases.all() == [record(1, phase="build")]
    assert (tmp_path / "releases" / record(1)["id"] / "record.json").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("text", ['{"id": ', "", "[]", "{}", '{"id": "20261121T215900Z-x"}'])
def test_a_damaged_record_is_named_and_written_anew(tmp_path: Path, text: str) -> None:
    releases = core.Releases(tmp_path)
    releases.write(record(1))
    releases.write(record(2))
    path = tmp_path / "releases" / record(1)["id"] / "record.json"
    path.write_text(text)
    assert releases.damaged() == [record(1)["id"]]
    assert releases.all() == [record(2)]
    assert releases.write(record(1)) is True
    assert (releases.damaged(), releases.all()) == ([], [record(1), record(2)])


def test_an_older_copy_never_overwrites_a_newer_one(tmp_path: Path) -> None:
    releases = core.Releases(tmp_path)
    newer = record(1, written=7, verdict="rolled_back")
    releases.write(newer)
    for older in (record(1, written=6, verdict="live"), record(1), record(1, written=7, phase="watch")):
        assert releases.write(older) is False
    assert releases.all() == [newer]
    assert releases.write(record(1, written=8)) is True


def test_what_hosts_know_together_is_the_copy_written_last_and_clocks_do_not_matter() -> None:
    early = record(9, generation=1, written=1, verdict="live", live_from="2026-11-21T23:59:59Z")
    begun = record(2, generation=2, written=2)
    closed = record(2, generation=2, written=3, verdict="live", live_from="2026-11-21T20:00:00Z")
    assert core.union([[begun], [early], [closed]]) == [early, closed]
    assert core.live([early, closed]) == closed
    third = record(1, generation=4, written=4)
    assert core.unfinished([third, record(8, generation=3)]) == third


def test_of_two_copies_the_one_that_knows_that_the_phase_has_passed_was_written_later() -> None:
    begun = record(1, written=3, phase="start")
    passed = {**begun, "passed": "start"}
    assert core.union([[begun], [passed]]) == core.union([[passed], [begun]]) == [passed]
    # Not one that has passed an earlier phase and knows nothing of this one.
    assert core.age({**begun, "passed": "index"}) < core.age(passed)


def test_of_two_that_are_live_both_are_ended_by_the_next() -> None:
    records = [went_live(1), went_live(2), record(3)]
    changed = core.closed(records, record(3)["id"], "live", None, "x")
    assert [one["id"] for one in changed if one.get("live_until")] == [record(1)["id"], record(2)["id"]]


def test_the_live_release_is_the_one_that_went_live_last_and_was_not_ended() -> None:
    assert core.live([]) is None
    assert core.live([record(1, verdict="abandoned")]) is None
    second = went_live(2)
    assert core.live([went_live(1, until=2), second, record(3, verdict="rolled_back"), record(4)]) == second


def test_a_rollback_goes_to_the_release_that_was_live_before() -> None:
    first, second = went_live(1, until=3), went_live(3)
    assert core.rollback_target([first, record(2, verdict="abandoned"), second]) == first


def test_a_second_rollback_does_not_bring_the_bad_release_back() -> None:
    oldest, old = went_live(1, until=2), went_live(2, until=3)
    bad = went_live(3, until=4, taken_back=True)
    rollback = went_live(4, kind="rollback", content=old["content"])
    assert core.rollback_target([oldest, old, bad, rollback]) == oldest


def test_a_release_that_never_was_live_can_not_be_named() -> None:
    records = [went_live(1, until=3), record(2, verdict="abandoned"), went_live(3)]
    with pytest.raises(core.ReleaseError, match="never live"):
        core.rollback_target(records, record(2)["id"])
    named = core.rollback_target(records, record(1)["id"])
    assert named is not None and named["id"] == record(1)["id"]


def test_nothing_to_go_back_to() -> None:
    assert core.rollback_target([]) is None
    assert core.rollback_target([went_live(1)]) is None


def test_going_live_ends_the_release_before() -> None:
    records = [went_live(1), record(2)]
    changed = {
        one["id"]: one for one in core.closed(records, record(2)["id"], "live", None, "2026-11-21T23:00:00Z")
    }
    assert changed[record(2)["id"]]["verdict"] == "live"
    assert changed[record(1)["id"]]["live_until"] == "2026-11-21T23:00:00Z"
    assert changed[record(1)["id"]]["taken_back"] is False
    back = core.closed([went_live(1), record(2, kind="rollback")], record(2)["id"], "live", None, "x")
    assert next(one for one in back if one["id"] == record(1)["id"])["taken_back"] is True


def test_closing_twice_changes_nothing() -> None:
    records = [went_live(1)]
    assert core.closed(records, record(1)["id"], "live", None, "x") == []


@pytest.mark.parametrize(
    ("phase", "edge", "watch", "settled"),
    [
        ("build", "blue", None, "switch_back"),
        ("build", "green", None, "abandon"),
        ("verify", "green", None, "abandon"),
        ("switch", "green", None, "abandon"),
        ("switch", "blue", None, "switch_back"),
        ("confirm", "blue", None, "switch_back"),
        ("watch", "blue", None, "switch_back"),
        ("watch", "blue", "fail", "switch_back"),
        ("watch", "blue", "pass", "complete"),
        ("watch", "green", "fail", "abandon"),
        ("finish", "blue", None, "complete"),
    ],
)
def test_settling(phase: str, edge: str, watch: str | None, settled: str) -> None:
    assert core.settlement(record(1, phase=phase), {"edge1": edge}, {"edge1": watch}) == settled


@pytest.mark.parametrize(
    ("phase", "passed", "edges", "watches", "settled"),
    [
        # The second edge turned back by itself, and the first has watched well: the release has failed.
        ("watch", "", ("blue", "green"), ("pass", "fail"), "switch_back"),
        ("finish", "", ("blue", "green"), ("pass", "fail"), "switch_back"),
        ("finish", "", ("blue", "blue"), ("pass", "fail"), "switch_back"),
        ("watch", "", ("blue", "blue"), ("pass", None), "switch_back"),
        ("watch", "", ("blue", "blue"), ("pass", "damaged"), "switch_back"),
        ("watch", "", ("blue", "blue"), ("pass", "pass"), "complete"),
        ("watch", "watch", ("blue", "blue"), (None, None), "complete"),
        ("watch", "watch", ("blue", "none"), (None, None), "switch_back"),
        ("finish", "", ("blue", "blue"), (None, None), "complete"),
        ("switch", "", ("green", "green"), (None, None), "abandon"),
        ("switch", "", ("green", "blue"), (None, None), "switch_back"),
        ("finish", "", ("green", "none"), (None, None), "abandon"),
    ],
)
def test_settling_asks_every_edge(
    phase: str, passed: str, edges: tuple[str, str], watches: tuple[str | None, str | None], settled: str
) -> None:
    names = ("edge1", "edge2")
    made = record(1, phase=phase, passed=passed)
    assert core.settlement(made, dict(zip(names, edges)), dict(zip(names, watches))) == settled


def test_pruning_keeps_what_is_needed(tmp_path: Path) -> None:
    releases = core.Releases(tmp_path)
    records = [went_live(n, until=n + 1) for n in range(1, 8)] + [went_live(8), record(9)]
    for one in records:
        releases.write(one)
    removed = releases.prune(3)
    left = [one["id"] for one in releases.all()]
    assert record(8)["id"] in left and record(7)["id"] in left and record(9)["id"] in left
    assert len(left) == 3 and len(removed) == 6
    assert releases.prune(3) == []


def test_pruning_keeps_the_files_of_a_release_that_was_gone_back_to(tmp_path: Path) -> None:
    releases = core.Releases(tmp_path)
    old = went_live(1, until=2)
    records = [old, went_live(2, until=3, taken_back=True), went_live(3, kind="rollback", content=old["id"])]
    for one in [*records, *[record(n, verdict="abandoned") for n in range(4, 9)]]:
        releases.write(one)
    releases.prune(2)
    assert [one["id"] for one in releases.all()] == [record(n)["id"] for n in (1, 3, 7, 8)]


def test_pruning_takes_the_schema_kept_for_the_way_back_along(tmp_path: Path) -> None:
    releases = core.Releases(tmp_path)
    for one in [went_live(n, until=n + 1) for n in range(1, 5)] + [went_live(5)]:
        releases.write(one)
    kept = tmp_path / "migrations"
    kept.mkdir()
    for n in (1, 5):
        (kept / f"{record(n)['id']}.json").write_text("{}")
    releases.prune(2)
    assert [path.stem for path in kept.iterdir()] == [record(5)["id"]]


def test_images_that_a_kept_release_has_are_in_use() -> None:
    removed = [record(1, images={"web": "shop:1", "db": "postgres:17"}), record(2)]
    kept = [record(3, images={"web": "shop:3", "db": "postgres:17"})]
    assert core.unused_images(removed, kept) == ["shop:1"]


names = st.integers(min_value=1, max_value=59)


@given(st.lists(names, unique=True, min_size=1, max_size=12), st.data())
def test_any_history_has_at_most_one_live_release_and_never_goes_back_to_a_bad_one(
    order: list[int], data: st.DataObject
) -> None:
    records: list[core.Record] = []
    for step, number in enumerate(sorted(order)):
        verdict = data.draw(st.sampled_from(core.VERDICTS))
        target = core.rollback_target(records)
        kind = data.draw(st.sampled_from(["deploy", "rollback"])) if target else "deploy"
        content = {"content": target["content"]} if kind == "rollback" and target else {}
        records.append(record(number, kind=kind, **content))
        for changed in core.closed(
            records, records[-1]["id"], verdict, None, f"2026-11-21T23:00:{step:02d}Z"
        ):
            records = [changed if one["id"] == changed["id"] else one for one in records]
        assert len([one for one in records if one["verdict"] == "live" and not one.get("live_until")]) <= 1
        goal = core.rollback_target(records)
        assert goal is None or (goal["verdict"] == "live" and not goal.get("taken_back"))
    assert json.loads(json.dumps(records)) == records
