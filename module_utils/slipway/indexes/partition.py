# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""Indexes of partitioned tables: built partition by partition without locks, then attached.

PostgreSQL refuses CREATE INDEX CONCURRENTLY on the parent. So the parent's index is made alone (it is INVALID
as long as a partition lacks its part, which is a legitimate state), each partition's index is built
concurrently, and the parent turns valid when the last one is attached. Interrupted work is continued: what
exists and fits is attached.
"""

from __future__ import annotations

from typing import Any

from ..postgres.sql import digest, fit_name, literal, qualified
from .build import Builder
from .catalog import Index, Table
from .probe import Probe, parse_path
from .spec import IndexSpec
from .watch import Budget, Stopped

_PARTITIONS = """
SELECT c.oid::bigint AS oid, n.nspname AS schema, c.relname AS name, c.relkind::text AS kind,
       pg_get_userbyid(c.relowner) AS owner, pg_has_role(c.relowner, 'USAGE') AS owned, NULL::text AS
         partition_key
FROM pg_inherits h JOIN pg_class c ON c.oid = h.inhrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE h.inhparent = %s::bigint::oid ORDER BY c.oid
"""


def build_partitioned(
    builder: Builder, spec: IndexSpec, name: str, table: Table, probe: Probe, budget: Budget
) -> Index:
    """Create or complete the index `name` of a partitioned table.

    Raises Stopped; what was built stays for next time.
    """
    session, label = builder.session, f"{spec.schema}.{name}"
    counted = [0, _leaves(builder, table)]
    parent = _level(builder, spec, name, table, probe, budget, counted, label)
    if not parent.valid:
        raise Stopped(f"{label} is still INVALID: a partition was added or detached meanwhile; run again")
    if parent.expressions:
        session.run(f"ANALYZE {qualified(table.schema, table.name)}", label, [table.oid], budget)
    return parent


def _level(
    builder: Builder,
    spec: IndexSpec,
    name: str,
    table: Table,
    probe: Probe,
    budget: Budget,
    counted: list[int],
    label: str,
) -> Index:
    """Make the index of one partitioned table and of everything below it."""
    session = builder.session
    if builder.find(table.oid, name) is None:
        sql = spec.create_sql(name, on=qualified(table.schema, table.name), concurrently=False, only=True)
        path = f"SELECT set_config('search_path', {literal(parse_path(spec.schema, builder.path))}, true)"
        session.briefly([path, sql], label, budget, [table.oid])
    parent = builder.find(table.oid, name)
    if parent is None:
        raise Stopped(f"{label} disappeared while it was being built")
    for child in session.watch.execute(_PARTITIONS, [table.oid]).fetchall():
        part = Table(**child)
        if part.kind == "f":
            raise Stopped(
                f"partition {part.schema}.{part.name} is a foreign table, which cannot have indexes"
            )
        if any(index.parent == parent.oid and index.valid for index in builder.indexes_of([part.oid])):
            counted[0] += part.kind != "p"
            continue
        _child(builder, spec, part, probe, budget, counted, label, parent)
    found = builder.find(table.oid, name)
    assert found is not None  # noqa: S101  # it is ours, and locked against other runs
    return found


def _child(
    builder: Builder,
    spec: IndexSpec,
    part: Table,
    probe: Probe,
    budget: Budget,
    counted: list[int],
    label: str,
    parent: Index,
) -> None:
    own = child_name(spec, part)
    session = builder.session
    with session.holding(part.oid, f"{part.schema}.{own}", budget):
        existing = _usable(builder, part, probe, own)
        if existing is not None and not existing.valid and part.kind != "p":
            # An earlier build may still be at work in the server: what it makes is what is wanted.
            session.wait_until_free(part.oid, f"{part.schema}.{own}", budget)
            existing = _usable(builder, part, probe, own)
        if existing is not None and existing.valid:
            index = existing
        elif part.kind == "p":
            index = _level(builder, spec, own, part, probe, budget, counted, label)
        else:
            if existing is not None:
                builder.drop(existing, budget)
            index = builder.build(spec, own, part, probe, budget)
        attach = (
            f"ALTER INDEX {qualified(parent.schema, parent.name)} ATTACH PARTITION "
            f"{qualified(index.schema, index.name)}"
        )
        session.briefly([attach], label, budget, [part.oid])
    counted[0] += part.kind != "p"
    session.emit(
        {
            "index": label,
            "phase": f"partition {part.schema}.{part.name} attached",
            "done": counted[0],
            "total": counted[1],
            "unit": "partitions",
            "percent": round(100.0 * counted[0] / max(counted[1], 1), 1),
        }
    )


def _usable(builder: Builder, part: Table, probe: Probe, own: str) -> Index | None:
    """Return an index of the partition that can serve: a valid one that fits, or our unfinished one."""
    indexes = builder.indexes_of([part.oid])
    for index in indexes:
        fits = probe.signature is not None and not probe.signature.differences(
            index.signature, tablespace=False
        )
        if index.valid and fits and index.parent is None and not index.constraint:
            return index
    return next((index for index in indexes if index.name == own), None)


def child_name(spec: IndexSpec, part: Table) -> str:
    """Return the name of a partition's index: readable, at most 63 bytes, and another one for another
    definition."""
    return fit_name(f"{spec.name}_{part.name}", f"_{digest(f'{spec.hash}{part.schema}.{part.name}')}")


def _leaves(builder: Builder, table: Table) -> int:
    row: Any = builder.session.watch.execute(
        "SELECT count(*) AS leaves FROM pg_partition_tree(%s::bigint::oid) WHERE isleaf", [table.oid]
    ).fetchone()
    return int(row["leaves"])
