# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""Build, drop and replace one index, and leave nothing behind when that fails."""

from __future__ import annotations

import contextlib
import re
import time
from typing import Any

from ..postgres.connect import Facts, describe, psycopg
from ..postgres.sql import fit_name, human_bytes, ident, literal, parse_bytes, qualified, raw_text
from .blockers import blockers
from .catalog import Index, Table, read_indexes, set_search_path
from .probe import LOCK_TIMEOUT, Probe, parse_path
from .spec import IndexSpec
from .watch import Budget, Session, Stopped

_CLEANUP_WAIT, _CLEANUP_WAIT_HELD = 30.0, 3.0
_SAMPLES = 5
_PARTS_KEPT = (
    "The unfinished index of the partitioned table and the parts already built are kept: the next run goes on "
    "with them"
)
# What may well work a second time. A cancelled build is not among them: somebody wanted it to stop.
_TRANSIENT = {"40P01", "55P03", "57P02", "57P03"}


class Builder:
    """Works on single indexes through one Session.

    `warnings` collects what a person should know afterwards.
    """

    def __init__(self, session: Session, facts: Facts, session_path: str) -> None:
        self.session, self.facts, self.path = session, facts, session_path
        self.options = session.options
        self.warnings: list[str] = []

    # -- reading --

    def indexes_of(self, tables: list[int]) -> list[Index]:
        """Return the indexes of `tables` as they are now."""
        connection = self.session.work
        with connection.transaction():
            connection.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
            set_search_path(connection, "", local=True)
            return read_indexes(connection, self.facts.version, tables)

    def find(self, table: int, name: str) -> Index | None:
        """Return the index `name` of the table, or None."""
        return next((index for index in self.indexes_of([table]) if index.name == name), None)

    # -- building --

    def build(self, spec: IndexSpec, name: str, table: Table, probe: Probe, budget: Budget) -> Index:
        """Create `name` on `table` as declared, and prove it: valid, and the same definition as the probe's.

        Raises Stopped with the cause. A build that failed is removed; what existed before is not touched.
        """
        session, label = self.session, f"{spec.schema}.{name}"
        session.clear_the_way([table.oid], label, budget)
        self._shared_memory(spec, table, label)
        sql = spec.create_sql(
            name, on=qualified(table.schema, table.name), concurrently=self.options.concurrently
        )
        retries, serial = self.options.retries, False
        while True:
            session.wait_until_free(table.oid, label, budget)
            failure = self._attempt(sql, spec, name, table, budget)
            if failure is None:
                break
            if failure.sqlstate == "53100" and "shared memory" in str(failure) and not serial:
                serial = True
                self._without_workers(f"{label}: {describe(failure)}")
            elif retries > 0 and (failure.sqlstate is None or failure.sqlstate in _TRANSIENT):
                retries -= 1
            else:
                raise self._explained(failure, spec, name, table, probe)
            session.emit({"index": label, "phase": f"trying again after: {describe(failure)}"})
        built = self.find(table.oid, name)
        if built is None or not built.valid:
            raise Stopped(f"CREATE INDEX reported success, but {label} is not valid")
        if probe.signature:
            differences = probe.signature.differences(built.signature, tablespace=bool(spec.tablespace))
            if differences:
                raise Stopped(f"{label} was built, but is not what was declared: {'; '.join(differences)}")
        if built.expressions:
            # The planner knows nothing of an expression before the table is analysed.
            session.run(f"ANALYZE {qualified(table.schema, table.name)}", label, [table.oid], budget)
        self._graph_notice(label)
        return built

    def _attempt(self, sql: str, spec: IndexSpec, name: str, table: Table, budget: Budget) -> Any:
        """Try once. Returns None, or the database's error after the remains have been removed."""
        session, label = self.session, f"{spec.schema}.{name}"
        try:
            set_search_path(session.work, parse_path(spec.schema, self.path))
            session.run(sql, label, [table.oid], budget)
            return None
        except Stopped as stopped:
            raise Stopped(f"{stopped}{self._clean(name, table)}", stopped.blockers) from stopped
        except psycopg.Error as error:
            if session.work.broken or session.watch.broken:
                session.reconnect()
                # The server goes on with a build whose client is gone: let it end before judging.
                session.wait_until_free(table.oid, label, budget)
                found = self.find(table.oid, name)
                if found is not None and found.valid:
                    return None
            pending = self._clean(name, table)
            if pending:
                raise Stopped(f"{describe(error)}{pending}") from error
            return error
        finally:
            with contextlib.suppress(psycopg.Error):
                session.work.execute("SELECT set_config('search_path', %s, false)", [self.path])

    def _clean(self, name: str, table: Table) -> str:
        """Remove an INVALID index of that name; return what to tell when it could not be removed."""
        try:
            left = self.find(table.oid, name)
            if left is None or left.valid:
                return ""
            # Who holds a lock on the table now may hold it for long; the next run can do this as well.
            held = blockers(self.session.watch, [table.oid], self.session.ours, left.label, drop=True)
            self.drop(left, Budget(_CLEANUP_WAIT_HELD if held else _CLEANUP_WAIT), careful=False)
        except (Stopped, psycopg.Error) as error:
            cost = (
                "still costs every write"
                if left is not None and left.ready
                else "costs nothing but its space"
            )
            return (
                f". Its INVALID remains could not be dropped ({error}) and {cost}: run again, or DROP "
                f"INDEX CONCURRENTLY {qualified(table.schema, name)}"
            )
        return ""

    def _explained(self, error: Any, spec: IndexSpec, name: str, table: Table, probe: Probe) -> Stopped:
        """Turn a database error into a message that says what to do about it."""
        text = describe(error)
        # 22021: a message with a key that is no text in UTF-8, which the server could not send.
        if error.sqlstate == "23505" or (error.sqlstate == "22021" and spec.unique):
            samples = self._duplicates(spec, table, probe)
            if samples or error.sqlstate == "23505":
                part = (table.schema, table.name) != (spec.schema, spec.table)
                return Stopped(
                    f"rows are not unique: {samples or text}. "
                    + (_PARTS_KEPT if part else "Nothing was left behind")
                )
        if error.sqlstate == "42501" and "for schema" in text:
            text += f": GRANT CREATE ON SCHEMA {ident(spec.schema)} TO {ident(self.facts.user)}"
        if error.sqlstate == "57014":
            text += ": somebody cancelled the build; run again to build it"
        if error.sqlstate == "53100":
            text += ": free disk space on the database server, then run again"
        if error.sqlstate == "57P01":
            text += ": the session was terminated; run again to build it"
        return Stopped(f"building {spec.schema}.{name} failed: {text}")

    def _duplicates(self, spec: IndexSpec, table: Table, probe: Probe) -> str:
        """Return sample keys that occur more than once, with their number, as text."""
        if probe.signature is None:
            return ""
        keys = [f"({column})" for column in probe.signature.columns]
        conditions = [f"({part})" for part in probe.signature.predicate]
        if spec.nulls_distinct:
            conditions += [f"{key} IS NOT NULL" for key in keys]
        where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
        shown_keys = ", ".join(f"coalesce({key}::text, 'NULL')" for key in keys)
        shown = f"concat_ws(', ', {shown_keys})"
        sql = (  # built from quoted names and from what PostgreSQL itself deparsed
            f"SELECT {raw_text(shown)} AS key, "
            f"count(*) AS rows FROM {qualified(table.schema, table.name)}{where} "
            f"GROUP BY {', '.join(keys)} HAVING count(*) > 1 ORDER BY count(*) DESC LIMIT {_SAMPLES}"
        )
        connection = self.session.work
        try:
            with connection.transaction():
                connection.execute("SET LOCAL statement_timeout = '60s'")
                set_search_path(connection, "", local=True)
                rows = connection.execute(sql, binary=True).fetchall()
        except psycopg.Error:
            return ""
        shown = "; ".join(f"({row['key'].decode(errors='replace')}) in {row['rows']} rows" for row in rows)
        return f"({', '.join(probe.signature.columns)}) = {shown}" if shown else ""

    # -- memory of vector indexes --

    def _shared_memory(self, spec: IndexSpec, table: Table, label: str) -> None:
        """Say before an HNSW build that the server's /dev/shm cannot hold its graph, and build it without
        workers."""
        if spec.method != "hnsw":
            return
        connection = self.session.work
        row = connection.execute(
            """
            SELECT current_setting('maintenance_work_mem') AS memory,
              current_setting('dynamic_shared_memory_type') AS kind,
                   current_setting('max_parallel_maintenance_workers')::int AS workers,
                   pg_relation_size(%s::bigint::oid) >= (SELECT setting::bigint * 8192 FROM pg_settings
                                                         WHERE name = 'min_parallel_table_scan_size') AS big,
                   has_function_privilege('pg_catalog.pg_read_file(text,bigint,bigint)', 'EXECUTE') AS
                     readable
            """,
            [table.oid],
        ).fetchone()
        if not row["workers"] or not row["big"] or row["kind"] != "posix":
            return
        memory = parse_bytes(row["memory"]) or 0
        available = self._shm_size() if row["readable"] else None
        if available is None:
            if memory > 64 * 1024**2:
                self._warn(
                    f"{label}: a parallel HNSW build takes maintenance_work_mem ({row['memory']}) from the "
                    f"server's /dev/shm, "
                    "whose size this role cannot see; a container has 64 MB unless shm_size says otherwise"
                )
        elif memory > available:
            self._without_workers(
                f"{label}: maintenance_work_mem is {row['memory']}, the server's /dev/shm has "
                f"{human_bytes(available)}"
            )

    def _shm_size(self) -> int | None:
        try:
            text = self.session.work.execute(
                "SELECT pg_read_file('/proc/mounts', 0, 1000000) AS text"
            ).fetchone()["text"]
        except psycopg.Error:
            return None
        match = re.search(r"^\S+ /dev/shm tmpfs \S*?size=(\d+)k", text, re.MULTILINE)
        return int(match.group(1)) * 1024 if match else None

    def _without_workers(self, seen: str) -> None:
        self.session.work.execute("SELECT set_config('max_parallel_maintenance_workers', '0', false)")
        self._warn(
            f"{seen}: building without parallel workers, which is slower. Give the database's container "
            f"shm_size of at "
            "least maintenance_work_mem, or lower maintenance_work_mem"
        )

    def _graph_notice(self, label: str) -> None:
        for notice in self.session.notices:
            if "no longer fits" in notice:
                self._warn(
                    f"{label}: {notice}: the rest was built several times slower; raise "
                    f"maintenance_work_mem (settings)"
                )
        self.session.notices.clear()

    def _warn(self, text: str) -> None:
        self.warnings.append(text)
        self.session.emit({"index": text.split(":", 1)[0], "phase": "warning", "message": text})

    # -- dropping and renaming --

    def drop(self, index: Index, budget: Budget, careful: bool = True) -> None:
        """Drop `index` without locking the table out. `careful`: look for long transactions first."""
        session = self.session
        if careful:
            session.clear_the_way([index.table_oid], index.label, budget, drop=True)
        name = qualified(index.schema, index.name)
        if index.partitioned or not self.options.concurrently:
            # PostgreSQL cannot drop a partitioned index concurrently; the lock is short, the files go at
            # once.
            session.briefly([f"DROP INDEX IF EXISTS {name}"], index.label, budget, [index.table_oid])
            return
        session.wait_until_free(index.table_oid, index.label, budget)
        session.run(
            f"DROP INDEX CONCURRENTLY IF EXISTS {name}", index.label, [index.table_oid], budget, drop=True
        )

    def adopt(self, twin: Index, spec: IndexSpec, budget: Budget) -> None:
        """Give an index that has the declared definition the declared name."""
        sql = f"ALTER INDEX {qualified(twin.schema, twin.name)} RENAME TO {ident(spec.name)}"
        self.session.briefly([sql], spec.label, budget, [twin.table_oid])

    def swap(self, old: Index, new: Index, spec: IndexSpec, budget: Budget) -> str:
        """Give `new` the name of `old` and all that hangs on it, in one transaction.

        Returns the old one's new name.
        """
        aside = fit_name(spec.name, f"__slipold_{spec.hash}")
        table, name = qualified(spec.schema, spec.table), qualified(spec.schema, spec.name)
        statements = [
            f"ALTER INDEX {name} RENAME TO {ident(aside)}",
            f"ALTER INDEX {qualified(new.schema, new.name)} RENAME TO {ident(spec.name)}",
        ]
        if old.comment is not None:
            statements.append(f"COMMENT ON INDEX {name} IS {literal(old.comment)}")
        expressions = dict(zip(new.signature.columns, range(1, len(new.signature.columns) + 1)))
        for column, target in old.statistics:
            # A statistics target belongs to an expression, which may have moved to another position.
            position = expressions.get(old.signature.columns[column - 1])
            if position is not None and new.expressions:
                statements.append(f"ALTER INDEX {name} ALTER COLUMN {position} SET STATISTICS {target}")
        if old.clustered:
            statements.append(f"ALTER TABLE {table} CLUSTER ON {ident(spec.name)}")
        if old.replica_identity:
            statements.append(f"ALTER TABLE {table} REPLICA IDENTITY USING INDEX {ident(spec.name)}")
        self.session.briefly(statements, spec.label, budget, [old.table_oid])
        return aside


class Stopwatch:
    """Seconds since it was made."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds, rounded to milliseconds."""
        return round(time.monotonic() - self._start, 3)
