# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""Run one long statement while a second connection watches it: progress, who it waits for, and when to give
up."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from ..postgres.connect import Target, describe, psycopg
from ..postgres.sql import Refused
from .blockers import blocker_text, blockers, end, long_ones, occupant_text, occupied

# Advisory locks are (class, object): this class is ours ("slip"), the object is the table's OID.
LOCK_CLASS = 0x736C6970
_FIRST_LOOK, _LOOK_EVERY = 0.05, 1.0

_PROGRESS = """
SELECT p.phase, p.blocks_done, p.blocks_total, p.tuples_done, p.tuples_total, p.lockers_done, p.lockers_total,
       p.current_locker_pid, a.wait_event_type, pg_blocking_pids(a.pid) AS blocking
FROM pg_stat_activity a LEFT JOIN pg_stat_progress_create_index p ON p.pid = a.pid
WHERE a.pid = %s
"""


class Stopped(Exception):
    """Work on one index ended without success; `blockers` are those who stood in the way."""

    def __init__(self, message: str, blockers: list[dict[str, Any]] | None = None) -> None:
        super().__init__(message)
        self.blockers = blockers or []


@dataclass
class Options:
    """How to go about it. Times in seconds; `max_wait` is the total one index may wait for others."""

    long_transaction_after: float = 300
    on_long_transaction: str = "fail"
    max_wait: float = 600
    concurrently: bool = True
    retries: int = 1
    parallel: int = 2


@dataclass
class Budget:
    """Time that may still be spent waiting."""

    left: float
    total: float = field(init=False)

    def __post_init__(self) -> None:
        self.total = self.left

    @property
    def spent(self) -> bool:
        """True when no more waiting is allowed."""
        return self.left <= 0


def measure(row: dict[str, Any]) -> tuple[int, int, str] | None:
    """Return (done, total, unit) of a row of pg_stat_progress_create_index, or None when it counts nothing
    now."""
    phase = row["phase"] or ""
    units = ("lockers",) if phase.startswith("waiting") else ("blocks", "tuples")
    for unit in units:
        done, total = row[f"{unit}_done"], row[f"{unit}_total"]
        # PostgreSQL counts the whole table as done while it is in the first block it reads.
        if total and not (done == total and phase.endswith("scanning table")):
            return min(done, total), total, unit
    return None


