"""Run an application's migrations once, know what they did, and put the schema back where that is safe."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import random
import re
import time
import typing as t
import zlib
from pathlib import Path

from ..backup.store import now, write_json
from ..compose.oneshot import Compose, tail
from ..postgres import manifest as pg_manifest
from ..postgres import schema as pg_schema
from ..postgres.login import Login, connect
from .tools import Pending, Tool, fill

with contextlib.suppress(ImportError):
    import psycopg

#: What PostgreSQL says when a statement waited too long for a lock.
LOCK_TIMEOUT = re.compile(r"lock timeout|55P03|LockNotAvailable", re.IGNORECASE)
#: First half of the advisory lock's key: "slip" in ASCII.
LOCK_CLASS = 0x736C6970

Gate: t.TypeAlias = "dict[str, t.Any]"
Record: t.TypeAlias = "dict[str, t.Any]"


class MigrationError(Exception):
    """A migration did not do what it should; ``result`` is what is known all the same."""

    def __init__(self, message: str, result: dict[str, t.Any] | None = None) -> None:
        super().__init__(message)
        self.result = result or {}


@dataclasses.dataclass(frozen=True)
class Options:
    """How to migrate. ``login`` is ``None`` when the schema cannot be looked at; ``record`` is the file
    that outlives a killed run. Times are PostgreSQL's (``2s``); ``lock_wait`` is in seconds."""

    compose: Compose
    tool: Tool
    login: Login | None = None
    target: str = ""
    record: Path | None = None
    lock_timeout: str = "2s"
    statement_timeout: str = "1h"
    retries: int = 3
    lock_wait: float = 60


@dataclasses.dataclass
class State:
    """A moment of the database: revision, what is pending (``None``: the tool has no way to tell, which is not
    the same as nothing), and the schema (``None`` without a login)."""

    revision: str
    pending: list[Pending] | None
    schema: pg_schema.Schema | None
    stamp: str = ""

    def summary(self) -> dict[str, t.Any]:
        """For people and reports: without the whole schema."""
        fingerprint = None if self.schema is None else pg_schema.fingerprint(self.schema)
        return {"revision": self.revision, "fingerprint": fingerprint}


