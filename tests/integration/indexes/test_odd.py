"""What people declare that nobody thought of: odd names, odd tables, odd wishes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

ODD_NAME = 'I "x" %s %% {0} é'
ODD_TABLE = 'Sel"ect%s {x}'
NAMES = [
    {"name": ODD_NAME, "table": ODD_TABLE, "columns": ['"or%der" DESC', '"a""b" text_pattern_ops']},
    {"name": "percent", "table": ODD_TABLE, "columns": ['("or%der" % 2)'], "where": '"a""b" LIKE \'%s%%x%\''},
    {"name": "order", "table": "select", "columns": ['"from"'], "include": ["user"], "where": '"user" > 3'},
    {"name": "comment", "table": "select", "columns": ["('--' || \"where\")"], "where": "\"where\" <> '/*;'"},
    {
        "name": "escape",
        "table": "select",
        "columns": ['"from"'],
        "where": "\"where\" <> E'\\'; DROP TABLE x; --'",
    },
    {"name": "catalog", "table": "pg_class", "columns": ["relname"]},
    {"name": "catalog2", "table": "pg_index", "columns": ["a"]},
    {"name": "slipway_probe_0", "table": "slipway_probe_1", "columns": ["a"]},
    {"name": "twice", "table": "select", "columns": ['"from"', '"from"']},
]


def test_odd_names_are_built_and_found_equal(db: Any) -> None:
    db.sql(
        'CREATE SCHEMA "My Schema"',
        'SET search_path = "My Schema"',
        'CREATE TABLE "Sel""ect%s {x}" ("or%der" int, "a""b" text)',
        'CREATE TABLE "select" ("from" int, "where" text, "user" int)',
        "CREATE TABLE pg_class (oid int, relname text)",
        "CREATE TABLE pg_index (a int)",
        "CREATE TABLE slipway_probe_1 (a int)",
        "RESET search_path",
    )
    declared = [{"schema": "My Schema", **body} for body in NAMES]
    first = db.apply(declared)
    assert {(item["state"], item["action"], item["reason"]) for item in first["indexes"]} == {
        ("valid", "created", "")
    }, first.get("msg")
    again = db.apply(declared)
    assert {(item["state"], item["action"]) for item in again["indexes"]} == {("valid", "none")}


COLUMNS = [
    ("a", "btree"),
    ("e", "btree"),
    ("((e).x)", "btree"),
    ("i", "btree"),
    ("g", "btree"),
    ("r", "gist"),
    ("r", "spgist"),
    ("h", "btree"),
    ("ip inet_ops", "gist"),
    ("u", "hash"),
    ("(f[1])", "btree"),
    ("i int4_minmax_multi_ops(values_per_range=16)", "brin"),
    ('a COLLATE "C" text_pattern_ops DESC', "btree"),
    ("(ROW(i, a) IS NULL)", "btree"),
    ("(CASE WHEN i > 1 AND a = 'y' THEN 1 ELSE 0 END)", "btree"),
    ("(i OPERATOR(pg_catalog.+) 1)", "btree"),
]


def test_odd_types_are_built_and_found_equal(db: Any) -> None:
    db.sql(
        "CREATE TYPE pair AS (x int, y text)",
        "CREATE DOMAIN word AS text COLLATE \"C\" CHECK (value <> '')",
        "CREATE UNLOGGED TABLE base (i int GENERATED ALWAYS AS IDENTITY)",
        "CREATE TABLE t (a word, e pair, g int GENERATED ALWAYS AS (length(a)) STORED, r int4range, h bit(3), "
        "ip inet, u uuid, f int[]) INHERITS (base)",
        "CREATE TABLE typed OF pair",
    )
    declared: list[dict[str, Any]] = [
        {"name": f"t_{number}", "table": "t", "columns": [column], "method": method}
        for number, (column, method) in enumerate(COLUMNS)
    ]
    declared.append({"name": "typed_x", "table": "typed", "columns": ["x", "y"]})
    first = db.apply(declared)
    assert {(item["state"], item["action"]) for item in first["indexes"]} == {("valid", "created")}, first
    assert not db.apply(declared)["changed"]


@pytest.mark.parametrize("schema", ["pg_catalog", "information_schema"])
def test_the_system_s_own_tables_are_refused(db: Any, schema: str) -> None:
    table = {"pg_catalog": "pg_class", "information_schema": "sql_features"}[schema]
    done = db.one({"name": "i", "schema": schema, "table": table, "columns": ["relname"]})
    assert done["state"] == "missing" and "belongs to PostgreSQL itself" in done["reason"]


def test_a_trigger_that_forbids_new_tables_makes_it_unknown(t: Any) -> None:
    t.sql(
        "CREATE INDEX t_b ON t (b)",
        "CREATE FUNCTION no() RETURNS event_trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'no new tables today'; END $$",
        "CREATE EVENT TRIGGER no ON ddl_command_start WHEN TAG IN ('CREATE TABLE') EXECUTE FUNCTION no()",
    )
    result = t.apply(
        [{"name": "t_b", "table": "t", "columns": ["b"]}, {"name": "t_a", "table": "t", "columns": ["a"]}]
    )
    there, new = result["indexes"]
    assert (there["state"], there["action"]) == ("unknown", "none") and "no new tables" in there["reason"]
    assert new["action"] == "created"


def test_declared_absent_under_the_old_name_and_present_under_a_new_one_is_a_rename(t: Any) -> None:
    t.sql("CREATE INDEX before ON t (c)")
    declared = [
        {"name": "before", "state": "absent"},
        {"name": "after", "table": "t", "columns": ["c"]},
        {"name": "twin", "table": "t", "columns": ["c"]},
    ]
    oid = t.state("before")["oid"]
    actions = [("before", "none"), ("after", "adopted"), ("twin", "created")]
    planned = t.apply(declared, check_mode=True)
    assert [(item["name"], item["action"]) for item in planned["indexes"]] == actions
    done = t.apply(declared)
    assert [(item["name"], item["action"]) for item in done["indexes"]] == actions
    assert [item["state"] for item in done["indexes"]] == ["absent", "valid", "valid"]
    assert t.state("after")["oid"] == oid and t.state("before") is None
    assert not t.apply(declared)["changed"]


def test_an_index_whose_new_name_could_not_be_given_is_not_dropped(t: Any) -> None:
    t.sql("CREATE INDEX before ON t (c)")
    t.other("BEGIN", "ALTER INDEX before SET (fillfactor = 80)")
    declared = [{"name": "before", "state": "absent"}, {"name": "after", "table": "t", "columns": ["c"]}]
    done = t.apply(declared, max_wait=1)
    assert [item["name"] for item in done["failed_indexes"]] == ["before", "after"]
    assert "kept" in done["indexes"][0]["reason"] and t.state("before")["valid"]


def test_nothing_is_dropped_before_the_others_are_built(t: Any, tmp_path: Path) -> None:
    t.sql("CREATE INDEX t_old ON t (a)")
    declared = [
        {"name": "t_old", "state": "absent"},
        {"name": "t_new", "table": "t", "columns": ["lower(b)", "a"]},
    ]
    t.apply(declared, progress_file=str(tmp_path / "progress"))
    records = [json.loads(line) for line in (tmp_path / "progress").read_text().splitlines()]
    done = [record["index"] for record in records if record.get("phase") == "done"]
    assert done == ["public.t_new", "public.t_old"]


def test_an_invalid_index_of_this_name_in_another_schema_is_left_alone(t: Any) -> None:
    t.sql("CREATE SCHEMA other", "CREATE TABLE other.t (a int)")
    t.invalid("t_a")
    left = t.state("t_a")
    done = t.one({"name": "t_a", "schema": "other", "table": "t", "columns": ["a"]})
    assert (done["state"], done["action"], done["cleaned"]) == ("valid", "created", [])
    assert t.state("t_a") == left


def test_an_index_that_only_looks_like_a_leftover_is_left_alone(t: Any) -> None:
    t.sql(
        "CREATE INDEX t_a ON t (a)",
        "CREATE INDEX t_a__old_20240101 ON t (b)",
        "CREATE INDEX t_a_ccnew ON t (a, b)",
    )
    assert not t.one({"name": "t_a", "table": "t", "columns": ["a"]})["result"]["changed"]
    assert t.names() == ["t_a", "t_a__old_20240101", "t_a_ccnew", "t_pkey"]


def test_a_deferrable_constraint_is_not_a_unique_index(t: Any) -> None:
    t.sql("ALTER TABLE t ADD CONSTRAINT t_a UNIQUE (a) DEFERRABLE")
    done = t.one({"name": "t_a", "table": "t", "columns": ["a"], "unique": True})
    assert done["state"] == "drifted" and "deferrable: declared False, found True" in done["reason"]


@pytest.mark.parametrize("check_mode", [True, False])
def test_constraints_cannot_be_declared_away(t: Any, check_mode: bool) -> None:
    t.sql(
        "ALTER TABLE t ADD CONSTRAINT t_x EXCLUDE USING btree (a WITH =)",
        "CREATE UNIQUE INDEX t_u ON t (a, id)",
        "CREATE TABLE child (a int, id int, FOREIGN KEY (a, id) REFERENCES t (a, id))",
    )
    before = t.names()
    done = t.apply(
        [{"name": name, "state": "absent"} for name in ("t_pkey", "t_x", "t_u")], check_mode=check_mode
    )
    assert len(done["failed_indexes"]) == 3 and not done["changed"]
    reasons = [item["reason"] for item in done["indexes"]]
    assert 'DROP CONSTRAINT "t_pkey"' in reasons[0] and 'DROP CONSTRAINT "t_x"' in reasons[1]
    assert "foreign keys need it" in reasons[2]
    assert t.names() == before


def test_on_drift_in_check_mode(t: Any) -> None:
    t.sql("CREATE INDEX t_a ON t (b)")
    declared = {"name": "t_a", "table": "t", "columns": ["a"]}
    told = {
        policy: t.one(declared, on_drift=policy, check_mode=True) for policy in ("replace", "report", "fail")
    }
    assert [told[policy]["action"] for policy in told] == ["replaced", "reported", "none"]
    assert [told[policy]["result"]["changed"] for policy in told] == [True, False, False]
    assert [bool(told[policy]["result"]["failed_indexes"]) for policy in told] == [False, False, True]
    assert all(item["state"] == "drifted" and item["differences"] for item in told.values())


def test_two_levels_of_partitions(db: Any) -> None:
    db.sql(
        "CREATE SCHEMA other",
        "CREATE TABLE p (k int, r text, v int) PARTITION BY RANGE (k)",
        "CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10) PARTITION BY LIST (r)",
        "CREATE TABLE p1a PARTITION OF p1 FOR VALUES IN ('a')",
        "CREATE TABLE p1b PARTITION OF p1 FOR VALUES IN ('b') PARTITION BY HASH (v)",
        "CREATE TABLE p1b0 PARTITION OF p1b FOR VALUES WITH (modulus 2, remainder 0)",
        "CREATE TABLE p1b1 PARTITION OF p1b FOR VALUES WITH (modulus 2, remainder 1)",
        "CREATE TABLE other.p2 PARTITION OF p DEFAULT",
        "INSERT INTO p SELECT g % 20, (ARRAY['a', 'b'])[1 + g % 2], g FROM generate_series(1, 1000) g",
        # It fits: it is attached, not built a second time. This one was made under another definition.
        "CREATE INDEX mine ON p1b1 (v)",
        "CREATE INDEX odd ON p1a (v DESC)",
    )
    mine = db.state("mine")["oid"]
    index = {"name": "p_v", "table": "p", "columns": ["v"]}
    assert db.one(index)["action"] == "created"
    rows = db.sql(
        "SELECT count(*) FILTER (WHERE isleaf) AS leaves, bool_and(i.indisvalid) AS valid "
        "FROM pg_partition_tree('p_v') p JOIN pg_index i ON i.indexrelid = p.relid"
    )
    assert rows[0] == {"leaves": 4, "valid": True}
    assert db.names("p1b1") == ["mine"] and db.state("mine")["oid"] == mine
    assert not db.one(index)["result"]["changed"]
    # A part of it is no index of its own, whatever is declared about it.
    part = db.one({"name": "mine", "table": "p1b1", "columns": ["v DESC"]})
    assert part["result"]["failed_indexes"] and "part of a partitioned index" in part["reason"]
    gone = db.one({"name": "mine", "state": "absent"})
    assert gone["result"]["failed_indexes"] and "part of a partitioned index" in gone["reason"]
    changed = db.one({**index, "where": "v > 3"})
    assert changed["action"] == "replaced" and changed["state"] == "valid"
    assert "mine" not in db.names("p1b1") and len(db.names("p1b1")) == 1
    assert db.one({"name": "p_v", "state": "absent"})["action"] == "dropped"
    assert db.names("p1b0") == [] and db.names("p1a") == ["odd"]


def test_a_materialised_view_without_data_and_its_drift(db: Any) -> None:
    db.sql("CREATE MATERIALIZED VIEW v AS SELECT 1 AS x, 'y' AS y WITH NO DATA")
    assert db.one({"name": "v_x", "table": "v", "columns": ["x"], "unique": True})["action"] == "created"
    assert db.one({"name": "v_x", "table": "v", "columns": ["y", "x"]})["action"] == "replaced"
    db.invalid("v_y", "v", "y")
    assert db.one({"name": "v_y", "table": "v", "columns": ["y"]})["action"] == "rebuilt"
