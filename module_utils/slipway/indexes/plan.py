# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""From what is declared and what exists to what has to be done.

No database here: facts in, a decision out.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ..postgres.sql import qualified
from .catalog import REINDEX_NAME, WORK_NAME, Index, Table
from .probe import Probe
from .spec import IndexSpec

TABLE_KINDS = {"r": "table", "m": "materialised view", "p": "partitioned table"}
OTHER_KINDS = {
    "v": "view",
    "f": "foreign table",
    "S": "sequence",
    "c": "type",
    "t": "TOAST table",
    "i": "index",
    "I": "index",
}
# The methods whose indexes have an order of rows.
_CLUSTERING = ("btree", "gist")


@dataclass(frozen=True)
class Policy:
    """What to do where there is a choice."""

    on_drift: str = "replace"
    on_invalid: str = "rebuild"
    adopt: bool = True
    # A plan: what does not exist yet is made by a migration that is pending.
    awaits_migration: bool = False


@dataclass(frozen=True)
class Situation:
    """All that is known about one declared index.

    `busy`: who is building on, or otherwise occupying, its table.
    """

    spec: IndexSpec
    table: Table | None
    relation: Table | None
    current: Index | None
    siblings: tuple[Index, ...] = ()
    probe: Probe | None = None
    busy: str | None = None
    declared: frozenset[str] = frozenset()
    near: tuple[str, ...] = ()


@dataclass
class Decision:
    """What is the case and what is to be done.

    `waits`: the state cannot be told before somebody else is ready. `becomes`: the declared index that takes
    this one over by renaming it, instead of its being dropped.
    """

    state: str
    action: str = "none"
    reason: str = ""
    failed: bool = False
    waits: bool = False
    becomes: str = ""
    differences: list[str] = field(default_factory=list)
    twin: Index | None = None
    leftovers: list[Index] = field(default_factory=list)


_BUILDS = ("created", "rebuilt", "replaced")


def decide(now: Situation, policy: Policy) -> Decision:
    """Return what to do about one declared index."""
    chosen = _decide(now, policy)
    obstacle = _partition_obstacle(now) if chosen.action in _BUILDS else None
    if obstacle:
        # What is there already is as good as before.
        return Decision(chosen.state, "none", obstacle, failed=True, differences=chosen.differences)
    return chosen


def _partition_obstacle(now: Situation) -> str | None:
    """Say which partition keeps the index of a partitioned table from being completed, or None."""
    if now.table is None or now.table.obstacle is None:
        return None
    name, kind, owner = now.table.obstacle
    where = f"partition {name} of {qualified(now.spec.schema, now.spec.table)}"
    if kind == "f":
        return (
            f"{where} is a foreign table, which cannot have indexes, so the whole could never be valid: "
            "declare the index on each of the other partitions, or detach this one"
        )
    return f"{where} belongs to role {owner}: {_become(owner)}"


def _decide(now: Situation, policy: Policy) -> Decision:
    spec = now.spec
    if spec.state == "absent":
        return _decide_absent(now)
    problem = _impossible(now)
    if problem and policy.awaits_migration and _absent(now):
        state, action = ("drifted", "replaced") if now.current else ("missing", "created")
        return Decision(state, action, f"{problem}: a pending migration is to make it")
    if problem:
        return Decision("unknown" if now.current else "missing", "none", problem, failed=True)
    assert now.probe is not None  # noqa: S101  # _impossible() has no table without a probe
    leftovers = find_leftovers(now)
    current = now.current
    if current is None:
        return _decide_missing(now, policy, leftovers)
    if not current.valid:
        return _decide_invalid(now, policy, leftovers)
    if now.probe.signature is None:
        return Decision("unknown", "none", f"cannot be compared: {now.probe.unknown}")
    differences = now.probe.signature.differences(current.signature, tablespace=bool(spec.tablespace))
    if not differences:
        return Decision("valid", "none", leftovers=[] if now.busy else leftovers)
    drifted = Decision(
        "drifted", "none", "; ".join(differences), differences=differences, leftovers=leftovers
    )
    if policy.on_drift == "report":
        drifted.action = "reported"
        return drifted
    if policy.on_drift == "fail":
        drifted.failed = True
        return drifted
    refusal = _replace_refusal(spec, current, now.probe)
    if refusal:
        drifted.failed, drifted.reason = True, f"{drifted.reason}. {refusal}"
        return drifted
    drifted.action = "replaced"
    return drifted