class Migrations:
    """``info()``, ``upgrade()`` and ``revert()`` of one service's migrations."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.tool = options.tool
        self.target = options.target or options.tool.target
        self.conn: pg_manifest.Connection | None = None

    @contextlib.contextmanager
    def alone(self) -> t.Iterator[None]:
        """Be the only one that migrates this database. Raises MigrationError, ComposeError.

        The advisory lock is polled, never waited for: a waiting session would hold back index builds.
        """
        login, wait = self.options.login, self.options.lock_wait
        self.options.compose.wait_for_others(wait)
        if login is None:
            yield
            return
        with self._connected(login, "slipway:migrate"):
            key = zlib.crc32(b"migrate") & 0x7FFFFFFF
            deadline = time.monotonic() + wait
            while not self._one("SELECT pg_try_advisory_lock(%s, %s)", LOCK_CLASS, key):
                if time.monotonic() > deadline:
                    raise MigrationError(self._who_holds(key, wait))
                time.sleep(0.5)
            yield

    @contextlib.contextmanager
    def _connected(self, login: Login, application: str) -> t.Iterator[pg_manifest.Connection]:
        """Have a connection while the block runs. Raises MigrationError for whatever the server refuses."""
        try:
            with connect(login, application) as self.conn:
                yield self.conn
        except psycopg.Error as error:
            raise MigrationError(f"{login}: {str(error).strip()}") from error
        finally:
            self.conn = None

    def info(self) -> State:
        """Where the database stands and what is pending. Raises MigrationError when the tool should say and cannot."""
        if not self.tool.info:
            return State(self._booked(), None, *self._schema())
        command = fill(self.tool.info, target=self.target)
        done = self.options.compose.run(command)
        if done.returncode not in (0, self.tool.pending_status):
            raise MigrationError(self._failed(command, done.returncode, done.stdout + done.stderr))
        revision, pending = self.tool.parse(done.stdout)
        return State(revision or self._booked(), pending, *self._schema())

    def applied(self) -> list[str]:
        """The revisions the database has by the tool's own table. Raises MigrationError when it can't be asked."""
        if self.options.login is None:
            raise MigrationError(
                "the database can't be looked at from here (no login, or psycopg is missing)"
            )
        with self._connected(self.options.login, "slipway:plan") as conn:
            if self.tool.list_applied:
                return pg_manifest.listed(conn, *self.tool.list_applied)
            return [name for name in self._booked().split(",") if name]

    def sql(self, state: State) -> tuple[str, str]:
        """The pending migrations as SQL and the reason why there is none: one of the two is empty."""
        if not self.tool.sql:
            return "", f"{self.tool.name} has no command that prints migrations as SQL"
        command = fill(self.tool.sql, current=state.revision or self.tool.base, target=self.target)
        done = self.options.compose.run(command)
        # Alembic tells its errors on stdout, where the SQL should be.
        if done.returncode:
            return "", self._failed(command, done.returncode, done.stdout + done.stderr)
        return done.stdout, ""

    def upgrade(self) -> dict[str, t.Any]:
        """Apply what is pending. Raises MigrationError, whose result says how the database was left."""
        started = time.monotonic()
        before = self.info()
        record = self._recorded() or self._note({"before": {**before.summary(), "schema": before.schema}})
        result: dict[str, t.Any] = {"before": _without_schema(record["before"]), "pending": before.pending}
        if before.pending == []:
            return self._finish(before, before, result, started)
        self._note(record, state="started", pending=before.pending)
        command = fill(self.tool.upgrade, target=self.target)
        for attempt in range(1, self.options.retries + 2):
            done = self.options.compose.run(command, self._pgoptions())
            after = self._look(before)
            if done.returncode == 0:
                break
            output = done.stdout + done.stderr
            unchanged = after.summary() == before.summary() and after.schema is not None
            if unchanged and LOCK_TIMEOUT.search(output) and attempt <= self.options.retries:
                time.sleep(min(2 ** (attempt - 1), 8) * random.uniform(0.5, 1))  # noqa: S311
                continue
            self._note(record, state="failed")
            result.update(after=after.summary(), attempts=attempt, changes=_changes(before, after))
            result["output"] = self.options.compose.redact(tail(output))
            stands = self._stands(before, after)
            raise MigrationError(f"{self._failed(command, done.returncode, output)}\n{stands}", result)
        result["attempts"] = attempt
        finished = self._finish(before, after, result, started)
        self._note(record, state="upgraded", after=after.summary())
        return {**finished, "changes": _changes(before, after)}

    def revert(self) -> dict[str, t.Any]:
        """Go back to what the record says was before, as far as the tool can; say exactly what stays
        different.

        Nothing but the tool's own downgrade is run. Data of dropped tables and columns do not come back
        with it.
        """
        record = self._recorded()
        if record is None:
            return {"changed": False, "restored": True, "left": [], "lost": [], "gates": []}
        was = State(record["before"]["revision"], None, record["before"]["schema"])
        at = self._look(was)
        lost = pg_schema.lost_data(was.schema, at.schema) if was.schema and at.schema else []
        notes = []
        commands = self.tool.downgrades(at.revision, was.revision) if at.revision != was.revision else []
        for command in commands:
            done = self.options.compose.run(command, self._pgoptions())
            if done.returncode:
                notes.append(self._failed(command, done.returncode, done.stdout + done.stderr))
                break
        after = self._look(was) if commands else at
        left = _changes(was, after)
        if after.revision != was.revision:
            left.insert(0, f"the revision is {after.revision or 'none'} instead of {was.revision or 'none'}")
            if not self.tool.downgrade:
                notes.append(f"{self.tool.name} has no downgrade")
        restored = not left and not lost
        self._note(record, state="reverted" if restored else "left different", left=left, lost=lost)
        gates = [_revert_gate(left, lost, compared=after.schema is not None)]
        return {
            "changed": bool(commands),
            "restored": restored,
            "before": _without_schema(record["before"]),
            "after": after.summary(),
            "left": left,
            "lost": lost,
            "notes": [*notes, *_advice(after)],
            "gates": gates,
        }

    # --- details ------------------------------------------------------------------------------------------

    def _finish(
        self, before: State, after: State, result: dict[str, t.Any], started: float
    ) -> dict[str, t.Any]:
        invalid = pg_schema.invalid_indexes(after.schema or {})
        applied = None if before.pending is None else [p["revision"] for p in before.pending]
        gates = [applied_gate(before, after), *invalid_gates(after)]
        seconds = round(time.monotonic() - started, 2)
        # What was run unseen has changed something, unless the schema is known to be as it was.
        same = after.schema is not None and after.summary() == before.summary()
        changed = bool(applied) if applied is not None else not same
        result.update(changed=changed, after=after.summary(), applied=applied, gates=gates)
        result["duration_s"] = seconds
        if invalid:
            raise MigrationError(
                f"INVALID indexes cost every write and serve no query. {gates[-1]['detail']}", result
            )
        return result

    def _look(self, before: State) -> State:
        """Where the database stands now; asked of the database itself where that will do: quicker."""
        if self.conn is not None and self.tool.book:
            return State(self._booked(), None, *self._schema(before))
        if not self.tool.info:
            return State(before.revision, None, *self._schema(before))
        return self.info()

    def _schema(self, before: State | None = None) -> tuple[pg_schema.Schema | None, str]:
        """The schema and its stamp; the one from before when the stamp says that nothing has changed."""
        if self.conn is None:
            return None, ""
        stamp = pg_schema.stamp(self.conn)
        if before is not None and before.stamp == stamp:
            return before.schema, stamp
        try:
            return pg_schema.listing(self.conn), stamp
        except psycopg.errors.LockNotAvailable as error:
            raise MigrationError(self._who_locks()) from error

    def _booked(self) -> str:
        """The revision the tool's own table holds; empty when there is no such table or no login."""
        if self.conn is None or not self.tool.book:
            return ""
        books = pg_manifest.revision(self.conn)
        return ",".join(v for k, v in sorted(books.items()) if k.endswith(f".{self.tool.book}") and v)

    def _recorded(self) -> Record | None:
        if self.options.record is None or not self.options.record.exists():
            return None
        record: Record = json.loads(self.options.record.read_text())
        return record

    def _note(self, record: Record, **more: t.Any) -> Record:
        """Write the record. The first ``before`` stays: a second run must not start from a half-way state."""
        record.update(more, at=now(), tool=self.tool.name)
        if self.options.record is not None:
            self.options.record.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
            write_json(self.options.record, record)
        return record

    def _pgoptions(self) -> str:
        options = self.options
        return f"-c lock_timeout={options.lock_timeout} -c statement_timeout={options.statement_timeout}"

    def _failed(self, command: list[str], status: int, output: str) -> str:
        text = self.options.compose.redact(tail(output))
        if "Can't locate revision" in text:
            text += (
                "\nThe database is at a revision this image does not have: a newer release migrated it."
                " To go back to an older release: ansible-playbook rollback.yml"
            )
        service = self.options.compose.service
        return f"{' '.join(command)} failed with status {status} in a container of {service}:\n{text}"

    def _stands(self, before: State, after: State) -> str:
        revision = after.revision or "no revision"
        if after.schema is None:
            return f"The database stands at {revision}; without a login its schema was not compared."
        changes = _changes(before, after)
        if not changes and after.revision == before.revision:
            return f"The database stands at {revision} as before and its schema is unchanged."
        return (
            f"The database stands at {revision}, before it was {before.revision or 'no revision'}. "
            f"Different from before: {'; '.join(changes) or 'nothing but the revision'}."
        )

    def _one(self, query: str, *values: t.Any) -> t.Any:
        assert self.conn is not None  # noqa: S101
        row = self.conn.execute(query, values or None).fetchone()
        return row[0] if row else None

    def _who_locks(self) -> str:
        who = self._one(
            "SELECT string_agg(DISTINCT format('pid %s (%s, %s)', pid, usename, state), ', ')"
            " FROM pg_locks JOIN pg_stat_activity a USING (pid) WHERE granted AND locktype = 'relation'"
            " AND mode = 'AccessExclusiveLock' AND a.datname = current_database()"
        )
        return (
            f"the schema cannot be read, somebody locks a table for more than 30 s: {who}. Wait until that "
            "is done, or end it with: SELECT pg_terminate_backend(<pid>)"
        )

    def _who_holds(self, key: int, wait: float) -> str:
        who = self._one(
            "SELECT format('pid %%s, %%s@%%s, since %%s', a.pid, a.usename,"
            " coalesce(host(a.client_addr), 'local'), date_trunc('second', a.backend_start))"
            " FROM pg_locks l JOIN pg_stat_activity a USING (pid)"
            " WHERE l.locktype = 'advisory' AND l.classid = %s AND l.objid = %s AND l.granted",
            LOCK_CLASS,
            key,
        )
        return f"another run ({who}) has migrated this database for more than {wait:g} s: wait for it, then try again"


