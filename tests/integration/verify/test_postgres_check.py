"""The check kind `postgres` against PostgreSQL: alone, seen by an ordinary user, and with a streaming replica."""

from __future__ import annotations

import shutil
import socket
import time
from typing import Any, NamedTuple

import psycopg
import pytest
from verify_containers import PASSWORD, docker, free_port, retried

pytestmark = pytest.mark.skipif(shutil.which("docker") is None, reason="needs Docker")


@pytest.fixture(scope="module")
def postgres(start: Any) -> dict[str, Any]:
    port = free_port()
    # 40 connections, 3 of them reserved; and a cache that is easily too small.
    started(
        start,
        "postgres",
        port,
        "slipway/postgres:17",
        "postgres",
        "-c",
        "max_connections=40",
        "-c",
        "shared_buffers=1MB",
    )
    return {"host": "127.0.0.1", "port": port, "user": "postgres", "password": PASSWORD, "dbname": "postgres"}


def test_postgres(passes: Any, postgres: dict[str, Any]) -> None:
    passes(
        postgres=postgres,
        expect={
            "version": {"gte": 17, "lt": 18},
            "extensions": ["plpgsql"],
            "schemas": ["public", "pg_catalog"],
            "tables": ["pg_catalog.pg_class"],
            "rows": {
                "select count(*) from pg_catalog.pg_database": {"gte": 1},
                "select 1.5": 1.5,
                "select null": None,
            },
            "connections_free": {"gte": "50%"},
            "replicas": 0,
            "cache_hit_ratio": "1%",
        },
    )


@pytest.mark.parametrize(
    ("expect", "reason"),
    [
        ({"version": {"gte": 18}}, 'version: saw "17.'),
        ({"extensions": {"plpgsql": "9.0"}}, 'extension plpgsql: saw "1.0", expected at least 9.0'),
        ({"extensions": ["postgis"]}, "extension postgis: saw nothing"),
        ({"schemas": ["feedback"]}, "schema feedback: saw nothing"),
        ({"tables": ["feedback.reviews"]}, "table feedback.reviews: saw nothing"),
        ({"rows": {"select count(*) from pg_catalog.pg_database": {"gt": 99}}}, "expected above 99"),
        ({"rows": {"selct 1": 1}}, "syntax error"),
        ({"rows": {"create table no (n int)": 1}}, "read-only transaction"),
        ({"rows": {"select pg_sleep(60)": 1}}, "statement timeout"),
        ({"connections_free": {"gte": "100%"}}, "connections_free: saw"),
        ({"replication_lag": {"lt": "10s"}}, "replication_lag: saw nothing"),
        ({"replicas": {"gte": 1}}, "replicas: saw 0, expected at least 1"),
    ],
)
def test_gone_wrong(passes: Any, fails: Any, postgres: dict[str, Any], expect: Any, reason: str) -> None:
    passes(postgres=postgres)
    assert reason in fails(postgres=postgres, expect=expect, timeout=1.0 if "sleep" in str(expect) else 10.0)


def test_refuses(passes: Any, fails: Any, postgres: dict[str, Any]) -> None:
    passes(postgres=postgres)
    assert "password authentication failed" in fails(postgres={**postgres, "password": "wrong"})
    assert "Connection refused" in fails(postgres={**postgres, "port": 1})
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen(8)
        reason = fails(postgres={**postgres, "port": mute.getsockname()[1]}, timeout=0.5)
    assert "still waiting for PostgreSQL" in reason
    assert "does not support SSL" in fails(postgres={**postgres, "sslmode": "require"})


def session(settings: dict[str, Any]) -> psycopg.Connection[Any]:
    return psycopg.connect(**settings, autocommit=True)


def test_a_declared_query_is_one_statement_that_reads(
    passes: Any, fails: Any, postgres: dict[str, Any]
) -> None:
    passes(postgres=postgres, expect={"rows": {"select 'a%b' like 'a%'": True}})
    stacked = "commit; set session characteristics as transaction read write; create table no (n int)"
    assert "multiple commands" in fails(postgres=postgres, expect={"rows": {stacked: 1}})
    with session(postgres) as connection:
        assert connection.execute("select to_regclass('no')").fetchone() == (None,)


def test_somebody_who_may_see_little(passes: Any, fails: Any, postgres: dict[str, Any]) -> None:
    """What an ordinary user is not shown must not look as if it were not there."""
    passes(postgres=postgres)
    app = {**postgres, "user": "app"}
    with session(postgres) as connection:
        connection.execute(f"create role app login password '{PASSWORD}'")
    free = passes(postgres=app, expect={"connections_free": {"gte": "70%"}}).observed["connections_free"]
    others = [session(postgres) for _number in range(20)]
    try:
        left = passes(postgres=app, expect={"connections_free": {"gte": "1%"}}).observed["connections_free"]
        assert left == pytest.approx(free - 100 * 20 / 37, abs=6)
        assert "connections_free: saw" in fails(postgres=app, expect={"connections_free": {"gte": "70%"}})
    finally:
        for other in others:
            other.close()
    for expect in ({"replication_lag": {"lt": "1h"}}, {"replicas": 0}):
        assert "GRANT pg_read_all_stats TO app" in fails(postgres=app, expect=expect)
    with session(postgres) as connection:
        connection.execute("grant pg_read_all_stats to app")
    passes(postgres=app, expect={"replicas": 0})


