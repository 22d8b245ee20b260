"""Replacing, adopting, dropping, refusing; partitions; duplicates; memory; poolers; odd databases, roles."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import subprocess
import threading
import time
from typing import Any

import psycopg
import pytest
from ansible.module_utils.slipway.indexes import build as pg_index_build
from ansible.module_utils.slipway.indexes.catalog import Table
from ansible.module_utils.slipway.indexes.partition import child_name
from ansible.module_utils.slipway.postgres.connect import Target
from conftest import PASSWORD, Background, Database, Server, until

INDEX = {"name": "t_a", "table": "t", "columns": ["a"]}
DRIFTED = {**INDEX, "columns": ["a DESC", "b"]}


def watch_validity(db: Any, name: str, stop: Any) -> list[str]:
    """Note every moment at which the table has no valid index of this name."""
    gaps = []
    session = db.server.connect(db.name)
    while not stop():
        row = session.execute(
            "SELECT indisvalid FROM pg_index JOIN pg_class c ON c.oid = indexrelid WHERE relname = %s", [name]
        ).fetchone()
        if row is None or not row["indisvalid"]:
            gaps.append("no valid index")
    session.close()
    return gaps


def test_replacement_is_built_before_the_old_one_goes(t: Any) -> None:
    t.sql("CREATE INDEX t_a ON t (a)")
    done = []
    watcher = Background(watch_validity, t, "t_a", lambda: bool(done))
    told = t.apply([DRIFTED], check_mode=True)
    assert told["indexes"][0]["action"] == "replaced"
    assert "USING btree (a)" in told["diff"][0]["before"]
    assert "a DESC" in told["diff"][0]["after"]
    result = t.one(DRIFTED)
    done.append(True)
    assert watcher.result() == []
    assert (result["state"], result["action"]) == ("valid", "replaced"), result["reason"]
    assert "a DESC" in result["definition"]
    assert t.names() == ["t_a", "t_pkey"]
    assert not t.apply([DRIFTED])["changed"]


def test_what_hangs_on_an_index_survives_its_replacement(t: Any) -> None:
    t.sql(
        "ALTER TABLE t ALTER a SET NOT NULL",
        "CREATE UNIQUE INDEX t_u ON t (a, id)",
        "ALTER TABLE t REPLICA IDENTITY USING INDEX t_u",
        "COMMENT ON INDEX t_u IS 'for the ''orders'' page'",
        "CREATE INDEX t_e ON t (id, (a + 1))",
        "ALTER INDEX t_e ALTER COLUMN 2 SET STATISTICS 777",
        "CREATE INDEX t_c ON t (a)",
        "ALTER TABLE t CLUSTER ON t_c",
    )
    result = t.apply(
        [
            {"name": "t_u", "table": "t", "columns": ["a", "id"], "unique": True, "with": {"fillfactor": 80}},
            {"name": "t_e", "table": "t", "columns": ["(a + 1)", "id"]},
            {"name": "t_c", "table": "t", "columns": ["a", "id"]},
        ]
    )
    assert [item["action"] for item in result["indexes"]] == ["replaced"] * 3, result.get("msg")
    assert t.value("SELECT obj_description('t_u'::regclass)") == "for the 'orders' page"
    assert t.value("SELECT indisreplident FROM pg_index WHERE indexrelid = 't_u'::regclass")
    assert t.value("SELECT indisclustered FROM pg_index WHERE indexrelid = 't_c'::regclass")
    assert (
        t.value("SELECT attstattarget FROM pg_attribute WHERE attrelid = 't_e'::regclass AND attnum = 1")
        == 777
    )
    assert t.value("SELECT count(*) FROM pg_stats WHERE tablename = 't_e'") == 1


def test_replica_identity_that_would_be_lost_is_refused(t: Any) -> None:
    t.sql(
        "ALTER TABLE t ALTER a SET NOT NULL",
        "CREATE UNIQUE INDEX t_a ON t (a)",
        "ALTER TABLE t REPLICA IDENTITY USING INDEX t_a",
    )
    done = t.one(INDEX)
    assert done["state"] == "drifted" and "replica identity" in done["reason"]
    assert "UNIQUE" in t.state("t_a")["def"]


def test_a_replica_identity_on_a_column_that_may_be_null_is_refused(t: Any) -> None:
    t.sql(
        "CREATE UNIQUE INDEX t_a ON t (id)",
        "ALTER TABLE t REPLICA IDENTITY USING INDEX t_a",
    )
    done = t.one({**INDEX, "columns": ["id", "a"], "unique": True})
    assert (done["state"], done["action"]) == ("drifted", "none") and "NOT NULL" in done["reason"]
    t.sql("ALTER TABLE t ALTER a SET NOT NULL")
    assert t.one({**INDEX, "columns": ["id", "a"], "unique": True})["action"] == "replaced"
    done = t.one({"name": "t_a", "state": "absent"})
    assert done["result"]["failed_indexes"] and "REPLICA IDENTITY DEFAULT" in done["reason"]
    # It may have another name, though.
    renamed = {"name": "t_z", "table": "t", "columns": ["id", "a"], "unique": True}
    result = t.apply([{"name": "t_a", "state": "absent"}, renamed])
    assert [item["state"] for item in result["indexes"]] == ["absent", "valid"], result.get("msg")


def test_a_replaced_or_rebuilt_index_stays_in_its_tablespace(t: Any) -> None:
    place = f"ts_{t.name}"
    t.sql("SET allow_in_place_tablespaces = on", f"CREATE TABLESPACE {place} LOCATION ''")

    def where() -> Any:
        return t.value(
            "SELECT spcname FROM pg_class c JOIN pg_tablespace s ON s.oid = reltablespace "
            "WHERE relname = 't_a'"
        )

    t.sql(f"CREATE INDEX t_a ON t (a) TABLESPACE {place}")
    told = t.apply([DRIFTED], check_mode=True)
    assert place in told["diff"][0]["after"]
    assert t.one(DRIFTED)["action"] == "replaced" and where() == place
    t.sql("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 't_a'::regclass")
    assert t.one(DRIFTED)["action"] == "rebuilt" and where() == place
    assert not t.apply([DRIFTED])["changed"]


@pytest.mark.parametrize("table", [{}, {"table": "t"}], ids=["table not named", "table named"])
def test_absent_takes_the_leftovers_of_a_replacement_with_it(t: Any, table: dict[str, str]) -> None:
    t.sql("CREATE INDEX t_a ON t (a)", "CREATE INDEX t_a__slip_01234567 ON t (b)")
    absent = {"name": "t_a", "state": "absent", **table}
    assert t.apply([absent], check_mode=True)["indexes"][0]["cleaned"] == ["public.t_a__slip_01234567"]
    done = t.one(absent)
    assert (done["state"], done["action"], done["cleaned"]) == (
        "absent",
        "dropped",
        ["public.t_a__slip_01234567"],
    )
    assert t.names() == ["t_pkey"]
    assert not t.apply([absent])["changed"]


@pytest.mark.parametrize("point", ["built", "invalid", "swapped"])
def test_a_replacement_that_was_interrupted_is_continued(t: Any, point: str) -> None:
    from ansible.module_utils.slipway.indexes.spec import parse

    digest = parse(DRIFTED).hash
    t.sql("CREATE INDEX t_a ON t (a)")
    if point == "built":
        t.sql(f"CREATE INDEX t_a__slip_{digest} ON t (a DESC, b)")
    elif point == "invalid":
        t.invalid(f"t_a__slip_{digest}", column="a DESC, b")
    else:
        t.sql(f"ALTER INDEX t_a RENAME TO t_a__slipold_{digest}", "CREATE INDEX t_a ON t (a DESC, b)")
    ready = t.state(f"t_a__slip_{digest}")
    done = t.one(DRIFTED)
    assert done["state"] == "valid", done["reason"]
    assert t.names() == ["t_a", "t_pkey"]
    if point == "built":
        assert t.state("t_a")["oid"] == ready["oid"]


def test_a_replacement_that_fails_leaves_the_old_index_alone(t: Any) -> None:
    t.sql("CREATE INDEX t_a ON t (a)", "INSERT INTO t (a) VALUES (7), (7), (9)")
    old = t.state("t_a")
    done = t.one({**INDEX, "unique": True})
    assert done["state"] == "drifted"
    assert "(7) in 3 rows" in done["reason"] and "(9) in 2 rows" in done["reason"], done["reason"]
    assert t.state("t_a") == old
    assert t.names() == ["t_a", "t_pkey"]


def test_what_backs_a_constraint_is_refused_with_the_statement_to_use(t: Any) -> None:
    t.sql("ALTER TABLE t ADD CONSTRAINT t_a_key UNIQUE (a)", "CREATE UNIQUE INDEX t_ref ON t (id, a)")
    t.sql("CREATE TABLE child (id int, a int, FOREIGN KEY (id, a) REFERENCES t (id, a))")
    before = t.names()
    done = t.one({"name": "t_a_key", "table": "t", "columns": ["a", "id"], "unique": True})
    assert done["result"]["failed_indexes"] and "UNIQUE USING INDEX" in done["reason"]
    done = t.one(
        {"name": "t_pkey", "table": "t", "columns": ["id"], "unique": True, "with": {"fillfactor": 70}}
    )
    assert "PRIMARY KEY USING INDEX" in done["reason"]
    done = t.one({"name": "t_a_key", "state": "absent"})
    assert 'DROP CONSTRAINT "t_a_key"' in done["reason"]
    done = t.one({"name": "t_ref", "table": "t", "columns": ["id", "a"]})
    assert "oreign keys need it" in done["reason"]
    assert t.names() == before


def test_the_statement_that_is_given_for_a_constraint_works(t: Any) -> None:
    t.sql("ALTER TABLE t ADD CONSTRAINT t_a_key UNIQUE (a)")
    done = t.one({"name": "t_a_key", "table": "t", "columns": ["a", "id"], "unique": True})
    for statement in done["reason"].split("By hand: ")[1].split("; "):
        t.sql(statement)
    assert (
        t.one({"name": "t_a_key", "table": "t", "columns": ["a", "id"], "unique": True})["state"] == "valid"
    )


def test_same_definition_under_another_name_is_renamed(t: Any) -> None:
    t.sql("CREATE INDEX somebodys ON t (a)")
    oid = t.state("somebodys")["oid"]
    told = t.apply([INDEX], check_mode=True)["indexes"][0]
    assert told["action"] == "adopted" and "somebodys" in told["reason"]
    assert t.one(INDEX)["action"] == "adopted"
    assert t.state("t_a")["oid"] == oid


def test_adopt_takes_neither_declared_ones_nor_those_of_constraints(t: Any) -> None:
    t.sql("CREATE INDEX mine ON t (a)", "ALTER TABLE t ADD CONSTRAINT t_b_key UNIQUE (b)")
    result = t.apply(
        [INDEX, {**INDEX, "name": "mine"}, {"name": "t_b", "table": "t", "columns": ["b"], "unique": True}]
    )
    assert [item["action"] for item in result["indexes"]] == ["created", "none", "created"]
    assert t.one({"name": "t_x", "table": "t", "columns": ["c"]}, adopt=False)["action"] == "created"


def test_on_drift_report_and_fail_touch_nothing(t: Any) -> None:
    t.sql("CREATE INDEX t_a ON t (a)")
    reported = t.one(DRIFTED, on_drift="report")
    assert (reported["state"], reported["action"], reported["result"]["failed_indexes"]) == (
        "drifted",
        "reported",
        [],
    )
    assert {"warn"} == {gate["verdict"] for gate in reported["result"]["gates"]}
    failed = t.one(DRIFTED, on_drift="fail")
    assert failed["result"]["failed_indexes"] and failed["state"] == "drifted"
    assert "(a)" in t.state("t_a")["def"]


# -- names


def test_names_that_are_taken_and_tables_that_are_not_there(t: Any) -> None:
    t.sql(
        "CREATE VIEW taken AS SELECT 1 AS x",
        "CREATE TABLE u (a int)",
        "CREATE INDEX u_a ON u (a)",
        'CREATE TABLE "Order" (a int)',
    )
    assert "taken by a view" in t.one({**INDEX, "name": "taken"})["reason"]
    assert "taken by a table" in t.one({**INDEX, "name": "u"})["reason"]
    assert "index on u" in t.one({**INDEX, "name": "u_a"})["reason"]
    assert "did you mean public.Order" in t.one({**INDEX, "table": "order"})["reason"]
    assert "is a view" in t.one({**INDEX, "table": "taken"})["reason"]
    done = t.one({"name": "u_a", "table": "t", "state": "absent"})
    assert "not dropped" in done["reason"] and t.state("u_a")
    assert t.one({"name": "taken", "state": "absent"})["result"]["failed_indexes"]
    assert t.one({"name": "never", "state": "absent"})["state"] == "absent"


def test_one_name_in_two_schemas(db: Any) -> None:
    db.sql(
        "CREATE SCHEMA one",
        "CREATE SCHEMA two",
        "CREATE TABLE one.t (a int, b int)",
        "CREATE TABLE two.t (a int, b int)",
    )
    db.sql("CREATE INDEX i ON two.t (b)")
    db.sql("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'two.i'::regclass")
    first = db.one({"name": "i", "schema": "one", "table": "t", "columns": ["a"]})
    assert first["action"] == "created"
    assert not db.state("i", "two")["valid"]
    both = [{"name": "i", "schema": schema, "table": "t", "columns": ["a"]} for schema in ("one", "two")]
    result = db.apply(both)
    assert [item["action"] for item in result["indexes"]] == ["none", "rebuilt"]


def test_a_name_of_sixty_three_bytes_can_be_replaced(t: Any) -> None:
    name = "é" * 30 + "abc"
    assert len(name.encode()) == 63
    for columns in (["a"], ["a", "b"]):
        done = t.one({"name": name, "table": "t", "columns": columns})
        assert done["state"] == "valid", done["reason"]
    assert len(t.names()) == 2


STACKED = [
    {"columns": ["a); DROP TABLE t; --"]},
    {"columns": ["a) INCLUDE (b"]},
    {"columns": ["a"], "where": "true; DROP TABLE t"},
    {"columns": ["a"], "where": "true) TABLESPACE pg_default WHERE (true"},
    {"columns": ["a"], "where": "true -- "},
    {"columns": ["a"], "with": {"fillfactor": "70); DROP TABLE t; --"}},
    {"columns": ["a, b"]},
    {"columns": ["a"], "where": "b = $$x"},
]


@pytest.mark.parametrize("body", STACKED, ids=[str(body) for body in STACKED])
def test_stacked_sql_is_refused(t: Any, body: dict[str, Any]) -> None:
    from ansible.module_utils.slipway.postgres.sql import Refused

    try:
        result = t.apply([{**INDEX, **body}])
    except Refused as error:
        assert "t_a" in str(error)
    else:
        assert result["failed_indexes"]
    assert t.names() == ["t_pkey"]


# -- duplicates


def test_duplicates_are_shown_and_nothing_is_left(t: Any) -> None:
    t.sql(
        "INSERT INTO t (a, b, d) VALUES (1, 'dup', true), (2, 'dup', true), (3, NULL, true), "
        "(4, NULL, true), (5, 'off', false), (6, 'off', false)"
    )
    done = t.one({"name": "t_b", "table": "t", "columns": ["lower(b)"], "unique": True, "where": "d"})
    assert (
        "(dup) in 2 rows" in done["reason"] and "NULL" not in done["reason"] and "off" not in done["reason"]
    )
    assert done["state"] == "missing"
    assert t.names() == ["t_pkey"]
    done = t.one(
        {
            "name": "t_b",
            "table": "t",
            "columns": ["b"],
            "unique": True,
            "where": "d AND b IS DISTINCT FROM 'dup'",
            "nulls_distinct": False,
        }
    )
    assert "(NULL) in 2 rows" in done["reason"]


# -- partitioned tables


@pytest.fixture
def parts(db: Any) -> Any:
    db.sql(
        "CREATE TABLE p (id int, at date, v text) PARTITION BY RANGE (id)",
        "CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (100)",
        "CREATE TABLE p2 (v text, dropped int, at date, id int)",
        "ALTER TABLE p2 DROP COLUMN dropped",
        "ALTER TABLE p ATTACH PARTITION p2 FOR VALUES FROM (100) TO (200)",
        "CREATE TABLE p3 PARTITION OF p FOR VALUES FROM (200) TO (400) PARTITION BY RANGE (id)",
        "CREATE TABLE p3a PARTITION OF p3 FOR VALUES FROM (200) TO (300)",
        "CREATE TABLE p3b PARTITION OF p3 FOR VALUES FROM (300) TO (400)",
        "INSERT INTO p SELECT g, current_date, 'v' || g FROM generate_series(0, 399) g",
    )
    return db


PARTED = {"name": "p_v", "table": "p", "columns": ["v", "id"], "unique": True, "where": "id > 3"}


def test_a_partitioned_index_is_built_part_by_part(parts: Any) -> None:
    done = parts.one(PARTED)
    assert (done["state"], done["action"]) == ("valid", "created"), done["reason"]
    assert parts.value("SELECT count(*) FROM pg_partition_tree('p_v') WHERE isleaf") == 4
    assert parts.value("SELECT bool_and(indisvalid) FROM pg_index") is True
    assert not parts.apply([PARTED])["changed"]
    parts.sql("CREATE TABLE p4 PARTITION OF p FOR VALUES FROM (400) TO (500)")
    assert not parts.apply([PARTED])["changed"]


def test_an_interrupted_partitioned_build_is_continued(parts: Any) -> None:
    done = parts.one(PARTED)
    kept = parts.sql(
        "SELECT inhrelid::regclass::text AS name FROM pg_inherits "
        "WHERE inhparent = 'p_v'::regclass ORDER BY 1"
    )
    # As after a kill: a parent without its parts, one part that was built, and another that is INVALID.
    parts.sql(
        "DROP INDEX p_v",
        "CREATE UNIQUE INDEX p_v ON ONLY p (v, id) WHERE id > 3",
        f"CREATE UNIQUE INDEX {kept[0]['name']} ON p1 (v, id) WHERE id > 3",
    )
    ready = parts.state(kept[0]["name"])["oid"]
    parts.invalid(kept[1]["name"], table="p2", column="v, id", kind="UNIQUE")
    told = parts.apply([PARTED], check_mode=True)["indexes"][0]
    assert (told["state"], told["action"]) == ("invalid", "rebuilt")
    done = parts.one(PARTED)
    assert (done["state"], done["action"]) == ("valid", "rebuilt"), done["reason"]
    assert parts.state(kept[0]["name"])["oid"] == ready
    assert parts.value("SELECT bool_and(indisvalid) FROM pg_index") is True


@pytest.mark.parametrize("check_mode", [True, False])
def test_a_foreign_partition_is_refused_before_anything_is_made(parts: Any, check_mode: bool) -> None:
    parts.sql(
        "CREATE FOREIGN DATA WRAPPER nothing",
        "CREATE SERVER far FOREIGN DATA WRAPPER nothing",
        "CREATE FOREIGN TABLE p9 PARTITION OF p FOR VALUES FROM (900) TO (999) SERVER far",
    )
    plain = {"name": "p_v", "table": "p", "columns": ["v"]}
    told = parts.apply([plain], check_mode=check_mode)
    assert told["failed_indexes"] and "public.p9" in told["msg"] and "foreign table" in told["msg"]
    assert parts.value("SELECT count(*) FROM pg_index WHERE indrelid IN ('p'::regclass, 'p1'::regclass)") == 0


@pytest.mark.parametrize("check_mode", [True, False])
def test_a_partition_of_another_owner_is_refused_before_anything_is_made(
    t: Any, role: str, check_mode: bool
) -> None:
    t.sql(
        "CREATE TABLE p (id int) PARTITION BY RANGE (id)",
        "CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10) PARTITION BY RANGE (id)",
        "CREATE TABLE p1a PARTITION OF p1 FOR VALUES FROM (0) TO (10)",
        f"ALTER TABLE p OWNER TO {role}",
        f"ALTER TABLE p1 OWNER TO {role}",
    )
    index = {"name": "p_id", "table": "p", "columns": ["id"]}
    told = t.apply([index], check_mode=check_mode, login_user=role)
    assert told["failed_indexes"] and "public.p1a" in told["msg"] and "role postgres" in told["msg"]
    assert t.names("p") == [] == t.names("p1")
    t.sql(f"ALTER TABLE p1a OWNER TO {role}")
    assert t.one(index, login_user=role)["action"] == "created"


def test_a_build_that_is_at_work_in_a_partition_is_waited_for(t: Any, gates: Any) -> None:
    from ansible.module_utils.slipway.indexes.spec import parse

    t.sql(
        "CREATE TABLE p (a int) PARTITION BY RANGE (a)",
        "CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (9999)",
        "INSERT INTO p SELECT g FROM generate_series(1, 2000) g",
    )
    index = {"name": "p_slow", "table": "p", "columns": ["slow(a)"]}
    part = Table(0, "public", "p1", "r", "postgres", True, None)
    name = child_name(parse(index), part)
    # As after a kill: the client is gone, the server goes on.
    build = Background(t.other().execute, f"CREATE INDEX CONCURRENTLY {name} ON p1 (slow(a))")
    gates.wait_at(1)
    oid = t.state(name)["oid"]
    run = Background(t.one, index)
    time.sleep(1)
    gates.open(1, 2)
    build.result()
    done = run.result()
    assert (done["state"], t.state(name)["oid"]) == ("valid", oid), done["reason"]


def test_a_partitioned_build_stopped_by_duplicates_is_continued_later(parts: Any) -> None:
    parts.sql("INSERT INTO p VALUES (250, current_date, 'v250')")
    done = parts.one(PARTED)
    assert done["result"]["failed_indexes"] and "(v250, 250) in 2 rows" in done["reason"]
    assert "Nothing was left" not in done["reason"] and "parts already built are kept" in done["reason"]
    parts.sql("DELETE FROM p WHERE id = 250")
    assert parts.one(PARTED)["state"] == "valid"


def test_a_partitioned_index_is_replaced_and_dropped(parts: Any) -> None:
    parts.sql("CREATE INDEX p_v ON p (v)", "COMMENT ON INDEX p_v IS 'kept'")
    done = parts.one(PARTED)
    assert (done["state"], done["action"]) == ("valid", "replaced"), done["reason"]
    assert parts.value("SELECT obj_description('p_v'::regclass)") == "kept"
    assert (
        parts.value(
            "SELECT count(*) FROM pg_index "
            "WHERE indexrelid::regclass::text NOT LIKE '%toast%' AND indrelid >= 16384"
        )
        == 6
    )
    done = parts.one({"name": "p_v", "state": "absent"})
    assert done["state"] == "absent"
    assert parts.value("SELECT count(*) FROM pg_index WHERE indrelid = 'p1'::regclass") == 0


def test_a_unique_partitioned_index_without_the_partition_key_is_refused_in_check_mode(parts: Any) -> None:
    told = parts.apply([{**PARTED, "columns": ["v"]}], check_mode=True)
    assert told["failed_indexes"] and "partition" in told["indexes"][0]["reason"]
    assert parts.state("p_v") is None


# -- vector indexes and memory


HNSW = {
    "name": "docs_emb",
    "table": "docs",
    "method": "hnsw",
    "columns": ["emb vector_cosine_ops"],
    "with": {"m": 16, "ef_construction": 64},
}
# The container has 64 MB of shared memory, and the table is small: make it worth parallel workers.
MEMORY = {
    "maintenance_work_mem": "256MB",
    "min_parallel_table_scan_size": "0",
    "max_parallel_maintenance_workers": "2",
}


@pytest.fixture
def docs(t: Any) -> Any:
    t.sql(
        "CREATE TABLE docs (id int, emb vector(64))",
        "INSERT INTO docs "
        "SELECT g, array_fill((g % 97)::real, ARRAY[64])::vector FROM generate_series(1, 400) g",
    )
    return t


def test_the_memory_that_is_tested_here_does_fail_by_hand(docs: Any) -> None:
    docs.sql(*(f"SET {name} = '{value}'" for name, value in MEMORY.items()))
    with pytest.raises(psycopg.errors.DiskFull, match="shared memory"):
        docs.sql("CREATE INDEX CONCURRENTLY docs_emb ON docs USING hnsw (emb vector_cosine_ops)")


def test_hnsw_with_more_memory_than_shared_memory_says_so_before_and_is_built(
    docs: Any, tmp_path: Any
) -> None:
    progress = tmp_path / "progress"
    done = docs.one(HNSW, settings=MEMORY, progress_file=str(progress))
    assert (done["state"], done["action"]) == ("valid", "created"), done["reason"]
    assert any("/dev/shm has 64.0 MB" in text and "shm_size" in text for text in done["result"]["warnings"])
    assert "trying again" not in progress.read_text()


def test_hnsw_when_the_role_cannot_see_the_shared_memory(docs: Any, role: str) -> None:
    docs.sql(f"ALTER TABLE docs OWNER TO {role}")
    done = docs.one(HNSW, settings=MEMORY, login_user=role)
    assert (done["state"], done["action"]) == ("valid", "created"), done["reason"]
    warnings = done["result"]["warnings"]
    assert any("cannot see" in text and "shm_size" in text for text in warnings)
    assert any("without parallel workers" in text for text in warnings)
    assert docs.names("docs") == ["docs_emb"]


def test_hnsw_graph_that_does_not_fit_is_told(t: Any) -> None:
    t.sql("CREATE TABLE docs (id int, emb vector(256))")
    t.sql(
        "INSERT INTO docs "
        "SELECT g, array_fill((g % 97)::real, ARRAY[256])::vector FROM generate_series(1, 1500) g"
    )
    index = {"name": "docs_emb", "table": "docs", "method": "hnsw", "columns": ["emb vector_l2_ops"]}
    done = t.one(index, settings={"maintenance_work_mem": "1MB"})
    assert done["state"] == "valid"
    assert any("raise maintenance_work_mem" in text for text in done["result"]["warnings"])


# -- databases and roles


def test_sql_ascii_database(server: Server) -> None:
    with server.connect("postgres") as admin:
        admin.execute(
            "CREATE DATABASE ascii ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
        )
    database = Database(server, "ascii")
    database.admin.execute("SET client_encoding = utf8")
    try:
        database.sql('CREATE TABLE "Té" (a text)')
        index = {"name": "Té_a", "table": "Té", "columns": ["lower(a)"], "where": "a = 'é'"}
        assert database.one(index)["action"] == "created"
        assert database.one(index)["state"] == "valid"
    finally:
        database.close()
        with server.connect("postgres") as admin:
            admin.execute("DROP DATABASE ascii WITH (FORCE)")


def test_bytes_that_are_no_text_are_shown_with_marks(server: Server) -> None:
    with server.connect("postgres") as admin:
        admin.execute("CREATE DATABASE bytes ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0")
    database = Database(server, "bytes")
    try:
        database.sql(
            "SET client_encoding = sql_ascii",
            "CREATE TABLE t (a text)",
            "INSERT INTO t VALUES (E'caf\\351'), (E'caf\\351')",
        )
        done = database.one({**INDEX, "unique": True})
        assert "(caf\ufffd) in 2 rows" in done["reason"], done["reason"]
        # The text of a query is cut after 120 bytes, one of these two in the middle of a letter.
        for start in ("", "x"):
            session = database.other(
                "SET client_encoding = utf8", "BEGIN", f"UPDATE t SET a = '{start}{'é' * 100}'"
            )
            done = database.one(INDEX, long_transaction_after=0)
            assert [item["pid"] for item in done["result"]["blockers"]] == [session.info.backend_pid]
            session.close()
    finally:
        database.close()
        with server.connect("postgres") as admin:
            admin.execute("DROP DATABASE bytes WITH (FORCE)")


@pytest.fixture
def role(t: Any) -> Any:
    name = f"role_{t.name}"
    t.sql(
        f"CREATE ROLE {name} LOGIN PASSWORD '{PASSWORD}'",
        f"GRANT {name} TO postgres",
        f"ALTER TABLE t OWNER TO {name}",
        f"GRANT ALL ON SCHEMA public TO {name}",
    )
    yield name
    t.sql(f"REASSIGN OWNED BY {name} TO postgres", f"DROP OWNED BY {name}", f"DROP ROLE {name}")


def test_a_role_with_its_own_timeouts_and_isolation(t: Any, role: str) -> None:
    for setting in (
        "statement_timeout = '100ms'",
        "lock_timeout = '50ms'",
        "idle_in_transaction_session_timeout = '50ms'",
        "default_transaction_isolation = 'repeatable read'",
        "standard_conforming_strings = off",
    ):
        t.sql(f"ALTER ROLE {role} SET {setting}")
    if t.server.version != "15":
        t.sql(f"ALTER ROLE {role} SET transaction_timeout = '100ms'")
    blocker = t.other("BEGIN", "UPDATE t SET a = a WHERE id = 1")
    run = Background(t.one, {**INDEX, "where": "b <> 'x'"}, login_user=role)
    time.sleep(1)
    blocker.close()
    assert run.result()["state"] == "valid"


def test_a_read_only_role_is_told(t: Any, role: str) -> None:
    t.sql("CREATE INDEX t_b ON t (b)", f"ALTER ROLE {role} SET default_transaction_read_only = on")
    result = t.apply([INDEX, {"name": "t_b", "table": "t", "columns": ["b"]}], login_user=role)
    missing, present = result["indexes"]
    assert "default_transaction_read_only" in missing["reason"]
    assert (present["state"], present["action"]) == ("unknown", "none")
    assert [gate["verdict"] for gate in result["gates"]] == ["fail", "fail", "inconclusive"]


def test_a_role_without_temporary_tables_says_unknown_and_still_builds(t: Any, role: str) -> None:
    t.sql("CREATE INDEX t_b ON t (b)", f"REVOKE TEMP ON DATABASE {t.name} FROM PUBLIC")
    result = t.apply([{"name": "t_b", "table": "t", "columns": ["b DESC"]}, INDEX], login_user=role)
    assert [(item["state"], item["action"]) for item in result["indexes"]] == [
        ("unknown", "none"),
        ("valid", "created"),
    ], result
    assert "GRANT TEMPORARY" in result["indexes"][0]["reason"]
    # The next run cannot compare it either, and must not say that it is valid.
    assert {item["state"] for item in t.apply([INDEX], login_user=role)["indexes"]} == {"unknown"}


def test_a_role_that_does_not_own_the_table_is_told_who_does(t: Any, role: str) -> None:
    t.sql("ALTER TABLE t OWNER TO postgres")
    done = t.one(INDEX, login_user=role)
    assert "belongs to role postgres" in done["reason"]
    assert t.state("t_a") is None


def test_a_role_that_may_not_create_in_the_schema_is_told_the_grant(t: Any, role: str) -> None:
    t.sql(f"ALTER TABLE t OWNER TO {role}", f"REVOKE CREATE ON SCHEMA public FROM {role}, PUBLIC")
    done = t.one(INDEX, login_user=role)
    assert f'GRANT CREATE ON SCHEMA "public" TO "{role}"' in done["reason"]
    assert t.names() == ["t_pkey"]


def test_session_role(t: Any, role: str, tmp_path: Any) -> None:
    t.sql(f"CREATE ROLE {role}_login LOGIN PASSWORD '{PASSWORD}' NOINHERIT IN ROLE {role}")
    options = {"session_role": role, "login_user": f"{role}_login"}
    blocker = t.other("BEGIN", "UPDATE t SET a = a WHERE id = 1")
    progress = tmp_path / "progress"
    done = t.one(INDEX, max_wait=2, progress_file=str(progress), **options)
    assert "gave up" in done["reason"] and "waiting for writers" in progress.read_text()
    blocker.close()
    t.sql("INSERT INTO t (a) VALUES (1)")
    assert "(1) in 2 rows" in t.one({**INDEX, "unique": True}, **options)["reason"]
    assert t.one(INDEX, **options)["state"] == "valid"
    t.sql(f"DROP ROLE {role}_login")


def test_a_role_that_cannot_see_others_says_so(t: Any, role: str) -> None:
    blocker = t.other("BEGIN", "UPDATE t SET a = a WHERE id = 1")
    done = t.one(INDEX, login_user=role, long_transaction_after=0, max_wait=2)
    assert any("GRANT pg_monitor" in text for text in done["result"]["warnings"])
    assert str(blocker.info.backend_pid) in done["reason"] and "age not visible" in done["reason"]
    blocker.close()
    assert t.one(INDEX, login_user=role)["state"] == "valid"


def test_a_table_that_is_locked_is_not_waited_for_without_end(t: Any) -> None:
    from ansible.module_utils.slipway.postgres.sql import Refused

    t.sql("CREATE INDEX t_a ON t (a)")
    lock = t.other("BEGIN", "LOCK TABLE t IN ACCESS EXCLUSIVE MODE")
    with pytest.raises(Refused, match="locked"):
        t.one(INDEX)
    lock.close()


def test_wrong_password_is_a_clear_refusal(t: Any) -> None:
    from ansible.module_utils.slipway.postgres.sql import Refused

    with pytest.raises(Refused, match="password authentication failed"):
        t.one(INDEX, login_password="not this one")


# -- poolers


@pytest.fixture
def pooler(t: Any, tmp_path: Any) -> Any:
    """pgbouncer on this machine, in the mode that is asked for."""
    started = []

    def start(mode: str) -> int:
        port = 22450 + len(started)
        (tmp_path / "users").write_text(f'"postgres" "{PASSWORD}"\n')
        (tmp_path / "pgbouncer.ini").write_text(
            f"[databases]\n* = host=127.0.0.1 port={t.server.port}\n"
            f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n"
            f"unix_socket_dir =\nauth_type = plain\nauth_file = {tmp_path}/users\n"
            f"pool_mode = {mode}\nlogfile = {tmp_path}/log\n"
        )
        (tmp_path).chmod(0o755)
        for parent in list(tmp_path.parents)[:2]:
            with contextlib.suppress(PermissionError):
                parent.chmod(0o755)
        command = ["pgbouncer", "-q", str(tmp_path / "pgbouncer.ini")]
        if os.geteuid() == 0:
            os.chown(tmp_path, 65534, -1)
            command = ["setpriv", "--reuid=65534", "--clear-groups", *command]
        started.append(subprocess.Popen(command))
        until(lambda: _answers(port, t.name), what="pgbouncer")
        return port

    yield start
    for process in started:
        process.terminate()
        process.wait()


def _answers(port: int, database: str) -> bool:
    with contextlib.suppress(psycopg.Error):
        psycopg.connect(
            host="127.0.0.1", port=port, user="postgres", password=PASSWORD, dbname=database
        ).close()
        return True
    return False


def _session_behind(port: int, database: str) -> Any:
    """Ask for the settings of the server session that the pooler hands out."""
    with psycopg.connect(
        host="127.0.0.1", port=port, user="postgres", password=PASSWORD, dbname=database, autocommit=True
    ) as connection:
        names = ("role", "statement_timeout", "work_mem", "jit")
        columns = ", ".join(f"current_setting('{name}')" for name in names)
        return connection.execute(f"SELECT {columns}").fetchone()


@pytest.mark.parametrize("mode", ["transaction", "statement"])
def test_a_pooler_that_shares_sessions_is_refused(t: Any, pooler: Any, mode: str) -> None:
    from ansible.module_utils.slipway.postgres.sql import Refused

    port = pooler(mode)
    before = _session_behind(port, t.name)
    with pytest.raises(Refused, match="pooler in transaction mode"):
        t.apply([INDEX], login_port=port, session_role="pg_monitor", settings={"work_mem": "7MB"})
    assert t.state("t_a") is None
    # The session belongs to the next client: nothing of ours may be left in it.
    assert _session_behind(port, t.name) == before


def test_a_pooler_in_session_mode_is_fine(t: Any, pooler: Any) -> None:
    assert t.one(INDEX, login_port=pooler("session"))["action"] == "created"


# -- what else can happen


def test_connection_lost_while_building(t: Any) -> None:
    blocker = t.other("BEGIN", "UPDATE t SET a = a WHERE id = 1")
    run = Background(t.one, INDEX)
    row = until(lambda: t.sql("SELECT pid FROM pg_stat_progress_create_index WHERE phase LIKE 'waiting%'"))
    t.sql(f"SELECT pg_terminate_backend({row[0]['pid']})")
    time.sleep(0.5)
    blocker.close()
    done = run.result()
    assert done["result"]["failed_indexes"] and "terminated" in done["reason"]
    assert t.one(INDEX)["state"] == "valid"


class Wire:
    """Passes connections on to the server until it is cut."""

    def __init__(self, target: int) -> None:
        self._pairs: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._target = target
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _address = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._target))
                self._pairs += [client, server]
                for one, other in ((client, server), (server, client)):
                    threading.Thread(target=self._pass, args=(one, other), daemon=True).start()

    def _pass(self, one: socket.socket, other: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := one.recv(65536):
                other.sendall(data)

    def cut(self) -> None:
        """Lose what is connected now; new connections are passed on again."""
        pairs, self._pairs = self._pairs, []
        for end in pairs:
            end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def close(self) -> None:
        self._listener.close()
        self.cut()


def test_a_cut_connection_does_not_cost_the_build(t: Any) -> None:
    wire = Wire(t.server.port)
    blocker = t.other("BEGIN", "UPDATE t SET a = a WHERE id = 1")
    run = Background(t.one, INDEX, login_port=wire.port)
    until(lambda: t.sql("SELECT pid FROM pg_stat_progress_create_index WHERE phase LIKE 'waiting%'"))
    oid = t.state("t_a")["oid"]
    wire.cut()
    time.sleep(1)
    blocker.close()
    done = run.result()
    wire.close()
    assert (done["state"], done["action"]) == ("valid", "created"), done["reason"]
    assert t.state("t_a")["oid"] == oid, "the build that was under way must not be thrown away"


def test_somebody_cancels_the_build(t: Any) -> None:
    blocker = t.other("BEGIN ISOLATION LEVEL REPEATABLE READ", "SELECT 1 FROM pg_class LIMIT 1")
    run = Background(t.one, INDEX)
    row = until(
        lambda: t.sql("SELECT pid FROM pg_stat_progress_create_index WHERE phase LIKE 'waiting for old%'")
    )
    t.sql(f"SELECT pg_cancel_backend({row[0]['pid']})")
    done = run.result()
    blocker.close()
    assert "somebody cancelled" in done["reason"]
    assert t.names() == ["t_pkey"]


def test_concurrently_false(t: Any) -> None:
    assert t.one(INDEX, concurrently=False)["action"] == "created"
    assert t.one(DRIFTED, concurrently=False)["action"] == "replaced"
    assert t.one({"name": "t_a", "state": "absent"}, concurrently=False)["state"] == "absent"


def test_one_failure_does_not_keep_the_others_from_being_built(t: Any) -> None:
    t.sql("INSERT INTO t (a) VALUES (1)")
    result = t.apply(
        [
            {**INDEX, "unique": True},
            {"name": "t_b", "table": "t", "columns": ["b"]},
            {"name": "t_x", "table": "nope", "columns": ["x"]},
        ]
    )
    assert [item["state"] for item in result["indexes"]] == ["missing", "valid", "missing"]
    assert result["msg"].startswith("2 of 3 indexes are not as declared")


def test_a_name_from_a_database_in_latin_1_can_be_read(server: Server, t: Any) -> None:
    with server.connect("postgres") as admin:
        admin.execute("CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    with server.connect("latin", client_encoding="latin1") as admin:
        admin.execute('CREATE ROLE "caf\xe9"')
        try:
            connection = Target(t.params([])).connect()
            for binary in (False, True):
                row = connection.execute(
                    "SELECT rolname FROM pg_roles WHERE rolname ~ '^caf'", binary=binary
                ).fetchone()
                assert row == {"rolname": "caf\ufffd"}
            connection.close()
        finally:
            admin.execute('DROP ROLE "caf\xe9"')


def test_an_entry_that_crashes_does_not_take_the_others_with_it(
    t: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = pg_index_build.Builder.build

    def build(self: Any, spec: Any, *rest: Any) -> Any:
        if spec.name == "t_a":
            raise UnicodeDecodeError("utf-8", b"\xe9", 0, 1, "unexpected end of data")
        return real(self, spec, *rest)

    monkeypatch.setattr(pg_index_build.Builder, "build", build)
    result = t.apply([INDEX, {"name": "t_b", "table": "t", "columns": ["b"]}])
    assert [item["state"] for item in result["indexes"]] == ["missing", "valid"]
    assert "unexpected UnicodeDecodeError" in result["msg"]


def test_the_remains_of_a_failed_build_are_found_in_a_schema_with_a_dot(t: Any) -> None:
    t.sql('CREATE SCHEMA "a.b"', 'CREATE TABLE "a.b".t (a int)', 'INSERT INTO "a.b".t VALUES (1), (1)')
    done = t.one({**INDEX, "schema": "a.b", "unique": True})
    assert done["state"] == "missing" and t.state("t_a", "a.b") is None, done["reason"]


def test_tiers(t: Any) -> None:
    indexes = [INDEX, {"name": "t_b", "table": "t", "columns": ["b"], "tier": 2}]
    assert [item["name"] for item in t.apply(indexes, tiers=[1])["indexes"]] == ["t_a"]
    assert t.state("t_b") is None
    assert [item["action"] for item in t.apply(indexes)["indexes"]] == ["none", "created"]


def test_record_of_a_release(t: Any, tmp_path: Any) -> None:
    from ansible.module_utils.slipway.indexes.report import Record, added_by

    record = str(tmp_path / "state" / "indexes.json")
    t.sql("CREATE INDEX t_b ON t (b DESC)")
    indexes = [
        INDEX,
        {"name": "t_b", "table": "t", "columns": ["b"]},
        {"name": "t_c", "table": "t", "columns": ["c"], "tier": 2},
    ]
    t.apply(indexes, tiers=[1], record=record, release="r1")
    t.apply(indexes, tiers=[1, 2], record=record, release="r2")
    data = Record(record, None).read()
    assert [item["name"] for item in added_by(data, "r1")] == ["t_a"]
    assert [item["name"] for item in added_by(data, "r2")] == ["t_c"]
    assert set(data["tiers"]) == {"1", "2"}
    t.apply([{"name": "t_d", "state": "absent", "tier": 3}], record=record, release="r2")
    assert set(Record(record, None).read()["tiers"]) == {"1", "2"}
    t.apply([{**item, "state": "absent"} for item in added_by(data, "r1")], record=record, release="r1")
    assert added_by(Record(record, None).read(), "r1") == []
    assert t.names() == ["t_b", "t_c", "t_pkey"]
