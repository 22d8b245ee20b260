# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""The check kind `postgres`: one short read-only session that asks only what is expected."""

from __future__ import annotations

from typing import Any, ClassVar

from ..http.client import Trace, in_thread
from ..http.wire import HttpError
from ..predicates import MISSING, Predicate, SpecError, percent, seconds, version, whole
from .base import Clause, Facts, Kind, MissingLibrary, each, flag

try:
    import psycopg
except ImportError:
    psycopg = None

# Logging in reads a few hundred blocks of catalogues; a ratio over those says nothing about a cache.
_MIN_BLOCKS = 10_000
# A connection between primary and replica on which nobody said anything for so many seconds is dead.
_QUIET = 45.0

# Whose sessions are whose is hidden from ordinary users, that they exist is not; what is not a client's
# either has no database or no user.
_HEADROOM = """
select 100.0 * (limits.usable - used.n) / limits.usable
from (select current_setting('max_connections')::int
             - current_setting('superuser_reserved_connections')::int
             - coalesce(current_setting('reserved_connections', true), '0')::int as usable) limits,
     (select count(*) as n from pg_catalog.pg_stat_activity
      where coalesce(backend_type = 'client backend', datid is not null and usesysid is not null)) used
"""
_SEES_REPLICATION = "select pg_catalog.pg_has_role('pg_read_all_stats', 'usage')"
_REPLICAS = "select count(*) from pg_catalog.pg_stat_replication where state = 'streaming'"
# On the primary. A replica that was cut off keeps its last figure until the server gives it up: when there is
# something it has not replayed, or when it has been quiet for longer than a live one ever is (it answers after
# 30 s at the latest by default), it is as late as its last word is old.
_LAG_OF_REPLICAS = """
select extract(epoch from max(greatest(
  coalesce(replay_lag, interval '0'),
  case when replay_lsn is distinct from pg_catalog.pg_current_wal_lsn()
            or quiet.time > %s * interval '1 s' then quiet.time end)))::float8
from pg_catalog.pg_stat_replication, lateral (select clock_timestamp() - reply_time as time) quiet
where state <> 'backup'
"""
# On a replica. One that was cut off has replayed all it received, which says nothing.
_LAG_HERE = """
select case when pg_catalog.pg_last_wal_receive_lsn() is null then 'never'
            else coalesce((select status from pg_catalog.pg_stat_wal_receiver), 'gone') end,
       (select extract(epoch from clock_timestamp() - last_msg_receipt_time)::float8
        from pg_catalog.pg_stat_wal_receiver),
       case when pg_catalog.pg_last_wal_receive_lsn() = pg_catalog.pg_last_wal_replay_lsn() then 0
            else extract(epoch from clock_timestamp() - pg_catalog.pg_last_xact_replay_timestamp()) end::float8
"""
_CACHE = """
select case when blks_hit + blks_read >= %s then 100.0 * blks_hit / (blks_hit + blks_read) end::float8
from pg_catalog.pg_stat_database where datname = pg_catalog.current_database()
"""


def _names(expected: Any, where: str) -> list[str]:
    names = expected if isinstance(expected, list) else [expected]
    if not names or not all(isinstance(name, str) and name for name in names):
        raise SpecError(f"{where}: must be a name or a list of names")
    return names


class _CacheRatio(Predicate):
    """A ratio over too few blocks is not judged: a database that was just restored has read nothing."""

    def failure(self, value: Any) -> str | None:
        return None if value is None else super().failure(value)