def test_cache_hit_ratio(passes: Any, fails: Any, postgres: dict[str, Any]) -> None:
    passes(postgres=postgres)
    with session(postgres) as connection:
        connection.execute("create database cold")
        connection.execute("create database warm")
    cold, warm = ({**postgres, "dbname": name} for name in ("cold", "warm"))
    # Nobody has read anything yet: not judged, instead of being called bad.
    passes(postgres=cold, expect={"cache_hit_ratio": "99.9%"})
    with session(cold) as connection:
        connection.execute("create table much as select repeat('x', 900) as t from generate_series(1, 40000)")
        connection.execute("vacuum much")
        connection.execute("select pg_stat_reset()")
        for _time in range(2):  # it is larger than the 1 MB of cache
            connection.execute("select count(*) from much")
    with session(warm) as connection:
        connection.execute("create table few as select 1 as n from generate_series(1, 100)")
        connection.execute("select pg_stat_reset()")
        for _time in range(12000):
            connection.execute("select count(*) from few")
    assert "cache_hit_ratio: saw" in fails(postgres=cold, expect={"cache_hit_ratio": "90%"})
    assert passes(postgres=warm, expect={"cache_hit_ratio": "90%"}).observed["cache_hit_ratio"] > 90


REPLICA = """
rm -rf "$PGDATA"/*
until pg_basebackup --host "$PRIMARY" --username postgres --pgdata "$PGDATA" --write-recovery-conf; do sleep 0.3; done
exec postgres -c listen_addresses='*' -c wal_receiver_status_interval=1
"""


def started(start: Any, name: str, port: int, *arguments: str) -> str:
    secret = f"POSTGRES_PASSWORD={PASSWORD}"
    return str(start(name, "-p", f"127.0.0.1:{port}:5432", "-e", secret, *arguments))


@pytest.fixture(scope="module")
def pair(start: Any) -> Pair:
    one, other = free_port(), free_port()
    primary = started(
        start, "primary", one, "slipway/postgres:17", "postgres", "-c", "wal_sender_timeout=120s"
    )
    inside = ["docker", "exec", primary, "sh", "-c"]
    retried([*inside, "pg_isready -h 127.0.0.1"], 30)
    permit = "echo 'host replication all all trust' >> $PGDATA/pg_hba.conf"
    retried([*inside, f"{permit} && psql -U postgres -c 'select pg_reload_conf()'"], 10)
    address = docker("inspect", "--format", "{{.NetworkSettings.IPAddress}}", primary)
    replica = started(
        start, "replica", other, "-e", f"PRIMARY={address}", "slipway/postgres:17", "sh", "-c", REPLICA
    )
    login = {"host": "127.0.0.1", "user": "postgres", "password": PASSWORD, "dbname": "postgres"}
    return Pair({**login, "port": one}, {**login, "port": other}, replica)


class Pair(NamedTuple):
    """How to log in to a primary and its streaming replica, and the replica's container."""

    primary: dict[str, Any]
    replica: dict[str, Any]
    container: str

    def write(self) -> None:
        with session(self.primary) as connection:
            connection.execute("create table if not exists written (at timestamptz)")
            connection.execute("insert into written values (now())")


LAG = {"replication_lag": {"lt": "3s"}}


def test_replication(passes: Any, fails: Any, pair: Pair) -> None:
    passes(postgres=pair.primary, expect={**LAG, "replicas": 1})
    passes(postgres=pair.replica, expect=LAG)
    assert "replicas: saw 1, expected at least 2" in fails(
        postgres=pair.primary, expect={"replicas": {"gte": 2}}
    )

    # It receives, and does not replay.
    with session(pair.replica) as connection:
        connection.execute("select pg_wal_replay_pause()")
        pair.write()
        time.sleep(0.5)
        # It has not replayed any transaction yet, so how late it is nobody knows: not a reason to pass.
        assert "replication_lag: saw nothing" in fails(postgres=pair.replica, expect=LAG)
        connection.execute("select pg_wal_replay_resume()")
        passes(postgres=pair.replica, expect=LAG)
        connection.execute("select pg_wal_replay_pause()")
        pair.write()
        time.sleep(3.5)
        assert "replication_lag: saw" in fails(postgres=pair.replica, expect=LAG)
        assert "replication_lag: saw" in fails(postgres=pair.primary, expect=LAG)
        connection.execute("select pg_wal_replay_resume()")
    pair.write()
    passes(postgres=pair.primary, expect={**LAG, "replicas": 1})
    passes(postgres=pair.replica, expect=LAG)


def test_a_replica_that_hangs(passes: Any, fails: Any, pair: Pair) -> None:
    passes(postgres=pair.primary, expect={**LAG, "replicas": 1})
    docker("pause", pair.container)
    try:
        pair.write()
        time.sleep(3.5)
        assert "replication_lag: saw" in fails(postgres=pair.primary, expect=LAG)
    finally:
        docker("unpause", pair.container)
    passes(postgres=pair.primary, expect=LAG)


def test_a_replica_that_was_cut_off(passes: Any, fails: Any, pair: Pair) -> None:
    passes(postgres=pair.replica, expect=LAG)
    with session(pair.replica) as connection:
        connection.execute("alter system set primary_conninfo = ''")
        connection.execute("select pg_reload_conf()")
    end = time.monotonic() + 10
    reason = ""
    while "receives nothing from its primary" not in reason:
        assert time.monotonic() < end, reason
        reason = fails(postgres=pair.replica, expect=LAG) if reason else "reloading"
        time.sleep(0.3)
    assert "replication_lag: saw nothing" in fails(postgres=pair.primary, expect=LAG)
    assert "replicas: saw 0" in fails(postgres=pair.primary, expect={"replicas": 1})