def _absent(now: Situation) -> bool:
    """Whether the table does not exist, or a column, type or function that the index names."""
    return now.table is None or bool(now.probe and now.probe.error and "does not exist" in now.probe.error)


def _impossible(now: Situation) -> str | None:
    """Say why the declaration cannot be carried out at all, or None."""
    spec, where = now.spec, qualified(now.spec.schema, now.spec.table)
    if now.table is None:
        hint = f"; did you mean {' or '.join(now.near)}?" if now.near else ""
        return f"table {where} does not exist{hint}"
    if now.table.kind not in TABLE_KINDS:
        return f"{where} is a {OTHER_KINDS.get(now.table.kind, 'relation')}, which cannot have indexes"
    if spec.schema in ("pg_catalog", "information_schema", "pg_toast"):
        return f"{where} belongs to PostgreSQL itself: no indexes are built there"
    if now.relation is not None and now.current is None:
        kind = {**OTHER_KINDS, **TABLE_KINDS}.get(now.relation.kind, "relation")
        return f"the name {spec.label} is taken by a {kind}: choose another name for the index"
    if now.current is not None and now.current.table_oid != now.table.oid:
        return f"the name {spec.label} is taken by an index on {now.current.table}: choose another name"
    if not now.table.owned:
        return f"{where} belongs to role {now.table.owner}: {_become(now.table.owner)}"
    if now.probe is not None and now.probe.error:
        return now.probe.error
    return None


def _become(owner: str) -> str:
    return f'connect as {owner}, use session_role: {owner}, or GRANT "{owner}" to this role'


def _decide_missing(now: Situation, policy: Policy, leftovers: list[Index]) -> Decision:
    twins = find_twins(now)
    for twin in twins:
        if twin.label in now.declared or twin.parent is not None:
            continue
        if twin.constraint or twin.foreign_keys:
            return Decision(
                "missing",
                "created",
                f"{twin.label} has the same definition, but belongs to a constraint",
                leftovers=leftovers,
            )
        if policy.adopt:
            return Decision(
                "missing",
                "adopted",
                f"{twin.label} has this definition: it is renamed",
                twin=twin,
                leftovers=leftovers,
            )
        return Decision(
            "missing", "created", f"{twin.label} has the same definition (adopt is off)", leftovers=leftovers
        )
    unknown = now.probe.unknown if now.probe else None
    reason = f"cannot be checked before it is built: {unknown}" if unknown else ""
    return Decision("missing", "created", reason, leftovers=leftovers)


def _decide_invalid(now: Situation, policy: Policy, leftovers: list[Index]) -> Decision:
    spec, current = now.spec, now.current
    assert current is not None  # noqa: S101
    if now.busy:
        return Decision("invalid", "none", f"not finished: {now.busy}", waits=True)
    cost = "every write still pays for it" if current.ready else "it costs nothing but its space"
    if current.ready and current.signature.unique:
        cost = "every write still pays for it, and it rejects duplicates"
    reason = f"INVALID, left by a build that did not finish ({cost})"
    if policy.on_invalid == "fail":
        return Decision("invalid", "none", reason, failed=True)
    if current.constraint or current.foreign_keys:
        what = current.constraint or current.foreign_keys[0]
        return Decision(
            "invalid",
            "none",
            f"{reason}; it backs constraint {what} and cannot be dropped: "
            f"REINDEX INDEX CONCURRENTLY {qualified(spec.schema, spec.name)}",
            failed=True,
        )
    if current.parent is not None:
        return Decision(
            "invalid",
            "none",
            f"{reason}; it is part of a partitioned index and cannot be dropped: "
            f"REINDEX INDEX CONCURRENTLY {qualified(spec.schema, spec.name)}",
            failed=True,
        )
    return Decision("invalid", "rebuilt", reason, leftovers=leftovers)