def pending_gate(state: State) -> Gate:
    """What is pending; a tool that can't tell is asked for nothing less than to run."""
    gate = {"name": "migrations pending", "limit": "any number"}
    if state.pending is None:
        detail = "there is no `info` command to ask, so `upgrade` runs in every release"
        return {**gate, "value": "unknown", "verdict": "inconclusive", "detail": detail}
    return {**gate, "value": len(state.pending), "verdict": "pass"}


def applied_gate(before: State, after: State) -> Gate:
    """What was applied: as many as were pending, or, where that was not known, what became of the schema."""
    gate = {"name": "migrations applied", "verdict": "pass"}
    if before.pending is not None:
        return {**gate, "value": len(before.pending), "limit": len(before.pending)}
    gate["limit"] = "`upgrade` ends with 0"
    if before.schema is None or after.schema is None:
        detail = "`upgrade` ended with 0; without `info` and a login nothing tells what it did"
        return {**gate, "value": "unknown", "verdict": "inconclusive", "detail": detail}
    changes = _changes(before, after)
    value = f"{len(changes)} changes of the schema" if changes else "ended with 0, schema as before"
    return {**gate, "value": value, "detail": "; ".join(changes)}


def invalid_gates(state: State) -> list[Gate]:
    """Whether there are INVALID indexes, and what removes them; empty when the schema is not known."""
    if state.schema is None:
        return []
    number, advice = len(pg_schema.invalid_indexes(state.schema)), " ".join(_advice(state))
    verdict = "fail" if number else "pass"
    return [{"name": "INVALID indexes", "value": number, "limit": 0, "verdict": verdict, "detail": advice}]


def _without_schema(state: dict[str, t.Any]) -> dict[str, t.Any]:
    return {k: v for k, v in state.items() if k != "schema"}


def _changes(before: State, after: State) -> list[str]:
    if before.schema is None or after.schema is None:
        return []
    return pg_schema.diff(before.schema, after.schema)


def _advice(state: State) -> list[str]:
    """Statements that clear up what is certainly no data."""
    invalid = pg_schema.invalid_indexes(state.schema or {})
    return [f"Remove with: DROP INDEX CONCURRENTLY {name};" for name in invalid]


def _revert_gate(left: list[str], lost: list[str], compared: bool) -> Gate:
    if left or lost:
        detail = "; ".join([*left, *(f"the contents of {name} are only in the backup" for name in lost)])
        value, verdict = f"{len(left) + len(lost)} differences", "fail"
    else:
        value, verdict = ("restored", "pass") if compared else ("revision as before", "inconclusive")
        detail = "" if compared else "without a login the schema was not compared"
    return {
        "name": "schema put back",
        "value": value,
        "limit": "as before",
        "verdict": verdict,
        "detail": detail,
    }
