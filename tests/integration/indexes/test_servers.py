"""Servers that die while an index is built, and servers that may only be read: real crashes, a real standby."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from conftest import Background, Database, Server, docker, until
from test_systems import audit

INDEX = {"name": "t_a", "table": "t", "columns": ["a"]}
WAITS = "SELECT pid FROM pg_stat_progress_create_index WHERE phase LIKE 'waiting%'"


def kill_a_backend(t: Database, pid: int) -> None:
    """A backend that dies by SIGKILL makes the server end all of them and recover."""
    docker("exec", t.server.name, "sh", "-c", f"kill -9 {pid}")


def kill_the_server(t: Database, _pid: int) -> None:
    docker("kill", t.server.name)
    docker("start", t.server.name)


def crash_by(crash: Any, t: Database, pid: int) -> None:
    """Crash, see that it happened, and wait for the end of the recovery."""
    # What the tests before have written need not be recovered too.
    t.sql("CHECKPOINT")
    crash(t, pid)

    def noticed() -> bool:
        try:
            t.sql("SELECT 1")
        except psycopg.Error:
            return True
        return False

    until(noticed, 60, "a crash")
    t.server.wait()
    t.admin = t.server.connect(t.name)


CRASHES = [kill_a_backend, kill_the_server]


@pytest.mark.parametrize("crash", CRASHES, ids=[crash.__name__ for crash in CRASHES])
def test_what_a_crash_left_is_repaired_by_the_next_run(t: Database, crash: Any) -> None:
    t.other("BEGIN", "UPDATE t SET a = a WHERE id = 1")
    # Somebody who does not clean up after himself, as a run that dies with its server cannot.
    build = Background(t.other().execute, "CREATE INDEX CONCURRENTLY t_a ON t (a)")
    pid = until(lambda: t.sql(WAITS))[0]["pid"]
    crash_by(crash, t, pid)
    with pytest.raises(psycopg.OperationalError):
        build.result()
    left = t.state("t_a")
    assert left is not None and not left["valid"], "there must be something to repair"
    done = t.one(INDEX)
    assert (done["state"], done["action"]) == ("valid", "rebuilt"), done["reason"]
    assert t.names() == ["t_a", "t_pkey"]
    assert not t.one(INDEX)["result"]["changed"]


@pytest.mark.parametrize("crash", CRASHES, ids=[crash.__name__ for crash in CRASHES])
def test_a_run_whose_server_crashes_waits_for_it_and_ends_well(t: Database, crash: Any) -> None:
    t.other("BEGIN", "UPDATE t SET a = a WHERE id = 1")
    run = Background(t.one, INDEX)
    pid = until(lambda: t.sql(WAITS))[0]["pid"]
    crash_by(crash, t, pid)
    done = run.result()
    assert (done["state"], done["action"]) == ("valid", "created"), done["reason"]
    assert t.names() == ["t_a", "t_pkey"] and t.state("t_a")["valid"]


@pytest.fixture(scope="module")
def primary() -> Any:
    """A primary with a streaming standby beside it, on ports 22416 and 22418."""
    server = Server(
        "17",
        "indexes-test-primary",
        22416,
        "-p",
        "127.0.0.1:22418:5433",
        settings="wal_level=replica max_wal_senders=4 wal_receiver_status_interval=1",
    )
    run = ("exec", "-u", "postgres", server.name)
    docker(*run, "pg_basebackup", "-D", "/tmp/standby", "-R", "-X", "stream", "-c", "fast")
    # What a standby may not have less of than its primary, it has from the command line as well.
    same = "-c max_connections=60 -c max_prepared_transactions=10 -c max_wal_senders=4"
    options = f"-c listen_addresses=0.0.0.0 -c port=5433 {same}"
    docker(
        *run,
        "sh",
        "-c",
        f"exec $(ls -d /usr/lib/postgresql/*/bin)/pg_ctl -D /tmp/standby -o '{options}' -w start",
    )
    yield server
    server.remove()


@pytest.fixture
def pair(primary: Server) -> Any:
    """The same database on the primary and on its standby."""
    db = Database(primary, "postgres")
    db.sql(
        "DROP TABLE IF EXISTS t",
        "CREATE TABLE t (id serial PRIMARY KEY, a int, b text)",
        "INSERT INTO t (a, b) SELECT g, 'text ' || g FROM generate_series(1, 2000) g",
        "CREATE INDEX t_b ON t (b)",
        "ANALYZE t",
    )
    standby = object.__new__(Server)
    standby.version, standby.name, standby.port = primary.version, primary.name, 22418
    copy = Database(standby, "postgres")
    assert copy.value("SELECT pg_is_in_recovery()") is True
    caught = f"SELECT pg_last_wal_replay_lsn() >= '{db.value('SELECT pg_current_wal_lsn()')}'"
    until(lambda: copy.value(caught), what="the standby's catching up")
    yield db, copy
    copy.close()
    db.close()


@pytest.mark.parametrize("check_mode", [True, False])
def test_on_a_standby_nothing_is_done_and_nothing_is_called_valid(
    pair: tuple[Database, Database], check_mode: bool
) -> None:
    db, standby = pair
    result = standby.apply(
        [INDEX, {"name": "t_b", "table": "t", "columns": ["b"]}, {"name": "t_pkey", "state": "absent"}],
        check_mode=check_mode,
    )
    missing, there, _gone = result["indexes"]
    assert (there["state"], there["action"]) == ("unknown", "none")
    assert "standby (in recovery): connect to the primary" in there["reason"]
    assert "connect to the primary" in missing["reason"] and not result["changed"]
    assert missing["name"] in {item["name"] for item in result["failed_indexes"]}
    assert db.names() == ["t_b", "t_pkey"]


def test_a_standby_can_be_audited_and_its_scans_count_on_the_primary(pair: tuple[Database, Database]) -> None:
    db, standby = pair
    with standby.other("SET enable_seqscan = off") as session:
        session.execute("SELECT * FROM t WHERE b = 'text 7'")
        session.execute("SELECT pg_stat_force_next_flush()")
        session.execute("SELECT 1")
    query = {
        "name": "by text",
        "query": "SELECT * FROM t WHERE b = %s",
        "params": ["text 7"],
        "must_use": "t_b",
    }
    wanted = {"audit": {"expect": [{"name": "all", "count": 2}], "queries": [query]}}
    seen = audit(standby, wanted)
    assert {item["name"]: item["valid"] for item in seen["indexes"]} == {"t_b": True, "t_pkey": True}
    assert seen["queries"][0]["usable"] is True
    assert [gate for gate in seen["gates"] if gate["verdict"] == "fail"] == []
    own = {item["name"]: item["scans"] for item in audit(db, wanted)["indexes"]}
    both = audit(db, wanted, replicas=[{"login_host": "127.0.0.1", "login_port": 22418}])
    assert {item["name"]: item["scans"] for item in both["indexes"]}["t_b"] > own["t_b"]
