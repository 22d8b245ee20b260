# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""Bring the indexes of a database to the declared state: survey, decide, build, and say what was found and
done."""

from __future__ import annotations

import difflib
import queue
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

from ..postgres.connect import Facts, Target, describe, psycopg
from ..postgres.sql import Refused, fit_name
from .blockers import occupant_text, occupied
from .build import Builder, Stopwatch
from .catalog import Index, Table, read_index_owners, read_indexes, read_tables, set_search_path
from .partition import build_partitioned
from .plan import Decision, Policy, Situation, decide
from .probe import LOCK_TIMEOUT, Probe, probe_all
from .spec import IndexSpec
from .watch import Budget, Options, Session, Stopped


@dataclass
class Entry:
    """One declared index on its way: what was found, what was decided, what came of it."""

    spec: IndexSpec
    now: Situation
    decision: Decision
    state: str = ""
    action: str = ""
    reason: str = ""
    failed: bool = False
    before: str | None = None
    after: Index | None = None
    cleaned: list[str] = field(default_factory=list)
    blockers: list[dict[str, Any]] = field(default_factory=list)
    duration: float = 0.0

    @property
    def open(self) -> bool:
        """True when there is something to do, or somebody else's build to wait for."""
        chosen = self.decision
        return not chosen.failed and (
            chosen.waits or chosen.action not in ("none", "reported") or bool(chosen.leftovers)
        )

    @property
    def changed(self) -> bool:
        """True when the database was (or, in check mode, would be) changed."""
        return self.action not in ("none", "reported", "skipped") or bool(self.cleaned)

    @property
    def target(self) -> str | None:
        """Definition after the run: the real one, or in check mode the statement that would make it."""
        if self.action in ("dropped",) or self.spec.state == "absent":
            return None
        if self.after is not None:
            return self.after.definition
        return self.spec.create_sql() if self.changed else self.before

    def result(self) -> dict[str, Any]:
        """Return the entry as the module returns it."""
        index = self.after or self.now.current
        return {
            "name": self.spec.name,
            "schema": self.spec.schema,
            "table": self.spec.table or (index.table if index else ""),
            "tier": self.spec.tier,
            "wanted": self.spec.state,
            "state": self.state,
            "action": self.action,
            "definition": index.definition if index and self.state != "absent" else None,
            "definition_before": self.before,
            "differences": self.decision.differences
            if self.state == "drifted" or self.action == "replaced"
            else [],
            "cleaned": self.cleaned,
            "size_bytes": index.size if index and self.state != "absent" else None,
            "duration_s": self.duration,
            "reason": self.reason,
        }


def survey(
    connection: Any,
    facts: Facts,
    path: str,
    specs: list[IndexSpec],
    policy: Policy,
    ours: list[int],
    declared: frozenset[str],
) -> list[Entry]:
    """Read what exists, ask PostgreSQL what is declared, and decide. Changes nothing."""
    names = [(spec.schema, spec.name) for spec in specs]
    wanted = [(spec.schema, spec.table) for spec in specs if spec.table]
    with connection.transaction():
        connection.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
        set_search_path(connection, "", local=True)
        tables = read_tables(connection, sorted(set(wanted)))
        relations = read_tables(connection, names)
        owners = read_index_owners(connection, names)
        oids = sorted({table.oid for table in tables.values()} | set(owners.values()))
        indexes = read_indexes(connection, facts.version, oids)
        busy = occupied(connection, oids, ours)
        near = _near(connection, [pair for pair in wanted if pair not in tables])
    current = {(index.schema, index.name): index for index in indexes}
    siblings: dict[int, list[Index]] = {}
    for index in indexes:
        siblings.setdefault(index.table_oid, []).append(index)
    probes = _probes(connection, facts, path, specs, tables)
    entries = []
    for spec in specs:
        table = tables.get((spec.schema, spec.table))
        key = (spec.schema, spec.name)
        there = current.get(key)
        on = table.oid if table else there.table_oid if there else 0
        occupant = busy.get(on)
        now = Situation(
            spec=replace(spec, kept_tablespace=there.tablespace) if there else spec,
            table=table,
            relation=relations.get(key),
            current=there,
            siblings=tuple(siblings.get(on, ())),
            probe=probes.get(spec.label),
            busy=occupant_text(occupant) if occupant else None,
            declared=declared,
            near=near.get((spec.schema, spec.table), ()),
        )
        entries.append(_entry(now, decide(now, policy)))
    _renames(entries)
    return entries


