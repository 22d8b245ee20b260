"""Real servers (PostgreSQL 15 and 17, pgvector), a new database for each test, other people's sessions."""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
import time
from typing import Any

import pg_indexes
import psycopg
import pytest
from ansible.module_utils.slipway.indexes import build as pg_index_build
from ansible.module_utils.slipway.indexes import probe as pg_index_probe
from ansible.module_utils.slipway.indexes import run as pg_index_apply
from ansible.module_utils.slipway.indexes import watch as pg_index_watch
from ansible.module_utils.slipway.indexes.ensure import ensure
from psycopg.rows import dict_row

# The same rules in less time.
pg_index_watch._LOOK_EVERY = 0.25
pg_index_build._CLEANUP_WAIT_HELD = 1.0
for user in (pg_index_apply, pg_index_build, pg_index_probe):
    user.LOCK_TIMEOUT = "1s"

PASSWORD = "integration-only"
PORTS = {"15": 22415, "17": 22417}
EXTENSIONS = ("vector", "pg_trgm")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "slow: takes long; not part of the quick run")


def docker(*arguments: str) -> str:
    return subprocess.run(["docker", *arguments], check=True, capture_output=True, text=True).stdout.strip()


class Server:
    """A PostgreSQL server in a container."""

    def __init__(self, version: str, name: str, port: int, *options: str, settings: str = "") -> None:
        self.version, self.name, self.port = version, name, port
        with contextlib.suppress(subprocess.CalledProcessError):
            docker("rm", "-fv", name)
        common = (
            "fsync=off full_page_writes=off wal_level=minimal max_wal_senders=0 autovacuum=off "
            "max_prepared_transactions=10 max_connections=60 deadlock_timeout=500ms"
        )
        # Of a setting that is given twice the last one counts.
        flags = [part for setting in f"{common} {settings}".split() for part in ("-c", setting)]
        docker(
            "run",
            "-d",
            "--name",
            name,
            "-p",
            f"127.0.0.1:{port}:5432",
            "-e",
            f"POSTGRES_PASSWORD={PASSWORD}",
            *options,
            f"slipway/postgres:{version}",
            "postgres",
            *flags,
        )
        self.wait()

    def wait(self) -> None:
        deadline = time.monotonic() + 120
        while True:
            try:
                self.connect("postgres").close()
                return
            except psycopg.Error:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)

    def connect(self, database: str, **keywords: Any) -> psycopg.Connection[dict[str, Any]]:
        wanted = {"autocommit": True, "user": "postgres", "password": PASSWORD, **keywords}
        return psycopg.connect(
            host="127.0.0.1", port=self.port, dbname=database, row_factory=dict_row, **wanted
        )

    def remove(self) -> None:
        docker("rm", "-fv", self.name)


class Database:
    """A database of one test, with helpers to run the module against it and to be somebody else in it."""

    def __init__(self, server: Server, name: str) -> None:
        self.server, self.name = server, name
        self.admin = server.connect(name)
        self._others: list[psycopg.Connection[Any]] = []

    def sql(self, *statements: str) -> Any:
        rows = None
        for statement in statements:
            cursor = self.admin.execute(statement)
            rows = cursor.fetchall() if cursor.description else None
        return rows

    def value(self, query: str) -> Any:
        return next(iter(self.sql(query)[0].values()))

    def other(self, *statements: str, **keywords: Any) -> psycopg.Connection[Any]:
        """Open another session, which executes the statements and stays."""
        connection = self.server.connect(self.name, **keywords)
        self._others.append(connection)
        for statement in statements:
            connection.execute(statement)
        return connection

    def params(self, indexes: list[dict[str, Any]], **options: Any) -> dict[str, Any]:
        defaults = {key: value.get("default") for key, value in pg_indexes.ARGUMENTS.items()}
        return {
            **defaults,
            "login_host": "127.0.0.1",
            "login_port": self.server.port,
            "login_password": PASSWORD,
            "login_db": self.name,
            "max_wait": 20,
            "indexes": indexes,
            **options,
        }

    def apply(
        self, indexes: list[dict[str, Any]], check_mode: bool = False, **options: Any
    ) -> dict[str, Any]:
        return ensure(self.params(indexes, **options), check_mode)

    def one(self, index: dict[str, Any], **options: Any) -> dict[str, Any]:
        """Run for one index; return its entry with the rest of the result under `result`."""
        result = self.apply([index], **options)
        return {**result["indexes"][0], "result": result}

    def state(self, name: str, schema: str = "public") -> dict[str, Any] | None:
        rows = self.admin.execute(
            "SELECT i.indexrelid::bigint AS oid, indisvalid AS valid, indisready AS ready, "
            "pg_get_indexdef(indexrelid) AS def "
            "FROM pg_index i JOIN pg_class c ON c.oid = indexrelid "
            "JOIN pg_namespace n ON n.oid = relnamespace "
            "WHERE relname = %s AND nspname = %s",
            [name, schema],
        ).fetchall()
        return rows[0] if rows else None

    def names(self, table: str = "t") -> list[str]:
        rows = self.sql(
            "SELECT indexrelid::regclass::text AS name FROM pg_index "
            f"WHERE indrelid = '{table}'::regclass ORDER BY 1"
        )
        return [row["name"] for row in rows]

    def invalid(self, name: str, table: str = "t", column: str = "a", kind: str = "") -> None:
        """Leave an INVALID index behind by a build that is cut short by a lock timeout."""
        blocker = self.other("BEGIN ISOLATION LEVEL REPEATABLE READ", "SELECT 1 FROM pg_class LIMIT 1")
        session = self.other("SET lock_timeout = '200ms'")
        with contextlib.suppress(psycopg.errors.LockNotAvailable):
            session.execute(f"CREATE {kind} INDEX CONCURRENTLY {name} ON {table} ({column})")
        blocker.close()
        session.close()
        state = self.state(name.strip('"'))
        assert state is not None and not state["valid"]

    def close(self) -> None:
        for connection in [*self._others, self.admin]:
            with contextlib.suppress(psycopg.Error):
                connection.close()


