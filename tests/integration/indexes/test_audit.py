"""The audit: what it sees in a database that was made to show it."""

from __future__ import annotations

from typing import Any

import pg_indexes_info
import psycopg
import pytest
from ansible.module_utils.slipway.indexes.info import look
from ansible.module_utils.slipway.postgres.sql import human_bytes
from conftest import Background


@pytest.fixture
def audit(t: Any) -> Any:
    def run(**options: Any) -> dict[str, Any]:
        defaults = {key: value.get("default") for key, value in pg_indexes_info.ARGUMENTS.items()}
        connection = {key: value for key, value in t.params([]).items() if key.startswith("login_")}
        expect = [{**dict.fromkeys(pg_indexes_info.EXPECT), **item} for item in options.pop("expect", [])]
        queries = [{**dict.fromkeys(pg_indexes_info.QUERY), **item} for item in options.pop("queries", [])]
        return look({**defaults, **connection, **options, "expect": expect, "queries": queries})

    return run


def gate(result: dict[str, Any], name: str) -> dict[str, Any]:
    return next(item for item in result["gates"] if item["name"] == name)


def test_use_size_and_share(t: Any, audit: Any) -> None:
    t.sql("CREATE INDEX t_a ON t (a)", "CREATE INDEX t_b ON t (b)", "ANALYZE t", "SET enable_seqscan = off")
    for _ in range(3):
        t.sql("SELECT * FROM t WHERE a = 5")
    t.sql("SELECT pg_stat_force_next_flush()", "SELECT 1")
    result = audit(low_scans=2, min_stats_age=0)
    found = {item["name"]: item for item in result["indexes"]}
    assert found["t_a"]["scans"] == 3
    assert (found["t_a"]["usage"], found["t_b"]["usage"]) == ("ACTIVE", "UNUSED")
    assert {item["name"]: item["usage"] for item in audit(low_scans=4)["indexes"]}["t_a"] == "LOW"
    assert found["t_a"]["size_bytes"] == t.value("SELECT pg_relation_size('t_a')")
    assert 0 < found["t_a"]["table_share_pct"] < 100
    assert bool(found["t_a"]["last_scan"]) == (t.server.version != "15")
    assert "t_b" in gate(result, "unused indexes")["detail"]
    assert gate(audit(min_stats_age=10**6), "unused indexes")["verdict"] == "pass"
    replica = [{"login_host": "127.0.0.1", "login_port": t.server.port}]
    assert {item["name"]: item["scans"] for item in audit(replicas=replica)["indexes"]}["t_a"] == 6


def test_invalid_and_leftovers(t: Any, audit: Any) -> None:
    t.sql("CREATE INDEX t_a ON t (a)")
    assert gate(audit(), "INVALID indexes")["verdict"] == "pass"
    t.invalid("t_a_ccnew")
    result = audit()
    assert [(item["name"], item["leftover"]) for item in result["invalid"]] == [("t_a_ccnew", True)]
    assert gate(result, "INVALID indexes")["verdict"] == "fail"


def test_a_leftover_of_a_toast_table_is_found(t: Any, audit: Any) -> None:
    blocker = t.other("BEGIN ISOLATION LEVEL REPEATABLE READ", "SELECT 1 FROM t LIMIT 1")
    session = t.other("SET lock_timeout = '200ms'")
    with pytest.raises(psycopg.errors.LockNotAvailable):
        session.execute("REINDEX TABLE CONCURRENTLY t")
    blocker.close()
    names = {item["name"] for item in audit()["invalid"]}
    assert "t_pkey_ccnew" in names
    assert any(name.startswith("pg_toast.pg_toast_") and name.endswith("_index_ccnew") for name in names)


OVERLAP = {
    # name: (definition, certainty and cover, or None)
    "a1": ("(a)", ("certain", "a_b")),
    "a_b": ("(a, b)", None),
    "a_desc_b": ("(a DESC, b)", None),
    "b_desc": ("(b DESC)", ("certain", "b_up")),
    "b_up": ("(b, c)", None),
    "b_pattern": ("(b text_pattern_ops)", None),
    "b_collate": ('(b COLLATE "C")', None),
    "c_unique": ("UNIQUE (c)", None),
    "c_plain": ("(c)", ("certain", "c_unique")),
    "d_part": ("(d) WHERE a > 5", ("possible", "d_full")),
    "d_full": ("(d, id)", None),
    "e_incl": ("(id, a) INCLUDE (c)", None),
    "id_a_b": ("(id, a, b)", None),
}