def _renames(entries: list[Entry]) -> None:
    """Let each index be renamed once, and not dropped when it is declared absent under its old name."""
    becomes: dict[int, Entry] = {}
    for entry in entries:
        twin = entry.decision.twin
        if twin is None:
            continue
        other = becomes.setdefault(twin.oid, entry)
        if other is not entry:
            entry.decision.twin, entry.decision.action, entry.action = None, "created", "created"
            entry.reason = entry.decision.reason = (
                f"{twin.label} has the same definition, but becomes {other.spec.label}"
            )
    for entry in entries:
        current = entry.now.current
        if entry.spec.state != "absent" or current is None or current.oid not in becomes:
            continue
        # A replica identity is not to be dropped, but may be renamed.
        if entry.decision.action == "dropped" or current.replica_identity:
            entry.decision.becomes = becomes[current.oid].spec.label
            entry.decision.action = entry.action = "none"
            entry.decision.failed = entry.failed = False
            entry.reason = f"it is renamed to {entry.decision.becomes}"


def _probes(
    connection: Any, facts: Facts, path: str, specs: list[IndexSpec], tables: dict[tuple[str, str], Table]
) -> dict[str, Probe]:
    present = [spec for spec in specs if spec.state == "present"]
    reason = facts.read_only
    if reason is None and not facts.can_temp:
        reason = (
            f"role {facts.user} may not create temporary tables: GRANT TEMPORARY ON DATABASE "
            f'"{facts.database}" TO "{facts.user}"'
        )
    if reason is not None:
        return {spec.label: Probe(unknown=reason) for spec in present}
    usable = {key: table for key, table in tables.items() if table.kind in "rmp" and table.owned}
    return {spec.label: Probe() for spec in present} | probe_all(
        connection, facts.version, path, present, usable
    )


def _near(connection: Any, missing: list[tuple[str, str]]) -> dict[tuple[str, str], tuple[str, ...]]:
    """Find tables of nearly the same name, for the message about those that do not exist."""
    if not missing:
        return {}
    rows = connection.execute(
        "SELECT n.nspname AS schema, c.relname AS name FROM pg_class c JOIN pg_namespace n ON n.oid = "
        "c.relnamespace "
        "WHERE c.relkind IN ('r', 'p', 'm') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'"
    ).fetchall()
    found = {}
    for schema, name in missing:
        same = [row for row in rows if row["name"].lower() == name.split(".")[-1].lower()]
        close = difflib.get_close_matches(name, [row["name"] for row in rows if row["schema"] == schema], 2)
        found[schema, name] = tuple(
            dict.fromkeys(
                [f"{row['schema']}.{row['name']}" for row in same] + [f"{schema}.{item}" for item in close]
            )
        )[:3]
    return found


def _entry(now: Situation, chosen: Decision) -> Entry:
    entry = Entry(now.spec, now, chosen, chosen.state, chosen.action, chosen.reason, chosen.failed)
    entry.before = now.current.definition if now.current else None
    entry.cleaned = [index.label for index in chosen.leftovers] if not chosen.failed else []
    return entry


def _by_table(entries: Iterable[Entry]) -> list[list[Entry]]:
    """Group entries by their table; only one may be worked on there at a time."""
    tables: dict[Any, list[Entry]] = {}
    for entry in entries:
        current = entry.now.current
        table = entry.now.table.oid if entry.now.table else current.table_oid if current else None
        tables.setdefault(table, []).append(entry)
    return list(tables.values())


def _drain(waiting: queue.SimpleQueue[list[Entry]]) -> Iterator[Entry]:
    """Yield the entries of the groups in `waiting`, which several workers empty together."""
    while True:
        try:
            group = waiting.get_nowait()
        except queue.Empty:
            return
        yield from group


