"""INVALID indexes, builds of others, long transactions: with real sessions that stand in the way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from typing import Any

import psycopg
import pytest
from conftest import PASSWORD, Background, until

INDEX = {"name": "t_a", "table": "t", "columns": ["a"]}


def slow_function(db: Any, every: int = 3) -> dict[str, Any]:
    """Declare an index whose build takes a millisecond for each third row, so that there is time to interfere."""
    db.sql(
        f"CREATE OR REPLACE FUNCTION slow(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS "
        f"$$ BEGIN IF $1 % {every} = 0 THEN PERFORM pg_sleep(0.001); END IF; RETURN $1; END $$"
    )
    return {"name": "t_slow", "table": "t", "columns": ["slow(a)"]}


def building(db: Any, phase: str = "building") -> Any:
    return db.sql(f"SELECT pid FROM pg_stat_progress_create_index WHERE phase LIKE '{phase}%'")


# -- ways to get an INVALID index, and their repair


def leave_lock_timeout(db: Any) -> None:
    db.invalid("t_a")


def leave_statement_timeout(db: Any) -> None:
    blocker = db.other("BEGIN", "UPDATE t SET a = a WHERE id = 1")
    session = db.other("SET statement_timeout = '300ms'")
    with pytest.raises(psycopg.errors.QueryCanceled):
        session.execute("CREATE INDEX CONCURRENTLY t_a ON t (a)")
    blocker.close()


def leave_cancelled(db: Any) -> None:
    blocker = db.other("BEGIN", "UPDATE t SET a = a WHERE id = 1")
    session = db.other()
    build = Background(session.execute, "CREATE INDEX CONCURRENTLY t_a ON t (a)")
    until(lambda: building(db, "waiting"))
    db.sql(f"SELECT pg_cancel_backend({session.info.backend_pid})")
    with pytest.raises(psycopg.errors.QueryCanceled):
        build.result()
    blocker.close()


def leave_terminated(db: Any) -> None:
    blocker = db.other("BEGIN ISOLATION LEVEL REPEATABLE READ", "SELECT 1 FROM t LIMIT 1")
    session = db.other()
    build = Background(session.execute, "CREATE INDEX CONCURRENTLY t_a ON t (a)")
    until(lambda: building(db, "waiting"))
    db.sql(f"SELECT pg_terminate_backend({session.info.backend_pid})")
    with pytest.raises(psycopg.Error):
        build.result()
    blocker.close()


def leave_unique_violation(db: Any) -> None:
    db.sql("INSERT INTO t (a) VALUES (1)")
    with pytest.raises(psycopg.errors.UniqueViolation):
        db.sql("CREATE UNIQUE INDEX CONCURRENTLY t_a ON t (a)")
    db.sql("DELETE FROM t WHERE id > 2000")


def leave_aborted_drop(db: Any) -> None:
    db.sql("CREATE INDEX t_a ON t (a)")
    blocker = db.other("BEGIN", "SELECT 1 FROM t LIMIT 1")
    session = db.other("SET lock_timeout = '300ms'")
    with pytest.raises(psycopg.errors.LockNotAvailable):
        session.execute("DROP INDEX CONCURRENTLY t_a")
    blocker.close()


WAYS = [
    leave_lock_timeout,
    leave_statement_timeout,
    leave_cancelled,
    leave_terminated,
    leave_unique_violation,
    leave_aborted_drop,
]


@pytest.mark.parametrize("leave", WAYS, ids=[way.__name__ for way in WAYS])
def test_an_invalid_index_is_found_and_rebuilt(t: Any, leave: Any) -> None:
    leave(t)
    left = until(lambda: t.state("t_a"))
    assert not left["valid"]
    told = t.apply([INDEX], check_mode=True)["indexes"][0]
    assert (told["state"], told["action"]) == ("invalid", "rebuilt")
    assert t.state("t_a")["oid"] == left["oid"]
    done = t.one(INDEX)
    assert (done["state"], done["action"]) == ("valid", "rebuilt")
    assert t.state("t_a")["valid"]
    assert not t.apply([INDEX])["changed"]


def test_on_invalid_fail_touches_nothing(t: Any) -> None:
    t.invalid("t_a")
    left = t.state("t_a")
    done = t.one(INDEX, on_invalid="fail")
    assert done["state"] == "invalid"
    assert done["result"]["failed_indexes"]
    assert t.state("t_a") == left


def test_leftovers_of_a_failed_reindex_are_removed(t: Any) -> None:
    t.sql("CREATE INDEX t_a ON t (a)")
    for _ in range(2):
        blocker = t.other("BEGIN ISOLATION LEVEL REPEATABLE READ", "SELECT 1 FROM t LIMIT 1")
        session = t.other("SET lock_timeout = '200ms'")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            session.execute("REINDEX INDEX CONCURRENTLY t_a")
        blocker.close()
    assert t.names() == ["t_a", "t_a_ccnew", "t_a_ccnew1", "t_pkey"]
    # A valid index of such a name, and one with another definition, are somebody's own.
    t.sql("CREATE INDEX t_a_ccnew9 ON t (b)", "CREATE INDEX t_a_ccnew8 ON t (a)")
    done = t.one(INDEX)
    assert (done["state"], done["action"]) == ("valid", "none")
    assert sorted(done["cleaned"]) == ["public.t_a_ccnew", "public.t_a_ccnew1"]
    assert done["result"]["changed"]
    assert t.names() == ["t_a", "t_a_ccnew8", "t_a_ccnew9", "t_pkey"]
    assert not t.apply([INDEX])["changed"]


# -- a build that is under way


def test_a_build_of_somebody_else_is_waited_for_and_not_dropped(t: Any) -> None:
    index = slow_function(t)
    session = t.other()
    build = Background(session.execute, "CREATE INDEX CONCURRENTLY t_slow ON t (slow(a))")
    until(lambda: building(t))
    oid = t.state("t_slow")["oid"]
    told = t.apply([index], check_mode=True)["indexes"][0]
    assert (told["state"], told["action"]) == ("invalid", "none")
    assert str(session.info.backend_pid) in told["reason"]
    done = t.one(index)
    build.result()
    assert (done["state"], done["action"]) == ("valid", "none"), done["reason"]
    assert t.state("t_slow")["oid"] == oid


def test_a_build_whose_client_was_killed_is_attached_to(t: Any, tmp_path: Any) -> None:
    index = slow_function(t)
    script = "import sys, psycopg; psycopg.connect(sys.argv[1], autocommit=True).execute(sys.argv[2])"
    dsn = f"host=127.0.0.1 port={t.server.port} user=postgres password={PASSWORD} dbname={t.name}"
    client = subprocess.Popen(
        [sys.executable, "-c", script, dsn, "CREATE INDEX CONCURRENTLY t_slow ON t (slow(a))"]
    )
    until(lambda: building(t))
    os.kill(client.pid, signal.SIGKILL)
    client.wait()
    oid = t.state("t_slow")["oid"]
    done = t.one(index)
    assert (done["state"], done["action"]) == ("valid", "none"), done["reason"]
    assert t.state("t_slow")["oid"] == oid


def test_two_runs_at_one_table_take_turns(t: Any) -> None:
    first = slow_function(t)
    others = [{"name": f"t_{column}", "table": "t", "columns": [column]} for column in "abcd"]
    runs = [Background(t.apply, [first, *others]) for _ in range(2)]
    results = [run.result() for run in runs]
    assert [item for result in results for item in result["failed_indexes"]] == []
    actions = [[item["action"] for item in result["indexes"]] for result in results]
    assert [sorted(pair) for pair in zip(*actions)] == [["created", "none"]] * 5
    assert t.names() == ["t_a", "t_b", "t_c", "t_d", "t_pkey", "t_slow"]
    time.sleep(0.5)
    assert t.value("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()") == 0


def test_a_build_of_another_index_on_the_table_is_waited_for(t: Any) -> None:
    slow_function(t)
    session = t.other()
    build = Background(session.execute, "CREATE INDEX CONCURRENTLY somebodys ON t (slow(a))")
    until(lambda: building(t))
    done = t.one(INDEX)
    build.result()
    assert (done["state"], done["action"]) == ("valid", "created"), done["reason"]
    time.sleep(0.5)
    assert t.value("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()") == 0


def test_waiting_for_a_build_that_does_not_get_on_ends(t: Any) -> None:
    blocker = t.other("BEGIN", "UPDATE t SET a = a WHERE id = 1")
    session = t.other()
    Background(session.execute, "CREATE INDEX CONCURRENTLY t_a ON t (a)")
    until(lambda: building(t, "waiting"))
    done = t.one(INDEX, max_wait=2)
    assert done["result"]["failed_indexes"]
    assert str(session.info.backend_pid) in done["reason"]
    assert not t.state("t_a")["valid"]
    blocker.close()
    assert t.one(INDEX)["state"] == "valid"


# -- long transactions


def blocker_update(db: Any) -> Any:
    return db.other("BEGIN", "UPDATE t SET a = a WHERE id = 1", application_name="orders-worker")


def blocker_snapshot(db: Any) -> Any:
    return db.other(
        "BEGIN ISOLATION LEVEL REPEATABLE READ", "SELECT 1 FROM pg_class LIMIT 1", application_name="nightly"
    )


def blocker_cursor(db: Any) -> Any:
    return db.other(
        "BEGIN", "DECLARE c CURSOR FOR SELECT * FROM other", "FETCH 1 FROM c", application_name="export"
    )


BLOCKERS = [blocker_update, blocker_snapshot, blocker_cursor]


@pytest.mark.parametrize("block", BLOCKERS, ids=[block.__name__ for block in BLOCKERS])
def test_a_long_transaction_is_named_before_anything_is_built(t: Any, block: Any) -> None:
    t.sql("CREATE TABLE other AS SELECT g FROM generate_series(1, 10) g")
    session = block(t)
    done = t.one(INDEX, long_transaction_after=0)
    assert done["result"]["failed_indexes"]
    assert [item["pid"] for item in done["result"]["blockers"]] == [session.info.backend_pid]
    blocker = done["result"]["blockers"][0]
    assert blocker["user"] == "postgres"
    assert blocker["application"] in ("orders-worker", "nightly", "export")
    assert blocker["age_s"] is not None
    assert blocker["query"]
    assert t.state("t_a") is None
    assert f"pg_terminate_backend({session.info.backend_pid})" in done["reason"]


def test_only_those_that_would_block_are_named(t: Any) -> None:
    t.sql("CREATE TABLE other AS SELECT g FROM generate_series(1, 10) g")
    t.other("BEGIN", "SELECT 1 FROM t LIMIT 1")
    t.other("BEGIN", "UPDATE other SET g = g")
    t.other("BEGIN", "DECLARE c CURSOR WITH HOLD FOR SELECT * FROM t", "COMMIT")
    elsewhere = t.server.connect("postgres")
    elsewhere.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
    elsewhere.execute("SELECT 1 FROM pg_class LIMIT 1")
    done = t.one(INDEX, long_transaction_after=0)
    elsewhere.close()
    assert (done["state"], done["action"]) == ("valid", "created"), done["reason"]


@pytest.mark.parametrize("policy", ["fail", "cancel"])
@pytest.mark.parametrize("table", ["t", "u"], ids=["same table", "snapshot only"])
def test_somebody_elses_build_is_no_long_transaction(t: Any, gates: Any, policy: str, table: str) -> None:
    t.sql("CREATE TABLE u AS TABLE t")
    build = Background(t.other().execute, "CREATE INDEX CONCURRENTLY somebodys ON t (slow(a))")
    gates.wait_at(1)
    run = Background(
        t.one, {**INDEX, "table": table}, long_transaction_after=0, on_long_transaction=policy, max_wait=60
    )
    time.sleep(1.5)
    assert run.running and build.running
    gates.open(1, 2)
    build.result()
    done = run.result()
    assert (done["state"], done["action"]) == ("valid", "created"), done["reason"]
    assert t.state("somebodys")["valid"]


def test_somebody_elses_build_is_named_when_max_wait_is_spent(t: Any, gates: Any) -> None:
    session = t.other()
    build = Background(session.execute, "CREATE INDEX CONCURRENTLY somebodys ON t (slow(a))")
    gates.wait_at(1)
    t.sql("CREATE TABLE u AS TABLE t")
    for table in ("t", "u"):
        done = t.one({**INDEX, "table": table}, long_transaction_after=0, max_wait=1)
        assert done["result"]["failed_indexes"] and str(session.info.backend_pid) in done["reason"]
        assert "pg_terminate_backend" not in done["reason"]
    assert build.running
    gates.open(1, 2)
    build.result()


def test_a_vacuum_that_is_running_is_no_long_transaction(t: Any) -> None:
    session = t.other(
        "SET vacuum_cost_delay = 100", "SET vacuum_cost_limit = 1", "SET vacuum_cost_page_hit = 1"
    )
    vacuum = Background(session.execute, "VACUUM t")
    until(lambda: t.sql("SELECT 1 FROM pg_stat_progress_vacuum"))
    done = t.one(INDEX, long_transaction_after=0, on_long_transaction="cancel", max_wait=60)
    assert (done["state"], done["action"]) == ("valid", "created"), done["reason"]
    vacuum.result()


def test_whoever_sits_on_the_lock_of_a_build_is_a_long_transaction(t: Any) -> None:
    session = t.other("BEGIN", "ANALYZE t")
    done = t.one(INDEX, long_transaction_after=0)
    assert [item["pid"] for item in done["result"]["blockers"]] == [session.info.backend_pid]
    assert t.state("t_a") is None


def test_a_reader_blocks_a_drop_and_is_named(t: Any) -> None:
    t.sql("CREATE INDEX t_a ON t (a)")
    session = t.other("BEGIN", "SELECT 1 FROM t LIMIT 1")
    done = t.one({"name": "t_a", "state": "absent"}, long_transaction_after=0)
    assert [item["pid"] for item in done["result"]["blockers"]] == [session.info.backend_pid]
    assert t.state("t_a")["valid"]
    session.close()
    done = t.one({"name": "t_a", "state": "absent"}, long_transaction_after=0)
    assert (done["state"], done["action"], t.state("t_a")) == ("absent", "dropped", None)


def test_a_prepared_transaction_is_named_with_its_cure(t: Any) -> None:
    session = t.other("BEGIN", "UPDATE t SET a = a WHERE id = 1", "PREPARE TRANSACTION 'forgotten'")
    session.close()
    try:
        done = t.one(INDEX, long_transaction_after=0)
        assert "ROLLBACK PREPARED 'forgotten'" in done["reason"]
        assert t.state("t_a") is None
    finally:
        t.sql("ROLLBACK PREPARED 'forgotten'")


def test_wait_waits_until_it_has_ended(t: Any) -> None:
    session = blocker_update(t)
    run = Background(t.one, INDEX, long_transaction_after=0, on_long_transaction="wait")
    time.sleep(1.5)
    assert run.running
    session.execute("COMMIT")
    assert run.result()["action"] == "created"


@pytest.mark.parametrize("block", BLOCKERS[:2], ids=["update", "snapshot"])
def test_cancel_ends_it(t: Any, block: Any) -> None:
    session = block(t)
    assert t.one(INDEX, long_transaction_after=0, on_long_transaction="cancel")["action"] == "created"
    with pytest.raises(psycopg.OperationalError):
        session.execute("SELECT 1")


def test_giving_up_after_max_wait_leaves_nothing_behind(t: Any) -> None:
    session = blocker_update(t)
    started = time.monotonic()
    done = t.one(INDEX, max_wait=2)
    assert 2 <= time.monotonic() - started < 12
    assert str(session.info.backend_pid) in done["reason"]
    assert done["result"]["blockers"][0]["query"].startswith("UPDATE t")
    # What blocked the build also blocks the removal of its remains, so those may have to stay ...
    left = t.state("t_a")
    assert left is None or not left["valid"]
    if left is not None:
        assert "INVALID remains" in done["reason"]
    session.close()
    # ... for the next run.
    assert t.one(INDEX)["state"] == "valid"
    assert t.names() == ["t_a", "t_pkey"]


def test_pg_dump_that_is_running_is_named(t: Any) -> None:
    t.sql("CREATE TABLE big AS SELECT g, repeat('x', 100) AS pad FROM generate_series(1, 1000) g")
    reader, writer = os.pipe()
    lock = t.other("BEGIN", "LOCK TABLE big IN ACCESS EXCLUSIVE MODE")
    command = ["docker", "exec", "-i", t.server.name, "pg_dump", "-U", "postgres", t.name]
    dump = subprocess.Popen(command, stdout=writer, stderr=subprocess.DEVNULL)
    try:
        # It holds its snapshot and waits for the table, as a dump of a big table does while it copies.
        until(
            lambda: t.sql(
                "SELECT 1 FROM pg_stat_activity "
                "WHERE application_name = 'pg_dump' AND wait_event_type = 'Lock'"
            )
        )
        done = t.one(INDEX, long_transaction_after=0)
        assert "pg_dump" in [item["application"] for item in done["result"]["blockers"]]
        assert t.state("t_a") is None
    finally:
        dump.kill()
        t.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'pg_dump'")
        lock.close()
        os.close(reader)
        os.close(writer)


# -- others are not held up


def test_writers_are_not_blocked_while_an_index_is_built(t: Any) -> None:
    index = slow_function(t)
    run = Background(t.one, index)
    until(lambda: building(t))
    session = t.other("SET statement_timeout = '500ms'")
    writes = 0
    while building(t) and writes < 200:
        session.execute("UPDATE t SET b = b WHERE id = 5")
        writes += 1
    assert writes > 10
    assert run.result()["action"] == "created"


def test_builds_on_different_tables_run_at_the_same_time(t: Any) -> None:
    t.sql(
        "CREATE TABLE u AS TABLE t",
        "CREATE TABLE s AS TABLE t",
    )
    # Plain indexes on domains with a slow operator would do; a transaction in the way of each is simpler.
    lock = t.other("BEGIN", "UPDATE t SET a = a WHERE id = 1", "UPDATE u SET a = a WHERE id = 1")
    partial = {"name": "s_part", "table": "s", "columns": ["a"], "where": "d"}
    run = Background(t.apply, [partial, INDEX, {"name": "u_a", "table": "u", "columns": ["a"]}])
    until(lambda: len(building(t, "waiting")) == 2, what="two plain builds at the same time")
    # The partial one would hold up both, so it has not been started.
    assert t.state("s_part") is None
    lock.execute("COMMIT")
    assert [item["action"] for item in run.result()["indexes"]] == ["created"] * 3


def test_progress_is_reported(t: Any, tmp_path: Any) -> None:
    index = slow_function(t)
    path = tmp_path / "progress.jsonl"
    t.one(index, progress_file=str(path))
    records = [json.loads(line) for line in path.read_text().splitlines()][1:]
    phases = {record["phase"] for record in records}
    assert any(phase.startswith("building index") for phase in phases), phases
    assert any(record.get("total") for record in records)
    assert records[-1]["phase"] == "done"
    assert path.stat().st_mode & 0o777 == 0o600