class Background:
    """Run a callable in a thread; `result()` returns what it returned or raises what it raised."""

    def __init__(self, call: Any, *arguments: Any, **keywords: Any) -> None:
        self._outcome: dict[str, Any] = {}

        def run() -> None:
            try:
                self._outcome["value"] = call(*arguments, **keywords)
            except BaseException as error:
                self._outcome["error"] = error

        self._thread = threading.Thread(target=run, daemon=True)
        self._thread.start()

    @property
    def running(self) -> bool:
        return self._thread.is_alive()

    def result(self, timeout: float = 60) -> Any:
        self._thread.join(timeout)
        assert not self.running, "still running"
        if "error" in self._outcome:
            raise self._outcome["error"]
        return self._outcome["value"]


def until(condition: Any, timeout: float = 15, what: str = "condition") -> Any:
    """Wait until `condition()` is true and return it."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"{what} never came true"
        time.sleep(0.03)


@pytest.fixture(scope="session", params=os.environ.get("SLIPWAY_TEST_POSTGRES", "15 17").split())
def server(request: pytest.FixtureRequest) -> Any:
    version = request.param
    running = Server(version, f"indexes-test-pg{version}", PORTS[version])
    with running.connect("postgres") as connection:
        connection.execute("CREATE DATABASE pattern")
    with running.connect("pattern") as connection:
        for extension in EXTENSIONS:
            connection.execute(f"CREATE EXTENSION {extension}")
    yield running
    running.remove()


_COUNTER = iter(range(10**6))


@pytest.fixture
def db(server: Server) -> Any:
    name = f"test_{next(_COUNTER)}"
    with server.connect("postgres") as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE pattern STRATEGY wal_log")
    database = Database(server, name)
    yield database
    # The database goes with the container: dropping it would cost a checkpoint a test.
    database.close()


@pytest.fixture
def t(db: Database) -> Database:
    """A database with a table t of 2,000 rows."""
    db.sql(
        "CREATE TABLE t (id serial PRIMARY KEY, a int, b text, c timestamptz DEFAULT now(), d boolean)",
        "INSERT INTO t (a, b, d) SELECT g, 'text ' || g, g % 2 = 0 FROM generate_series(1, 2000) g",
    )
    return db


class Gates:
    """A build of `slow(a)` stops at row 500 until gate 1 is open, and at row 1,500 of 2,000 until gate 2 is."""

    def __init__(self, t: Database) -> None:
        self.index = {"name": "t_slow", "table": "t", "columns": ["slow(a)"]}
        t.sql(
            "CREATE FUNCTION slow(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN "
            "IF $1 IN (500, 1500) THEN WHILE NOT pg_try_advisory_lock_shared(($1 + 500) / 1000) LOOP "
            "PERFORM pg_sleep(0.05); END LOOP; PERFORM pg_advisory_unlock_shared(($1 + 500) / 1000); END IF; "
            "RETURN $1; END $$"
        )
        self.db = t
        self._keeper = t.other("SELECT pg_advisory_lock(1), pg_advisory_lock(2)")

    def open(self, *gates: int) -> None:
        for gate in gates:
            self._keeper.execute("SELECT pg_advisory_unlock(%s)", [gate])

    def close(self, *gates: int) -> None:
        for gate in gates:
            self._keeper.execute("SELECT pg_advisory_lock(%s)", [gate])

    def wait_at(self, gate: int) -> None:
        """Wait until a build stands at a gate: 500 rows are a third of the way, 1,500 two thirds."""
        done = (0.1, 0.5)[gate - 1]
        until(
            lambda: self.db.sql(
                "SELECT 1 FROM pg_stat_progress_create_index WHERE phase LIKE 'building index%' "
                f"AND blocks_done < blocks_total AND blocks_done > {done} * blocks_total"
            ),
            60,
            f"a build at gate {gate}",
        )


@pytest.fixture
def gates(t: Database) -> Gates:
    return Gates(t)