def _decide_absent(now: Situation) -> Decision:
    spec, current = now.spec, now.current
    # An interrupted replacement left them; a REINDEX that is at work has its own under way.
    leftovers = [] if now.busy else find_leftovers(now)
    if now.relation is None:
        return Decision("absent", "none", leftovers=leftovers)
    if current is None:
        kind = {**OTHER_KINDS, **TABLE_KINDS}.get(now.relation.kind, "relation")
        return Decision(
            "unknown", "none", f"{spec.label} is a {kind}, not an index: not dropped", failed=True
        )
    state = "valid" if current.valid else "invalid"
    if spec.table and current.table != spec.table:
        return Decision(
            state,
            "none",
            f"{spec.label} is an index on {current.table}, not on {spec.table}: not dropped",
            failed=True,
        )
    if current.constraint:
        return Decision(
            state,
            "none",
            f"it backs constraint {current.constraint}: ALTER TABLE "
            f"{qualified(current.schema, current.table)} "
            f'DROP CONSTRAINT "{current.constraint}"',
            failed=True,
        )
    if current.foreign_keys:
        return Decision(
            state, "none", f"foreign keys need it: {', '.join(current.foreign_keys)}", failed=True
        )
    if current.parent is not None:
        return Decision(state, "none", "it is part of a partitioned index: drop that one", failed=True)
    if now.relation is not None and not now.relation.owned:
        return Decision(
            state,
            "none",
            f"it belongs to role {now.relation.owner}: {_become(now.relation.owner)}",
            failed=True,
        )
    if current.replica_identity:
        table = qualified(current.schema, current.table)
        return Decision(
            state,
            "none",
            f"it is the replica identity of {table}, without which updates and deletes are not replicated: "
            f"ALTER TABLE {table} REPLICA IDENTITY DEFAULT (or USING INDEX another one) first",
            failed=True,
        )
    return Decision(state, "dropped", differences=["present"], leftovers=leftovers)


def _replace_refusal(spec: IndexSpec, current: Index, probe: Probe) -> str | None:
    """Say why `current` cannot be swapped for a new index, with the statements that would do it by hand."""
    table = qualified(spec.schema, spec.table)
    if current.constraint:
        kind = {"p": "PRIMARY KEY", "u": "UNIQUE"}.get(current.constraint_type or "")
        if kind is None:
            return f"It backs exclusion constraint {current.constraint}, which only ALTER TABLE can replace"
        return (
            f"It backs constraint {current.constraint}, so it is not replaced here. By hand: "
            f"{spec.create_sql(name=f'{spec.name[:50]}_new')}; BEGIN; ALTER TABLE {table} DROP CONSTRAINT "
            f'"{current.constraint}"; ALTER TABLE {table} ADD CONSTRAINT "{current.constraint}" {kind} '
            f"USING INDEX "
            f'"{spec.name[:50]}_new"; COMMIT'
        )
    if current.foreign_keys:
        return (
            f"Foreign keys need it ({', '.join(current.foreign_keys)}): drop and re-create those in the "
            f"same transaction"
        )
    if current.parent is not None:
        return "It is part of a partitioned index: declare the index of the partitioned table instead"
    if current.replica_identity and (not spec.unique or spec.where or probe.expressions or probe.nullable):
        return (
            f"It is the replica identity of {table}, which must be unique, not partial, and on columns that "
            f"are NOT NULL: ALTER TABLE {table} REPLICA IDENTITY first"
        )
    if current.clustered and (spec.where or spec.method not in _CLUSTERING):
        return (
            f"{table} is clustered on it, which a partial index and method {spec.method} cannot take over: "
            f"ALTER TABLE {table} SET WITHOUT CLUSTER first"
        )
    return None


def find_twins(now: Situation) -> list[Index]:
    """Return valid indexes of the same table that have the declared definition under another name."""
    probe = now.probe
    if probe is None or probe.signature is None:
        return []
    return [
        index
        for index in now.siblings
        if index.valid
        and index.label != now.spec.label
        and not WORK_NAME.match(index.name)
        and not probe.signature.differences(index.signature, tablespace=bool(now.spec.tablespace))
    ]


def find_leftovers(now: Situation) -> list[Index]:
    """Return what interrupted work on this index left on its table.

    Ours carry our own suffix. `_ccnew` and `_ccold` are what REINDEX CONCURRENTLY leaves: they are taken for
    leftovers only when they are INVALID and have this index's definition.
    """
    found = []
    for index in now.siblings:
        ours, reindex = WORK_NAME.match(index.name), REINDEX_NAME.match(index.name)
        if index.parent is not None or index.constraint:
            continue
        if ours and _base_matches(now.spec.name, ours.group("base")):
            found.append(index)
        elif reindex and not index.valid and _base_matches(now.spec.name, reindex.group("base")):
            reference = now.current.signature if now.current else now.probe and now.probe.signature
            if reference and not reference.differences(index.signature, tablespace=False):
                found.append(index)
    return found


def _base_matches(name: str, base: str) -> bool:
    """True when `base` is `name`, or `name` cut to leave room for a suffix."""
    return name == base or (name.startswith(base) and len(name.encode()) > 50 and len(base.encode()) >= 40)
