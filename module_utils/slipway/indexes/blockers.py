# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""Who stands in the way of building or dropping an index without a lock, and who does not.

CREATE INDEX CONCURRENTLY waits for transactions that wrote the table and for snapshots taken before it in the
same database (pg_dump, REPEATABLE READ, an open cursor). It does not wait for a session that is merely idle
in a transaction elsewhere, nor for VACUUM, nor for another build without expression or predicate. DROP INDEX
CONCURRENTLY waits for whoever holds any lock on the table.

Somebody else's build or VACUUM is no long transaction, however old: it is work that ends, and ending it would
leave an INVALID index. It is waited for (`occupies`).
"""

from __future__ import annotations

from typing import Any

from ..postgres.sql import raw_text

QUERY_CHARACTERS = 120
# The lock of CREATE INDEX CONCURRENTLY, REINDEX CONCURRENTLY, VACUUM and ANALYZE.
_OCCUPIES = "ShareUpdateExclusiveLock"

_ACTIVITY = """
       a.usename AS "user", a.application_name AS application, a.state, a.backend_type,
       extract(epoch FROM clock_timestamp() - a.xact_start)::float8 AS age_s,
       {query} AS query,
       EXISTS (SELECT FROM pg_stat_progress_create_index w WHERE w.pid = a.pid)
         OR EXISTS (SELECT FROM pg_stat_progress_vacuum w WHERE w.pid = a.pid) AS occupies
"""

# Modes that conflict with SHARE, the lock a build waits for; a drop waits for any.
_LOCKS = """
SELECT l.pid, l.mode, p.gid, p.owner AS prepared_by, extract(epoch FROM clock_timestamp() -
  p.prepared)::float8 AS prepared_s,
       {activity}
FROM pg_locks l
LEFT JOIN pg_stat_activity a ON a.pid = l.pid
LEFT JOIN pg_locks x ON l.pid IS NULL AND x.pid IS NULL AND x.locktype = 'transactionid'
                     AND x.virtualtransaction = l.virtualtransaction
LEFT JOIN pg_prepared_xacts p ON p.transaction = x.transactionid
WHERE l.locktype = 'relation' AND l.granted
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND l.relation = ANY(%(tables)s::bigint[]::oid[])
  AND (l.pid IS NULL OR l.pid <> ALL(%(ours)s::int[]))
  AND (%(drop)s OR l.mode NOT IN ('AccessShareLock', 'RowShareLock', 'ShareLock'))
"""

_SNAPSHOTS = """
SELECT a.pid, {activity}
FROM pg_stat_activity a
LEFT JOIN pg_stat_progress_create_index b ON b.pid = a.pid
LEFT JOIN pg_index i ON i.indexrelid = b.index_relid
WHERE a.datname = current_database() AND a.backend_xmin IS NOT NULL
  AND a.pid <> ALL(%(ours)s::int[])
  AND coalesce(a.backend_type, 'client backend') IN ('client backend', 'background worker')
  AND NOT EXISTS (SELECT 1 FROM pg_stat_progress_vacuum v WHERE v.pid = a.pid)
  AND (b.pid IS NULL OR i.indexprs IS NOT NULL OR i.indpred IS NOT NULL)
"""

# Held for a whole concurrent build (or VACUUM, ANALYZE, REINDEX) across its transactions, and visible to
# everyone.
_OCCUPIED = """
SELECT l.relation::bigint AS table_oid, l.pid, a.usename AS "user", a.application_name AS application,
       a.usesysid IS NULL AS background, b.phase, b.command, b.index_relid::bigint AS index_oid,
       b.blocks_done, b.blocks_total, b.tuples_done, b.tuples_total, b.lockers_done, b.lockers_total,
       b.current_locker_pid