class PostgresCheck(Kind):
    """Connect, and hold the server against what is expected of it."""

    name = "postgres"
    plain_option = "dsn"
    options: ClassVar = {
        "dsn": str,
        "host": str,
        "port": whole(1),
        "user": str,
        "password": str,
        "dbname": str,
        "sslmode": str,
        "sslrootcert": str,
    }
    expectations: ClassVar = {
        "connect": flag,
        "version": version,
        "extensions": version,
        "schemas": None,
        "tables": None,
        "rows": None,
        "connections_free": percent,
        "replication_lag": seconds,
        "replicas": None,
        "cache_hit_ratio": percent,
    }
    defaults: ClassVar = {"connect": True}

    def clause(self, key: str, expected: Any, where: str) -> list[Clause]:
        """Names for schemas and tables, predicates by name for extensions and rows, else one predicate."""
        if key in ("schemas", "tables"):
            return [
                Clause(f"{key[:-1]} {name}", _at(key, name), Predicate({"eq": "present"}, where))
                for name in _names(expected, where)
            ]
        if key == "extensions":
            if not isinstance(expected, dict):
                expected = {name: {"exists": True} for name in _names(expected, where)}
            return [
                Clause(
                    f"extension {name}", _at(key, name), Predicate(operand, f"{where}.{name}", version, "gte")
                )
                for name, operand in each(expected, where).items()
            ]
        if key == "rows":
            return [
                Clause(f"row {sql}", _at(key, sql), Predicate(operand, f"{where}[{sql}]"))
                for sql, operand in each(expected, where).items()
            ]
        if key == "cache_hit_ratio":
            ratio = _CacheRatio(expected, where, percent, plain="gte")
            return [Clause(key, lambda facts: facts.get(key, MISSING), ratio)]
        return super().clause(key, expected, where)

    def subject(self) -> str:
        """Host and database, never the whole DSN."""
        option = self.option
        if "dsn" in option:
            return "by dsn"
        return f"{option.get('host', 'local socket')}:{option.get('port', 5432)}/{option.get('dbname', '')}"

    async def look(self, trace: Trace, timeout: float) -> Facts:
        """One session in a thread of its own, which is left behind when the server never answers."""
        if psycopg is None:
            raise MissingLibrary("psycopg")
        trace.begin("waiting for PostgreSQL")
        facts = await in_thread(self._session, timeout)
        trace.end("session")
        return facts

    def _session(self, timeout: float) -> Facts:
        settings = {key: value for key, value in self.option.items() if key != "dsn"}
        limit = max(1, int(timeout * 1000))
        # Read-only and with a time limit by the server itself: a check must not be able to do harm.
        options = f"-c default_transaction_read_only=on -c statement_timeout={limit} -c lock_timeout={limit}"
        try:
            with psycopg.connect(
                self.option.get("dsn", ""),
                connect_timeout=max(2, int(timeout)),
                options=options,
                application_name="slipway-check",
                **settings,
            ) as connection:
                return self._facts(connection)
        except psycopg.Error as error:
            raise HttpError(" ".join(str(error).split()) or type(error).__name__) from None

    def _facts(self, connection: Any) -> Facts:
        def one(sql: str, *values: Any) -> Any:
            row = connection.execute(sql, values or None).fetchone()
            return MISSING if row is None else row[0]

        facts: Facts = {"connect": True}
        if "version" in self.expect:
            facts["version"] = one("show server_version").split()[0]
        if "extensions" in self.expect:
            facts["extensions"] = dict(
                connection.execute("select extname, extversion from pg_catalog.pg_extension")
            )
        if "schemas" in self.expect:
            sql = "select true from pg_catalog.pg_namespace where nspname = %s"
            names = _names(self.expect["schemas"], "")
            facts["schemas"] = {name: "present" for name in names if one(sql, name) is True}
        if "tables" in self.expect:
            sql = "select pg_catalog.to_regclass(%s) is not null"
            facts["tables"] = {
                name: "present" for name in _names(self.expect["tables"], "") if one(sql, name)
            }
        if "connections_free" in self.expect:
            facts["connections_free"] = float(one(_HEADROOM))
        if {"replicas", "replication_lag"} & set(self.expect):
            if not one(_SEES_REPLICATION):
                user = connection.info.user
                raise HttpError(
                    f"{user} may not look at replication; GRANT pg_read_all_stats TO {user}, or ask as another"
                )
            facts["replicas"] = one(_REPLICAS)
        if "replication_lag" in self.expect:
            facts["replication_lag"] = _lag(connection, one)
        if "cache_hit_ratio" in self.expect:
            facts["cache_hit_ratio"] = one(_CACHE, _MIN_BLOCKS)
        if "rows" in self.expect:
            # Prepared, so that the server refuses more than one statement.
            found = {sql: connection.execute(sql, prepare=True).fetchone() for sql in self.expect["rows"]}
            facts["rows"] = {sql: MISSING if row is None else _plain(row[0]) for sql, row in found.items()}
        return facts


def _lag(connection: Any, one: Any) -> Any:
    """Seconds by which replicas are behind, or this server where it is one; raises HttpError."""
    if not one("select pg_catalog.pg_is_in_recovery()"):
        lag = one(_LAG_OF_REPLICAS, _QUIET)
        # No replica is not a lag of nothing: say so instead of passing.
        return MISSING if lag is None else lag
    status, quiet, behind = connection.execute(_LAG_HERE).fetchone()
    # One that was never connected may be fed from an archive: then the age of what it replayed last counts.
    if status not in ("streaming", "never"):
        raise HttpError(f"this replica receives nothing from its primary (WAL receiver: {status})")
    # A live primary says something every 30 s (half its wal_sender_timeout) even when it has nothing to send.
    # It is behind, but not known by how much, before it has replayed its first transaction.
    return MISSING if behind is None else max(behind, quiet if quiet and quiet > _QUIET else 0.0)


def _at(key: str, name: str) -> Any:
    return lambda facts: facts.get(key, {}).get(name, MISSING)


def _plain(value: Any) -> Any:
    """A column as JSON knows it: Decimal as a number, dates and the rest as text, inside arrays and JSON too."""
    if value is MISSING or value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    try:
        return float(value)
    except (TypeError, ValueError):
        return str(value)