def test_overlap(t: Any, audit: Any) -> None:
    for name, (definition, _) in OVERLAP.items():
        unique = "UNIQUE " if definition.startswith("UNIQUE ") else ""
        t.sql("TRUNCATE t", f"CREATE {unique}INDEX {name} ON t {definition.removeprefix('UNIQUE ')}")
    found = {item["name"]: (item["certainty"], item["covered_by"]) for item in audit()["redundant"]}
    for name, (_definition, expected) in OVERLAP.items():
        if expected is None:
            assert name not in found, (name, found[name])
        else:
            assert found[name][0] == expected[0], (name, found.get(name))
    assert found["a1"][1] in ("a_b", "a_desc_b")
    assert found["c_plain"][1] == "c_unique"


def test_duplicates(t: Any, audit: Any) -> None:
    t.sql(
        "CREATE INDEX one ON t (a)",
        "CREATE INDEX two ON t (a)",
        "CREATE INDEX three ON t (a) WHERE d",
        "CREATE UNIQUE INDEX four ON t (a)",
    )
    t.sql("ALTER TABLE t ADD CONSTRAINT five UNIQUE (a)")
    groups = {tuple(group["indexes"]): group["droppable"] for group in audit()["duplicates"]}
    assert groups == {("one", "two"): ["two"], ("four", "five"): ["four"]}


def test_foreign_keys_without_an_index(t: Any, audit: Any) -> None:
    t.sql(
        "CREATE UNIQUE INDEX t_two ON t (id, a)",
        "CREATE TABLE bare (t_id int REFERENCES t (id))",
        "CREATE TABLE served (t_id int REFERENCES t (id))",
        "CREATE INDEX ON served (t_id, (t_id + 1))",
        "CREATE TABLE swapped (x int, y int, FOREIGN KEY (x, y) REFERENCES t (id, a))",
        "CREATE INDEX ON swapped (y, x)",
        "CREATE TABLE second (x int, y int, FOREIGN KEY (y) REFERENCES t (id))",
        "CREATE INDEX ON second (x, y)",
        "CREATE TABLE partly (t_id int REFERENCES t (id), gone boolean)",
        "CREATE INDEX ON partly (t_id) WHERE gone",
        "CREATE TABLE not_null (t_id int REFERENCES t (id))",
        "CREATE INDEX ON not_null (t_id) WHERE t_id IS NOT NULL",
    )
    assert sorted(item["table_name"] for item in audit()["foreign_keys"]) == ["bare", "partly", "second"]


def test_hot_updates_and_cache(t: Any, audit: Any) -> None:
    t.sql(
        "CREATE TABLE hot (id int PRIMARY KEY, x int) WITH (fillfactor = 20)",
        "INSERT INTO hot SELECT g, 0 FROM generate_series(1, 1500) g",
    )
    t.sql(
        "CREATE TABLE cold (id int PRIMARY KEY, x int)",
        "CREATE INDEX ON cold (x)",
        "INSERT INTO cold SELECT g, 0 FROM generate_series(1, 1500) g",
    )
    t.sql("UPDATE hot SET x = 1", "UPDATE cold SET x = 1", "SELECT pg_stat_force_next_flush()", "SELECT 1")
    result = audit(hot_update_min=50, cache_hit_min=1)
    tables = {item["name"]: item for item in result["tables"]}
    assert tables["hot"]["hot_update_pct"] > 90
    assert tables["cold"]["hot_update_pct"] < 50
    assert tables["cold"]["writes"] == 3000
    slow = gate(result, "tables whose updates touch indexes")
    assert (
        slow["verdict"] == "warn"
        and "cold" in slow["detail"]
        and "hot" not in slow["detail"].replace("public.", "").split()
    )
    assert gate(result, "cache hit ratio")["verdict"] == "pass"
    assert gate(audit(cache_hit_min=100.5), "cache hit ratio")["verdict"] == "fail"


def test_expected_number_and_size(t: Any, audit: Any) -> None:
    t.sql("CREATE SCHEMA core", "CREATE TABLE core.x (a int, b int)")
    t.sql(
        "CREATE INDEX idx_x_a ON core.x (a)",
        "CREATE INDEX idx_x_b ON core.x (b)",
        "CREATE INDEX other ON core.x (b)",
        "CREATE INDEX idx_t ON t (a)",
    )
    expect = {"name": "performance", "schemas": ["core"], "name_like": "idx\\_%"}
    assert gate(audit(expect=[{**expect, "count": 2}]), "performance: number") == {
        "name": "performance: number",
        "value": "2/2",
        "limit": "2/2",
        "verdict": "pass",
    }
    assert gate(audit(expect=[{**expect, "count": 3}]), "performance: number")["verdict"] == "fail"
    assert gate(audit(expect=[{**expect, "count_min": 2}]), "performance: number")["verdict"] == "pass"
    assert gate(audit(expect=[{**expect, "count_min": 3}]), "performance: number")["verdict"] == "fail"
    assert (
        gate(audit(expect=[{**expect, "size_min": "1kB", "size_max": "1MB"}]), "performance: total size")[
            "verdict"
        ]
        == "pass"
    )
    assert gate(audit(expect=[{**expect, "size_min": "1MB"}]), "performance: total size")["verdict"] == "fail"
    assert gate(audit(expect=[{**expect, "size_max": "8kB"}]), "performance: total size")["verdict"] == "fail"
    t.sql("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'core.idx_x_b'::regclass")
    invalid = gate(audit(expect=[{**expect, "count": 2}]), "performance: number")
    assert (invalid["value"], invalid["verdict"]) == ("1/2", "fail") and "idx_x_b is INVALID" in invalid[
        "detail"
    ]