class Session:
    """Two connections: one that works and one that watches, and the rules both follow.

    `emit` receives progress records (dicts); `ours` collects the pids of all sessions of this run.
    """

    def __init__(
        self, target: Target, options: Options, emit: Callable[[dict[str, Any]], None], ours: list[int]
    ) -> None:
        self.target, self.options, self.emit, self.ours = target, options, emit, ours
        self.notices: list[str] = []
        self.work: Any = None
        self.watch: Any = None
        self._mine: list[int] = []
        self.connect()

    def connect(self) -> None:
        """Open both connections."""
        self.work = self.target.connect("build")
        # A session belongs to the role that logged in: only that one is shown its progress.
        self.watch = self.target.connect("watch", as_role=False)
        self.work.add_notice_handler(self._notice)
        query = "SELECT pg_backend_pid() AS pid"
        self.pid, watcher = (c.execute(query).fetchone()["pid"] for c in (self.work, self.watch))
        self._mine = [self.pid, watcher]
        self.ours += self._mine

    def reconnect(self, patience: float = 60) -> None:
        """Open both connections again after one was lost; a server that restarts gets `patience` seconds."""
        self.close()
        # The lost session may go on building. It is somebody else's now: to be waited for.
        for pid in self._mine:
            self.ours.remove(pid)
        self._mine = []
        deadline = time.monotonic() + patience
        while True:
            try:
                self.connect()
                return
            except Refused:
                if time.monotonic() > deadline:
                    raise
                time.sleep(1)

    def close(self) -> None:
        """Close both connections."""
        for connection in (self.work, self.watch):
            if connection is not None:
                with contextlib.suppress(psycopg.Error):
                    connection.close()

    def _notice(self, diagnostic: Any) -> None:
        self.notices.append(diagnostic.message_primary or "")

    # -- one at a time --

    @contextlib.contextmanager
    def holding(self, table: int, label: str, budget: Budget) -> Iterator[None]:
        """Hold this table against other runs of slipway.

        Two concurrent builds on one table would deadlock, and so would waiting inside the server (a waiter's
        snapshot holds up the build it waits for): so ask, and ask again.
        """
        key = [LOCK_CLASS, table - (1 << 32) if table >= 1 << 31 else table]
        last = None
        while True:
            row = self.work.execute("SELECT pg_try_advisory_lock(%s::int, %s::int) AS mine", key).fetchone()
            if row["mine"]:
                break
            last = self._wait_turn(table, label, budget, last, "another run of slipway works on this table")
        try:
            yield
        finally:
            with contextlib.suppress(psycopg.Error):
                self.work.execute("SELECT pg_advisory_unlock(%s::int, %s::int)", key)

    def wait_until_free(self, table: int, label: str, budget: Budget) -> None:
        """Wait while somebody else builds on, reindexes or vacuums the table.

        Raises Stopped at the end of the budget.
        """
        last = None
        while occupied(self.watch, [table], self.ours):
            last = self._wait_turn(table, label, budget, last, "somebody else occupies this table")

    def _wait_turn(self, table: int, label: str, budget: Budget, last: Any, why: str) -> Any:
        """Sleep once. A build that makes progress does not use up the budget: it is worth waiting for."""
        holder = occupied(self.watch, [table], self.ours).get(table)
        if holder:
            why = occupant_text(holder)
        now = (holder["phase"], measure(holder)) if holder and holder["phase"] else None
        moving = now is not None and now != last and not str(now[0]).startswith("waiting")
        self._report(label, holder or {}, f"waiting: {why}")
        if not moving:
            budget.left -= _LOOK_EVERY
            if budget.spent:
                raise Stopped(
                    f"waited {budget.total:.0f} s for the table: {why}. Run again when that has ended, or "
                    f"raise max_wait",
                    blockers(self.watch, [table], self.ours, label),
                )
        time.sleep(_LOOK_EVERY)
        return now

    # -- who stands in the way --

    def clear_the_way(self, tables: list[int], label: str, budget: Budget, drop: bool = False) -> None:
        """Deal with long transactions that would hold up the work, as on_long_transaction says.

        Raises Stopped naming them when the policy is to fail, or when waiting did not help.
        """
        while True:
            found = blockers(self.watch, tables, self.ours, label, drop)
            long = long_ones(found, self.options.long_transaction_after)
            if not long:
                return
            named = "; ".join(blocker_text(item) for item in long)
            if self.options.on_long_transaction == "fail":
                raise Stopped(
                    f"{'dropping' if drop else 'building'} it would wait for {len(long)} long "
                    f"transaction(s): {named}",
                    long,
                )
            if self.options.on_long_transaction == "cancel":
                for item in long:
                    end(self.watch, item)
            self.emit({"index": label, "phase": "waiting for long transactions", "blocker": named})
            budget.left -= _LOOK_EVERY
            if budget.spent:
                raise Stopped(f"waited {budget.total:.0f} s for long transactions to end: {named}", long)
            time.sleep(_LOOK_EVERY)

    # -- the statement --

    def run(self, sql: str, label: str, tables: list[int], budget: Budget, drop: bool = False) -> None:
        """Execute one statement, report progress, and cancel it when its waiting exceeds the budget.

        lock_timeout would also end the waits for old snapshots and leave an INVALID index without saying for
        whom it waited; so the clock is ours. Raises Stopped when it ran out, psycopg.Error when the statement
        failed.
        """
        failure: list[BaseException] = []
        work = self.work

        def execute() -> None:
            try:
                work.execute(sql, binary=True)
            except BaseException as error:
                failure.append(error)

        thread = threading.Thread(target=execute, daemon=True)
        thread.start()
        stopped = None
        pause, seen = _FIRST_LOOK, time.monotonic()
        thread.join(pause)
        while thread.is_alive():
            # A watcher that fails (a restart, a missing privilege) must not leave the statement alone.
            with contextlib.suppress(psycopg.Error):
                waiting = self._look(label, tables, drop)
                now = time.monotonic()
                if waiting:
                    budget.left -= now - seen
                seen = now
                if waiting and budget.spent and stopped is None:
                    stopped = self._give_up(label, tables, budget, drop)
            pause = min(pause * 1.5, _LOOK_EVERY)
            thread.join(pause)
        if failure:
            if stopped is not None and getattr(failure[0], "sqlstate", None) == "57014":
                raise stopped
            raise failure[0]

    def _look(self, label: str, tables: list[int], drop: bool) -> bool:
        """Report how far the statement is; return whether it is waiting for somebody."""
        row = self.watch.execute(_PROGRESS, [self.pid]).fetchone()
        if row is None:
            return False
        waiting = (row["phase"] or "").startswith("waiting") or row["wait_event_type"] == "Lock"
        blocker = None
        if waiting:
            found = blockers(self.watch, tables, self.ours, label, drop)
            if self.options.on_long_transaction == "cancel":
                for item in long_ones(found, self.options.long_transaction_after):
                    end(self.watch, item)
            pids = [row["current_locker_pid"], *row["blocking"]]
            blocker = next((blocker_text(item) for item in found if item["pid"] in pids), None)
        self._report(label, row, row["phase"] or ("waiting for a lock" if waiting else "working"), blocker)
        return waiting

    def _report(self, label: str, row: dict[str, Any], phase: str, blocker: str | None = None) -> None:
        record: dict[str, Any] = {"index": label, "phase": phase}
        counted = measure(row) if row.get("phase") else None
        if counted:
            done, total, unit = counted
            record.update(done=done, total=total, unit=unit, percent=round(100.0 * done / total, 1))
        if blocker:
            record["blocker"] = blocker
        self.emit(record)

    def _give_up(self, label: str, tables: list[int], budget: Budget, drop: bool) -> Stopped:
        found = blockers(self.watch, tables, self.ours, label, drop)
        self.work.cancel()
        named = "; ".join(blocker_text(item) for item in found) or "no longer visible"
        return Stopped(
            f"gave up after waiting {budget.total:.0f} s (max_wait) for: {named}. End it or raise "
            f"max_wait, then run again",
            found,
        )

    # -- short locks --

    def briefly(
        self, statements: list[str], label: str, budget: Budget, tables: list[int] | None = None
    ) -> None:
        """Execute statements in one transaction that needs a strong lock for a moment.

        Whoever queues for such a lock makes everybody behind it wait, so it is asked for one second at a
        time.
        """
        while True:
            try:
                with self.work.transaction():
                    self.work.execute("SET LOCAL lock_timeout = '1s'")
                    for statement in statements:
                        self.work.execute(statement, binary=True)
                return
            except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected) as error:
                budget.left -= 2
                if budget.spent:
                    found = blockers(self.watch, tables or [], self.ours, label, drop=True)
                    named = "; ".join(blocker_text(item) for item in found) or describe(error)
                    raise Stopped(
                        f"no lock within {budget.total:.0f} s (max_wait): {named}", found
                    ) from error
                self.emit({"index": label, "phase": "waiting for a short lock"})
                time.sleep(1)
