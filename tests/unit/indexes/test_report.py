"""What is told afterwards: gates, records, tiers, progress lines, plans."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.slipway.indexes.audit import matches_like, percent, read_hours, tiers_due, usage
from ansible.module_utils.slipway.indexes.gates import gates
from ansible.module_utils.slipway.indexes.info import replica_params
from ansible.module_utils.slipway.indexes.progress import Narrator, line, split_records
from ansible.module_utils.slipway.indexes.query_budget import index_names
from ansible.module_utils.slipway.indexes.report import Progress, Record, added_by
from ansible.module_utils.slipway.indexes.spec import parse
from ansible.module_utils.slipway.indexes.watch import measure
from ansible.module_utils.slipway.postgres.connect import Target
from ansible.module_utils.slipway.postgres.sql import Refused


def entry(name: str, state: str, **changes: Any) -> dict[str, Any]:
    return {
        "schema": "public",
        "name": name,
        "table": "t",
        "tier": 1,
        "state": state,
        "wanted": "present",
        "reason": "why",
        **changes,
    }


def test_gates() -> None:
    results = [
        entry("a", "valid"),
        entry("b", "drifted"),
        entry("c", "unknown"),
        entry("d", "missing"),
        entry("e", "absent", wanted="absent"),
    ]
    found = gates(results, [results[3]], [])
    assert [(gate["name"], gate["value"], gate["verdict"]) for gate in found] == [
        ("declared indexes in place", "2/5", "fail"),
        ("index public.b", "drifted", "warn"),
        ("index public.c", "unknown", "inconclusive"),
        ("index public.d", "missing", "fail"),
    ]
    assert gates(results[:1], [], [])[0]["verdict"] == "pass"
    assert gates(results[:3], [], [])[0]["verdict"] == "inconclusive"
    assert gates(results[:1], [], [{"pid": 1}])[-1]["verdict"] == "fail"
    left = entry("f", "valid", wanted="absent")
    assert gates([left], [left], [])[1]["limit"] == "absent"


def test_record(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "record.json"
    record = Record(str(path), "r1")
    assert record.read() == {"releases": {}, "tiers": {}}
    for name, action in (
        ("a", "created"),
        ("b", "created"),
        ("c", "replaced"),
        ("d", "adopted"),
        ("e", "rebuilt"),
        ("b", "dropped"),
    ):
        record.add(entry(name, "valid", action=action))
    record.complete({1})
    first = record.read()["tiers"]["1"]
    record.complete({1, 2})
    data = Record(str(path), "r2").read()
    assert [item["name"] for item in added_by(data, "r1")] == ["a"]
    assert added_by(data, "r2") == []
    assert data["tiers"]["1"] == first and "2" in data["tiers"]
    assert [file.name for file in path.parent.iterdir()] == ["record.json"]


def test_a_damaged_record_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    for text in (
        "{",
        "[]",
        '{"releases": 5}',
        '{"releases": {}, "tiers": 5}',
        '{"releases": {}, "tiers": {"1": "x"}}',
        '{"releases": {"r": [{"name": "a"}]}, "tiers": {}}',
        '{"releases": {"r": ["a"]}, "tiers": {}}',
        '{"releases": {"caf\xe9": []}, "tiers": {}}',
    ):
        path.write_text(text, encoding="latin-1")
        with pytest.raises(Refused, match="is not a record"):
            Record(str(path), "r").read()


def test_a_record_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    # A directory in its place: root, too, cannot read that.
    with pytest.raises(Refused, match="cannot read the record"):
        Record(str(tmp_path), "r").prepare()


def test_an_index_belongs_to_the_release_that_created_it_last(tmp_path: Path) -> None:
    path = str(tmp_path / "record.json")

    def note(release: str, name: str, action: str) -> None:
        Record(path, release).add(entry(name, "valid", action=action))

    def added() -> dict[str, list[str]]:
        data = Record(path, None).read()
        return {by: [item["name"] for item in added_by(data, by)] for by in sorted(data["releases"])}

    # The order of time, not of names.
    note("z", "a", "created")
    note("z", "b", "created")
    note("m", "a", "replaced")
    assert added() == {"m": [], "z": ["a", "b"]}
    note("m", "a", "dropped")
    assert added() == {"m": [], "z": ["b"]}
    note("c", "a", "created")
    assert added() == {"c": ["a"], "m": [], "z": ["b"]}


def test_a_record_that_cannot_be_kept_is_refused_before(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Refused, match="cannot keep the record"):
        Record(str(tmp_path / "file" / "record.json"), "r").prepare()
    Record(str(tmp_path / "new" / "record.json"), "r").prepare()
    assert list((tmp_path / "new").iterdir()) == []


def test_no_record_without_a_path() -> None:
    record = Record(None, None)
    record.add(entry("a", "valid", action="created"))
    record.complete({1})
    assert record.read() == {"releases": {}, "tiers": {}}


def tier_specs() -> list[Any]:
    return [
        parse({"name": name, "table": "t", "columns": ["a"], "tier": tier, "unique": name == "u"})
        for name, tier in (("a", 1), ("u", 1), ("b", 2), ("c", 5))
    ]


def test_tiers() -> None:
    used = [entry("a", "valid", valid=True, scans=5), entry("u", "valid", valid=True, scans=0)]
    hour = 3600.0

    def due(
        entries: list[Any], complete: dict[str, float], hours: dict[str, float], now: float
    ) -> list[bool]:
        return [item["due"] for item in tiers_due(tier_specs(), entries, complete, hours, now)]

    assert due([], {}, {}, 0) == [True, False, False]
    assert due(used, {"1": 0}, {}, 23 * hour) == [True, False, False]
    assert due(used, {"1": 0}, {}, 24 * hour) == [True, True, False]
    assert due(used, {"1": 0}, {"2": 48}, 47 * hour) == [True, False, False]
    assert due([{**used[0], "scans": 0}, used[1]], {"1": 0}, {}, 24 * hour) == [True, False, False]
    assert due([{**used[0], "valid": False}, used[1]], {"1": 0}, {}, 24 * hour) == [True, False, False]
    assert due(used[:1], {"1": 0}, {}, 24 * hour) == [True, False, False]
    second = [*used, entry("b", "valid", valid=True, scans=1)]
    assert due(second, {"1": 0, "2": 24 * hour}, {}, 48 * hour) == [True, True, True]


def test_hours_are_numbers() -> None:
    assert read_hours({2: "48", "3": 0.5}) == {"2": 48.0, "3": 0.5}
    for wrong in ({2: "one day"}, {2: None}, {"two": 24}):
        with pytest.raises(Refused, match="number of hours"):
            read_hours(wrong)


def test_a_replica_is_reached_at_its_own_address() -> None:
    replica = {"login_host": "standby", "login_port": None}
    for params in (
        {"login_host": "", "login_unix_socket": "/run/postgresql", "login_port": 6543},
        {"dsn": "host=primary", "login_port": 6543},
    ):
        reached = Target(replica_params(params, replica))
        assert (reached.dsn, reached.keywords["host"], reached.keywords["port"]) == ("", "standby", 6543)


def test_like_and_percent_and_usage() -> None:
    assert (
        matches_like("idx_a", "idx_%")
        and matches_like("idxxa", "idx_%")
        and not matches_like("idxxa", "idx\\_%")
    )
    assert (
        not matches_like("my_idx_a", "idx_%")
        and matches_like("a.b", "a.b")
        and not matches_like("axb", "a.b")
    )
    assert (percent(1, 3), percent(0, 0), percent(None, 5)) == (33.33, None, 0.0)
    assert (usage(0, 100), usage(99, 100), usage(100, 100)) == ("UNUSED", "LOW", "ACTIVE")


def test_index_names_of_a_plan() -> None:
    plan = [
        {"Plan": {"Node Type": "Append", "Plans": [{"Index Name": "a"}, {"Plans": [{"Index Name": "b"}]}]}}
    ]
    assert index_names(plan) == {"a", "b"}
    assert index_names([{"Plan": {"Node Type": "Seq Scan"}}]) == set()


def test_measure() -> None:
    row = dict.fromkeys(
        ("blocks_done", "blocks_total", "tuples_done", "tuples_total", "lockers_done", "lockers_total"), 0
    )
    assert measure({**row, "phase": "initializing"}) is None
    assert measure(
        {**row, "phase": "building index: scanning table", "blocks_done": 5, "blocks_total": 10}
    ) == (5, 10, "blocks")
    # In its first block PostgreSQL says that it has read them all.
    first = {**row, "phase": "building index: scanning table", "blocks_done": 10, "blocks_total": 10}
    assert measure(first) is None
    assert measure(
        {**row, "phase": "building index: loading tuples", "tuples_done": 12, "tuples_total": 10}
    ) == (10, 10, "tuples")
    waiting = {
        **row,
        "phase": "waiting for old snapshots",
        "lockers_done": 0,
        "lockers_total": 2,
        "blocks_total": 7,
    }
    assert measure(waiting) == (0, 2, "lockers")


def test_a_person_is_told_on_change_each_ten_percent_and_each_half_minute() -> None:
    narrator = Narrator()

    def at(now: float, percent: float, phase: str = "scanning", **more: Any) -> bool:
        record = {
            "index": "i",
            "phase": phase,
            "done": percent,
            "total": 100,
            "unit": "blocks",
            "percent": percent,
            **more,
        }
        return narrator.feed(record, now) is not None

    assert at(0, 0) and not at(1, 5) and at(2, 10) and not at(3, 19.9) and at(4, 20)
    assert (
        at(5, 20, "waiting")
        and at(6, 20, "waiting", blocker="pid 5")
        and not at(7, 20, "waiting", blocker="pid 5")
    )
    assert narrator.heartbeat(35) == []
    assert len(narrator.heartbeat(36)) == 1 and narrator.heartbeat(37) == []
    assert at(40, 100, "done")
    assert narrator.heartbeat(500) == []
    verbose = Narrator(verbose=True)
    record = {"index": "i", "phase": "scanning"}
    assert verbose.feed(record, 0) and verbose.feed(record, 1)
    # A record that does not count is no news, nor is the next one that goes on where the last one stood.
    counted = {**record, "percent": 40.0}
    narrator = Narrator()
    told = [narrator.feed(item, 0.0) is not None for item in (counted, record, counted)]
    assert told == [True, False, False]


def test_a_line() -> None:
    record = {
        "index": "public.i",
        "phase": "scanning",
        "done": 1200,
        "total": 2400,
        "unit": "blocks",
        "percent": 50.0,
    }
    assert line(record) == "public.i | scanning | 50 % (1,200 of 2,400 blocks)"
    assert (
        line({"index": "i", "phase": "done", "message": "valid, created", "seconds": 1.25})
        == "i | done | valid, created | 1.2 s"
    )
    assert line({"index": "i", "phase": "waiting", "blocker": "pid 5"}) == "i | waiting | for pid 5"


def test_a_part_of_a_line_waits_for_the_rest() -> None:
    text = '{"index": "a"}\n{"index": "b"}\nnot json\n{"index": "c'
    records, used = split_records(text)
    assert [record["index"] for record in records] == ["a", "b"]
    assert text[used:] == '{"index": "c'
    assert split_records("") == ([], 0)
    # Counted is what is in the file, not what a terminal makes of it.
    assert split_records(text.replace("\n", "\r\n")) == (records, used)


def test_the_progress_file(tmp_path: Path) -> None:
    path = tmp_path / "dir" / "progress.jsonl"
    progress = Progress(str(path))
    for record in (
        {"index": "a", "phase": "x"},
        {"index": "b", "phase": "x"},
        {"index": "a", "phase": "x"},
        {"index": "a", "phase": "y"},
    ):
        progress(record)
    written = [json.loads(text) for text in path.read_text().splitlines()]
    assert "pid" in written[0]
    assert [(record["index"], record["phase"]) for record in written[1:]] == [
        ("a", "x"),
        ("b", "x"),
        ("a", "y"),
    ]
    assert path.stat().st_mode & 0o777 == 0o600
    Progress(None)({"index": "a", "phase": "x"})