def test_query_budgets(t: Any, audit: Any) -> None:
    t.sql(
        "CREATE INDEX t_a ON t (a)",
        "CREATE INDEX t_part ON t (b) WHERE d",
        "CREATE TABLE tiny (x int)",
        "INSERT INTO tiny VALUES (1)",
        "CREATE INDEX tiny_x ON tiny (x)",
        "ANALYZE",
    )
    queries = [
        {
            "name": "chosen",
            "query": "SELECT * FROM t WHERE a = %s;",
            "params": [5],
            "must_use": "t_a",
            "max_ms": 500,
        },
        {"name": "usable", "query": "SELECT * FROM tiny WHERE x = 1", "must_use": "tiny_x", "max_ms": 500},
        {"name": "not usable", "query": "SELECT * FROM t WHERE a + 1 = 5", "must_use": "t_a"},
        {
            "name": "predicate not implied",
            "query": "SELECT * FROM t WHERE b = 'text 5'",
            "must_use": "t_part",
        },
        {"name": "too slow", "query": "SELECT pg_sleep(0.05)", "max_ms": 10},
        {"name": "endless", "query": "SELECT pg_sleep(30)", "max_ms": 5},
        {"name": "writes", "query": "INSERT INTO tiny VALUES (2) RETURNING x"},
        {"name": "stacked", "query": "SELECT 1; DROP TABLE tiny"},
        {"name": "wrong", "query": "SELECT nope FROM t"},
        {
            "name": "percent",
            "query": "SELECT * FROM t WHERE b LIKE 'text 1%' AND a = 1",
            "must_use": "public.t_a",
        },
    ]
    result = audit(queries=queries)
    verdicts = {item["name"]: item["verdict"] for item in result["queries"]}
    assert verdicts == {
        "chosen": "pass",
        "usable": "warn",
        "not usable": "fail",
        "predicate not implied": "fail",
        "too slow": "fail",
        "endless": "fail",
        "writes": "fail",
        "stacked": "fail",
        "wrong": "fail",
        "percent": "pass",
    }
    assert t.value("SELECT count(*) FROM tiny") == 1
    assert gate(result, "query chosen")["limit"] == "500 ms, t_a"


def test_a_vector_query_must_be_asked_the_right_way(t: Any, audit: Any) -> None:
    t.sql(
        "CREATE TABLE docs (id int, emb vector(3))",
        "INSERT INTO docs SELECT g, ARRAY[g, 1, 2]::vector FROM generate_series(1, 500) g",
    )
    t.sql("CREATE INDEX docs_emb ON docs USING hnsw (emb vector_cosine_ops)", "ANALYZE docs")
    right = "SELECT id FROM docs ORDER BY emb <=> %s::vector LIMIT 5"
    queries = [
        {"name": "right", "query": right, "params": ["[1,2,3]"], "must_use": "docs_emb"},
        {
            "name": "wrong operator",
            "query": right.replace("<=>", "<->"),
            "params": ["[1,2,3]"],
            "must_use": "docs_emb",
        },
    ]
    assert [item["usable"] for item in audit(queries=queries)["queries"]] == [True, False]


def test_a_partitioned_index_is_recognised_by_its_parts(t: Any, audit: Any) -> None:
    t.sql(
        "CREATE TABLE p (id int, v int) PARTITION BY RANGE (id)",
        "CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10000)",
    )
    t.sql(
        "INSERT INTO p SELECT g, g FROM generate_series(1, 5000) g", "CREATE INDEX p_v ON p (v)", "ANALYZE p"
    )
    queries = [{"name": "q", "query": "SELECT * FROM p WHERE v = 5", "must_use": "p_v"}]
    assert audit(queries=queries)["queries"][0]["chosen"]