FROM pg_locks l
LEFT JOIN pg_stat_activity a ON a.pid = l.pid
LEFT JOIN pg_stat_progress_create_index b ON b.pid = l.pid
WHERE l.locktype = 'relation' AND l.granted AND l.mode = 'ShareUpdateExclusiveLock'
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND l.relation = ANY(%s::bigint[]::oid[]) AND l.pid <> ALL(%s::int[])
ORDER BY b.pid IS NULL, l.pid
"""


def _with_activity(query: str) -> str:
    start = raw_text(f"left(regexp_replace(a.query, '\\s+', ' ', 'g'), {QUERY_CHARACTERS})")
    return query.format(activity=_ACTIVITY.format(query=start))


def blockers(
    connection: Any, tables: list[int], ours: list[int], what: str, drop: bool = False
) -> list[dict[str, Any]]:
    """Return the transactions that would hold up a build on (or a drop of an index of) `tables`, oldest
    first.

    Each is {pid, user, application, age_s (None when not visible), state, query, reason, blocks, gid,
    occupies (it builds an index or vacuums)}.
    """
    named = {"tables": tables, "ours": ours, "drop": drop}
    found: dict[Any, dict[str, Any]] = {}
    for row in connection.execute(_with_activity(_LOCKS), named).fetchall():
        if row["backend_type"] == "autovacuum worker":
            continue
        key = row["pid"] or row["gid"]
        works = row["state"] == "active" and row["mode"] == _OCCUPIES
        if key in found:
            found[key]["occupies"] |= works
            continue
        found[key] = _blocker(row, f"holds {row['mode']} on the table", what)
        found[key]["occupies"] |= works
        if row["gid"]:
            found[key].update(
                gid=row["gid"],
                user=row["prepared_by"],
                age_s=row["prepared_s"],
                state="prepared",
                query=f"PREPARE TRANSACTION '{row['gid']}'",
            )
    if not drop:
        for row in connection.execute(_with_activity(_SNAPSHOTS), named).fetchall():
            found.setdefault(row["pid"], _blocker(row, "holds a snapshot in this database", what))
    return sorted(found.values(), key=lambda item: -(item["age_s"] or 0))


def _blocker(row: dict[str, Any], reason: str, what: str) -> dict[str, Any]:
    age = row["age_s"]
    return {
        "pid": row["pid"],
        "user": row["user"],
        "application": row["application"] or "",
        "age_s": None if age is None else round(age, 1),
        "state": row["state"],
        "query": (row["query"] or b"").decode(errors="replace").strip(),
        "reason": reason,
        "blocks": what,
        "gid": None,
        "occupies": bool(row["occupies"]),
    }


def occupied(connection: Any, tables: list[int], ours: list[int]) -> dict[int, dict[str, Any]]:
    """Return who is building on, or otherwise occupying, each of `tables` (by OID).

    Autovacuum yields: left out.
    """
    rows = connection.execute(_OCCUPIED, [tables, ours]).fetchall()
    found: dict[int, dict[str, Any]] = {}
    for row in rows:
        if not row["background"]:
            found.setdefault(row["table_oid"], row)
    return found


def occupant_text(row: dict[str, Any]) -> str:
    """Describe an entry of occupied() in a few words."""
    doing = f"{row['command']}: {row['phase']}" if row["phase"] else "builds an index or vacuums"
    application = f" ({row['application']})" if row["application"] else ""
    return f"pid {row['pid']} of {row['user'] or 'another role'}{application} {doing}"


def blocker_text(item: dict[str, Any]) -> str:
    """Describe a blocker in one line, with the statement that ends it."""
    age = "age not visible" if item["age_s"] is None else f"open for {_duration(item['age_s'])}"
    if item["gid"]:
        who, cure = (
            f"prepared transaction '{item['gid']}' of {item['user']}",
            f"ROLLBACK PREPARED '{item['gid']}'",
        )
    else:
        who = f"pid {item['pid']} of {item['user'] or 'another role'}"
        cure = f"SELECT pg_terminate_backend({item['pid']})"
    application = f" ({item['application']})" if item["application"] else ""
    query = f": {item['query']}" if item["query"] else ""
    if item["occupies"]:
        return (
            f"{who}{application}, {age}, {item['reason']}{query} [it builds an index or vacuums: let it end]"
        )
    return f"{who}{application}, {age}, {item['reason']}{query} [to end it: {cure}]"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def long_ones(found: list[dict[str, Any]], after: float) -> list[dict[str, Any]]:
    """Return those open for at least `after` seconds.

    An age that is not visible does not count as long, nor does somebody's build or VACUUM at work.
    """
    return [
        item
        for item in found
        if not item["occupies"] and item["age_s"] is not None and item["age_s"] >= after
    ]


def end(connection: Any, item: dict[str, Any]) -> None:
    """End a blocker: cancel what runs; a session that only sits in its transaction has to be disconnected."""
    if item["pid"] is None:
        return
    if item["state"] == "active":
        connection.execute("SELECT pg_cancel_backend(%s)", [item["pid"]])
    else:
        connection.execute("SELECT pg_terminate_backend(%s)", [item["pid"]])