class Run:
    """One run over a list of declared indexes. `emit` receives progress records."""

    def __init__(
        self,
        target: Target,
        policy: Policy,
        options: Options,
        emit: Callable[[dict[str, Any]], None],
        done: Callable[[Entry], None] = lambda _entry: None,
    ) -> None:
        self.target, self.policy, self.options, self.emit, self.done = target, policy, options, emit, done
        self.warnings: list[str] = []
        self.ours: list[int] = []
        self.declared: frozenset[str] = frozenset()
        self.facts: Facts
        self.path = ""

    def look(self, specs: list[IndexSpec], declared: Iterable[str] = ()) -> list[Entry]:
        """Return what is the case and what would be done.

        `declared`: names of indexes that belong to the declaration.
        """
        self.declared = frozenset(declared) | {spec.label for spec in specs if spec.state == "present"}
        connection = self.target.connect("look")
        try:
            self.facts = self.target.facts(connection)
            self.path = connection.execute("SELECT current_setting('search_path') AS path").fetchone()["path"]
            self.warnings += self.facts.warnings
            if not specs:
                return []
            entries = survey(connection, self.facts, self.path, specs, self.policy, self.ours, self.declared)
        except psycopg.Error as error:
            raise Refused(
                f"cannot read what there is: {describe(error)}. A table that somebody has locked (a "
                "migration, VACUUM FULL) is waited for only briefly: run again when that has ended"
            ) from error
        finally:
            connection.close()
        for entry in entries:
            if self.facts.read_only and entry.open:
                entry.decision.failed = entry.failed = True
                entry.action, entry.reason, entry.cleaned = "none", self.facts.read_only, []
        return entries

    def apply(self, entries: list[Entry]) -> None:
        """Do what look() decided.

        Each entry carries its own outcome; one failure does not keep others from being built.
        """
        jobs = [entry for entry in entries if entry.open]
        # A build with an expression or a predicate makes every other build wait until it has ended, so those
        # come later and one by one. Of the others only one at a time may work on a table. Nothing is dropped
        # before what may take its place has been built.
        drops = [entry for entry in jobs if entry.decision.action == "dropped"]
        builds = [entry for entry in jobs if entry.decision.action != "dropped"]
        special = [entry for entry in builds if not self._is_plain(entry)]
        plain = [entry for entry in builds if self._is_plain(entry)]
        for groups in (_by_table(plain), [special] if special else [], _by_table(drops)):
            waiting: queue.SimpleQueue[list[Entry]] = queue.SimpleQueue()
            for group in groups:
                waiting.put(group)
            workers = max(1, min(self.options.parallel, len(groups)))
            with ThreadPoolExecutor(workers) as pool:
                refusals = [error for error in pool.map(self._work, [waiting] * workers) if error]
            # One worker that could connect does it all; what is left was left by everybody.
            for entry in _drain(waiting):
                entry.failed, entry.action, entry.reason, entry.cleaned = True, "none", refusals[0], []
        adopted = {entry.spec.label for entry in entries if entry.action == "adopted" and not entry.failed}
        for entry in entries:
            becomes = entry.decision.becomes
            if becomes in adopted:
                entry.state = "absent"
            elif becomes:
                entry.failed, entry.reason = (
                    True,
                    f"kept, because {becomes} could not take it over: run again",
                )

    @staticmethod
    def _is_plain(entry: Entry) -> bool:
        probe = entry.now.probe
        builds = entry.decision.action in ("created", "rebuilt", "replaced") or entry.decision.waits
        return not builds or probe is None or probe.plain

    def _work(self, waiting: queue.SimpleQueue[list[Entry]]) -> str | None:
        """Work through groups of entries, with connections of our own; return why there are none."""
        try:
            session = Session(self.target, self.options, self.emit, self.ours)
        except (Refused, psycopg.Error) as error:
            return describe(error)
        builder = Builder(session, self.facts, self.path)
        try:
            for entry in _drain(waiting):
                self._one(builder, entry)
        finally:
            self.warnings += builder.warnings
            session.close()
        return None

    def _one(self, builder: Builder, entry: Entry) -> None:
        watch = Stopwatch()
        try:
            self._settle(builder, entry)
        except Stopped as stopped:
            self._fail(builder, entry, str(stopped), stopped.blockers)
        except (Refused, psycopg.Error) as error:
            self._fail(builder, entry, describe(error), [])
        except Exception as error:
            # A fault of ours in one entry must not take the results of all others with it.
            self._fail(builder, entry, f"unexpected {type(error).__name__}: {describe(error)}", [])
        entry.duration = watch.seconds
        try:
            self._tell(entry)
        except (Refused, OSError) as error:
            entry.failed, entry.reason = True, f"{entry.state}, {entry.action}, but not recorded: {error}"

    def _tell(self, entry: Entry) -> None:
        """Report and record what came of an entry."""
        outcome = f"failed: {entry.reason}" if entry.failed else f"{entry.state}, {entry.action}"
        self.emit({"index": entry.spec.label, "phase": "done", "message": outcome, "seconds": entry.duration})
        self.done(entry)

    def _again(self, builder: Builder, entry: Entry) -> None:
        """Look at one index again, now that nobody else works on its table."""
        connection = builder.session.work
        fresh = survey(
            connection, self.facts, self.path, [entry.spec], self.policy, self.ours, self.declared
        )[0]
        for name in ("now", "decision", "state", "action", "reason", "failed", "before", "cleaned"):
            setattr(entry, name, getattr(fresh, name))

    def _fail(self, builder: Builder, entry: Entry, reason: str, blockers: list[dict[str, Any]]) -> None:
        """Record a failure, with the state the index is really in now."""
        tried = entry.decision.action
        try:
            if builder.session.work.broken or builder.session.watch.broken:
                builder.session.reconnect()
            self._again(builder, entry)
        except Exception:
            # Whatever it is: the first failure is the one to tell.
            entry.state = "unknown"
        entry.failed, entry.action, entry.reason, entry.blockers, entry.cleaned = (
            True,
            "none",
            reason,
            blockers,
            [],
        )
        if entry.decision.state == "valid" and tried not in ("none", "dropped"):
            entry.reason += " (the index is valid all the same)"

    def _settle(self, builder: Builder, entry: Entry) -> None:
        budget = Budget(self.options.max_wait)
        known = entry.now.table or entry.now.relation
        table = (
            entry.now.table.oid
            if entry.now.table
            else entry.now.current.table_oid
            if entry.now.current
            else None
        )
        if table is None or known is None:
            return
        with builder.session.holding(table, entry.spec.label, budget):
            waited = entry.decision.waits
            if waited:
                builder.session.wait_until_free(table, entry.spec.label, budget)
            self._again(builder, entry)
            while entry.decision.waits:
                waited = True
                builder.session.wait_until_free(table, entry.spec.label, budget)
                self._again(builder, entry)
            if entry.decision.failed:
                return
            self._act(builder, entry, budget)
            if waited and entry.action == "none":
                entry.reason = "somebody else's build was under way: waited for it, and checked it"

    def _act(self, builder: Builder, entry: Entry, budget: Budget) -> None:
        spec, chosen, current = entry.spec, entry.decision, entry.now.current
        leftovers = list(chosen.leftovers)
        if chosen.action == "dropped" and current is not None:
            builder.drop(current, budget)
            entry.state, entry.after = "absent", None
        elif chosen.action == "adopted" and chosen.twin is not None:
            entry.before = chosen.twin.definition
            builder.adopt(chosen.twin, spec, budget)
        elif chosen.action == "rebuilt" and current is not None:
            if not current.partitioned:
                builder.drop(current, budget)
                self._build(builder, entry, spec.name, budget)
            elif entry.now.probe is not None and self._fits(entry.now.probe, current):
                self._build(builder, entry, spec.name, budget)
            else:
                builder.drop(current, budget)
                self._build(builder, entry, spec.name, budget)
        elif chosen.action == "created":
            self._build(builder, entry, spec.name, budget)
        elif chosen.action == "replaced" and current is not None:
            leftovers += self._replace(builder, entry, current, budget)
        cleaned = []
        for index in leftovers:
            try:
                builder.drop(index, Budget(min(self.options.max_wait, 60)))
                cleaned.append(index.label)
            except (Stopped, psycopg.Error) as error:
                builder.warnings.append(
                    f"{index.label} is left over and could not be dropped now: {describe(error)}; run again"
                )
        entry.cleaned = cleaned
        if entry.state != "absent":
            self._verify(builder, entry)

    @staticmethod
    def _fits(probe: Probe, index: Index) -> bool:
        return probe.signature is not None and not probe.signature.differences(
            index.signature, tablespace=False
        )

    def _build(self, builder: Builder, entry: Entry, name: str, budget: Budget) -> Index:
        table, probe = entry.now.table, entry.now.probe
        assert table is not None and probe is not None  # noqa: S101  # decide() acts on complete facts only
        if table.kind == "p":
            return build_partitioned(builder, entry.spec, name, table, probe, budget)
        return builder.build(entry.spec, name, table, probe, budget)

    def _replace(self, builder: Builder, entry: Entry, old: Index, budget: Budget) -> list[Index]:
        """Build the new index beside the old one, swap the names, and return the old one to be dropped."""
        spec, probe = entry.spec, entry.now.probe
        assert probe is not None  # noqa: S101
        name = fit_name(spec.name, f"__slip_{spec.hash}")
        found = builder.find(old.table_oid, name)
        ready = found is not None and found.valid and self._fits(probe, found)
        # An earlier run's work: go on with it when it is what is wanted now, else remove it first.
        stale = [
            index
            for index in entry.decision.leftovers
            if not (index.name == name and (ready or index.partitioned))
        ]
        for index in stale:
            builder.drop(index, budget)
        new = found if ready and found is not None else self._build(builder, entry, name, budget)
        aside = builder.swap(old, new, spec, budget)
        entry.decision.leftovers.clear()
        gone = builder.find(old.table_oid, aside)
        return [gone] if gone is not None else []

    def _verify(self, builder: Builder, entry: Entry) -> None:
        """See for ourselves that the index is there, valid and as declared; nothing else counts as done."""
        acted, cleaned, before = entry.action, entry.cleaned, entry.before
        differences, reason = entry.decision.differences, entry.reason
        self._again(builder, entry)
        entry.after = entry.now.current
        good = entry.state == "valid" or (
            entry.state == "unknown" and entry.now.probe is not None and bool(entry.now.probe.unknown)
        )
        if acted not in ("none", "reported") and not good:
            entry.failed, entry.reason = True, f"after the work it is {entry.state}: {entry.reason}"
        elif acted not in ("none", "reported"):
            entry.state, entry.reason, entry.failed = "valid", reason, False
        entry.action, entry.cleaned, entry.before = acted, cleaned, before
        entry.decision.differences = differences