def test_a_partitioned_index_is_used_when_its_parts_are(t: Any, audit: Any, tmp_path: Any) -> None:
    t.sql(
        "CREATE TABLE p (id int, v int) PARTITION BY RANGE (id)",
        "CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (1000)",
        "CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (1000) TO (9999) PARTITION BY RANGE (id)",
        "CREATE TABLE p2a PARTITION OF p2 FOR VALUES FROM (1000) TO (9999)",
        "INSERT INTO p SELECT g, g FROM generate_series(1, 5000) g",
    )
    record = str(tmp_path / "indexes.json")
    indexes = [
        {"name": "p_v", "table": "p", "columns": ["v"]},
        {"name": "t_b", "table": "t", "columns": ["b"], "tier": 2},
    ]
    t.apply(indexes, tiers=[1], record=record)
    t.sql(
        "ANALYZE p",
        "SET enable_seqscan = off",
        "SELECT * FROM p WHERE v = 5",
        "SELECT pg_stat_force_next_flush()",
        "SELECT 1",
    )
    expect = [{"name": "parts", "name_like": "p\\_v%", "size_min": "1kB"}]
    result = audit(
        indexes=indexes,
        record=record,
        tier_hours={"2": 0},
        expect=expect,
        replicas=[{"login_host": "127.0.0.1", "login_port": t.server.port}],
    )
    found = {item["name"]: item for item in result["indexes"]}
    parts = [item for item in result["indexes"] if item["part_of"] and not item["partitioned"]]
    assert len(parts) == 2
    # The replica is the same server here, so everything counts twice.
    assert found["p_v"]["scans"] == sum(item["scans"] for item in parts) == 4
    assert found["p_v"]["size_bytes"] == sum(item["size_bytes"] for item in parts) > 0
    assert bool(found["p_v"]["last_scan"]) == (t.server.version != "15")
    assert [item["due"] for item in result["tiers"]] == [True, True], result["tiers"]
    assert gate(result, "parts: total size")["value"] == human_bytes(found["p_v"]["size_bytes"])
    leaves = [item["size_bytes"] for item in result["indexes"] if not item["partitioned"]]
    assert result["totals"]["size_bytes"] == sum(leaves)


def test_an_index_that_a_foreign_key_needs_is_not_called_unused(t: Any, audit: Any) -> None:
    t.sql(
        "CREATE TABLE child (t_id int REFERENCES t (id), x int)",
        "CREATE INDEX child_t ON child (t_id)",
        "CREATE INDEX child_x ON child (x)",
    )
    unused = gate(audit(min_stats_age=0), "unused indexes")["detail"]
    assert "child_x" in unused and "child_t" not in unused


@pytest.mark.parametrize(
    "how", ["CREATE INDEX CONCURRENTLY t_s ON t (slow(a))", "REINDEX TABLE CONCURRENTLY t"]
)
def test_an_index_that_is_being_built_is_no_leftover(t: Any, audit: Any, gates: Any, how: str) -> None:
    if how.startswith("REINDEX"):
        gates.open(1, 2)
        t.sql("CREATE INDEX t_s ON t (slow(a))")
        gates.close(1, 2)
    build = Background(t.other().execute, how)
    gates.wait_at(1)
    result = audit(expect=[{"name": "all", "name_like": "t\\_s", "count": 1}])
    assert result["invalid"] == [] and gate(result, "INVALID indexes")["verdict"] == "pass"
    assert any(item["building"] for item in result["indexes"])
    if how.startswith("CREATE"):
        assert "is being built now" in gate(result, "all: number")["detail"]
    gates.open(1, 2)
    build.result()
    assert not any(item["building"] for item in audit()["indexes"])


def test_tiers_and_what_releases_added(t: Any, audit: Any, tmp_path: Any) -> None:
    record = str(tmp_path / "indexes.json")
    indexes = [
        {"name": "t_a", "table": "t", "columns": ["a"]},
        {"name": "t_b", "table": "t", "columns": ["b"], "tier": 2},
    ]
    t.apply(indexes, tiers=[1], record=record, release="r1")
    tiers = audit(indexes=indexes, record=record, tier_hours={"2": 0})["tiers"]
    assert [item["due"] for item in tiers] == [True, False]
    assert "never scanned: public.t_a" in tiers[1]["reason"]
    t.sql(
        "SET enable_seqscan = off",
        "SELECT * FROM t WHERE a = 5",
        "SELECT pg_stat_force_next_flush()",
        "SELECT 1",
    )
    result = audit(indexes=indexes, record=record, tier_hours={"2": 0})
    assert [item["due"] for item in result["tiers"]] == [True, True]
    assert [item["name"] for item in result["added"]["r1"]] == ["t_a"]
    assert "hours" in audit(indexes=indexes, record=record, tier_hours={"2": 1})["tiers"][1]["reason"]
