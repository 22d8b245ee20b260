# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""What the indexes of a database are worth: validity, size, use, overlap, what is missing, what they cost."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from typing import Any

from ..postgres.sql import Refused
from .catalog import REINDEX_NAME, WORK_NAME, Index, read_indexes, set_search_path
from .probe import LOCK_TIMEOUT
from .spec import IndexSpec

# A partitioned index is never read itself: its use and its size are those of its leaves together.
_LEAVES = """
  SELECT i.indexrelid AS leaf WHERE c.relkind <> 'I'
  UNION ALL SELECT p.relid FROM pg_partition_tree(i.indexrelid) p WHERE c.relkind = 'I' AND p.isleaf
"""

# REINDEX CONCURRENTLY has several indexes of the table and its TOAST table under way; progress names one.
_BUILDING = """
EXISTS (SELECT FROM pg_stat_progress_create_index b WHERE b.datname = current_database() AND (
          b.index_relid = i.indexrelid OR (b.command LIKE 'REINDEX%%' AND b.relid IN (
            i.indrelid, (SELECT m.reltoastrelid FROM pg_class m WHERE m.oid = i.indrelid)))
          OR (c.relkind = 'I' AND b.relid IN (SELECT relid FROM pg_partition_tree(i.indrelid)))))
"""

_SCOPE = """
SELECT i.indexrelid::bigint AS oid, u.*, {building} AS building, h.parent_name AS part_of
FROM pg_index i
JOIN pg_class c ON c.oid = i.indexrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
CROSS JOIN LATERAL (
  SELECT sum(pg_stat_get_numscans(leaf))::bigint AS scans, {last} AS last_scan,
         sum(pg_stat_get_tuples_returned(leaf))::bigint AS tuples_read,
         sum(pg_stat_get_blocks_hit(leaf))::bigint AS hit,
         sum(pg_stat_get_blocks_fetched(leaf) - pg_stat_get_blocks_hit(leaf))::bigint AS read,
         coalesce(sum(pg_relation_size(leaf)), 0)::bigint AS size
  FROM ({leaves}) l
) u
LEFT JOIN LATERAL (
  SELECT hn.nspname || '.' || hc.relname AS parent_name
  FROM pg_inherits hi JOIN pg_class hc ON hc.oid = hi.inhparent JOIN pg_namespace hn ON hn.oid = hc.relnamespace
  WHERE hi.inhrelid = i.indexrelid
) h ON true
WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
  AND (%(schemas)s::text[] IS NULL OR n.nspname = ANY(%(schemas)s::text[]))
"""

_TABLES = """
SELECT c.oid::bigint AS oid, n.nspname AS schema, c.relname AS name, pg_table_size(c.oid) AS size_bytes,
       greatest(c.reltuples, 0)::bigint AS rows, s.seq_scan AS seq_scans, s.idx_scan AS index_scans,
       s.n_tup_ins + s.n_tup_upd + s.n_tup_del AS writes, s.n_tup_upd AS updates, s.n_tup_hot_upd AS
         hot_updates,
       o.heap_blks_hit AS heap_hit, o.heap_blks_read AS heap_read, o.idx_blks_hit AS index_hit,
         o.idx_blks_read AS index_read
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_stat_all_tables s ON s.relid = c.oid
LEFT JOIN pg_statio_all_tables o ON o.relid = c.oid
WHERE c.relkind IN ('r', 'm') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
  AND (%(schemas)s::text[] IS NULL OR n.nspname = ANY(%(schemas)s::text[]))
"""

# An index serves a foreign key when its first columns are the key's, in any order, and it leaves out no row
# with one.
_SERVES = """
    FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid JOIN pg_am m ON m.oid = x.relam
    WHERE i.indrelid = k.conrelid AND i.indisvalid AND i.indnkeyatts >= cardinality(k.conkey)
      AND (m.amname = 'btree' OR (m.amname = 'hash' AND cardinality(k.conkey) = 1))
      AND (i.indkey::int2[])[0:cardinality(k.conkey) - 1] @> k.conkey
      AND (i.indpred IS NULL OR pg_get_expr(i.indpred, i.indrelid) = ANY(
            SELECT format('(%%I IS NOT NULL)', a.attname) FROM pg_attribute a
            WHERE a.attrelid = k.conrelid AND a.attnum = ANY(k.conkey)))
"""

_FOREIGN_KEYS = """
SELECT n.nspname AS schema, c.relname AS table_name, k.conname AS name, k.confrelid::regclass::text AS
  referenced,
       ARRAY(SELECT a.attname::text FROM unnest(k.conkey) WITH ORDINALITY u(num, pos)
             JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.num ORDER BY u.pos) AS columns,
       pg_table_size(c.oid) AS size_bytes
FROM pg_constraint k
JOIN pg_class c ON c.oid = k.conrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE k.contype = 'f' AND k.conparentid = 0
  AND (%(schemas)s::text[] IS NULL OR n.nspname = ANY(%(schemas)s::text[]))
  AND NOT EXISTS (SELECT {serves})
ORDER BY 1, 2, 3
"""

_SERVING = """
SELECT DISTINCT s.oid FROM pg_constraint k CROSS JOIN LATERAL (SELECT i.indexrelid::bigint AS oid {serves}) s
WHERE k.contype = 'f'
"""

_SERVER = """
SELECT extract(epoch FROM now() - d.stats_reset)::float8 AS reset_s,
       extract(epoch FROM now() - pg_postmaster_start_time())::float8 AS up_s,
       d.blks_hit, d.blks_read
FROM pg_stat_database d WHERE d.datname = current_database()
"""

_TOAST = """
SELECT i.indexrelid::regclass::text AS name, pg_relation_size(i.indexrelid) AS size_bytes
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = 'pg_toast' AND NOT i.indisvalid
  AND NOT EXISTS (SELECT FROM pg_stat_progress_create_index b WHERE b.datname = current_database()
                  AND b.command LIKE 'REINDEX%' AND b.relid IN (
                    i.indrelid, (SELECT m.oid FROM pg_class m WHERE m.reltoastrelid = i.indrelid)))
"""


def percent(part: float | None, whole: float | None) -> float | None:
    """Return part of whole in percent with two digits, None when there is nothing to divide by."""
    return round(100.0 * (part or 0) / whole, 2) if whole else None


def read(connection: Any, version: int, schemas: list[str] | None) -> dict[str, Any]:
    """Read everything the audit needs in one consistent look. `schemas` None means all but the system's."""
    wanted = {"schemas": schemas}
    with connection.transaction():
        connection.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
        set_search_path(connection, "", local=True)
        last = "max(pg_stat_get_lastscan(leaf))" if version >= 160000 else "NULL::timestamptz"
        scope = _SCOPE.format(last=last, leaves=_LEAVES, building=_BUILDING)
        serving = connection.execute(_SERVING.format(serves=_SERVES), wanted).fetchall()
        numbers = {row["oid"]: row for row in connection.execute(scope, wanted).fetchall()}
        return {
            "numbers": numbers,
            "serving": {row["oid"] for row in serving},
            "indexes": read_indexes(connection, version, indexes=list(numbers)),
            "tables": {row["oid"]: row for row in connection.execute(_TABLES, wanted).fetchall()},
            "foreign_keys": connection.execute(_FOREIGN_KEYS.format(serves=_SERVES), wanted).fetchall(),
            "server": connection.execute(_SERVER).fetchone(),
            "toast": connection.execute(_TOAST).fetchall(),
        }


def read_scans(connection: Any) -> dict[tuple[str, str], int]:
    """Return how often each index was scanned on this server (a replica counts its own)."""
    rows = connection.execute(
        f"""
        SELECT n.nspname AS schema, c.relname AS name,
               (SELECT sum(pg_stat_get_numscans(leaf)) FROM ({_LEAVES}) l)::bigint AS scans
        FROM pg_index i
        JOIN pg_class c ON c.oid = i.indexrelid
        JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
        """
    ).fetchall()
    return {(row["schema"], row["name"]): row["scans"] or 0 for row in rows}


def stats_age(server: dict[str, Any]) -> float:
    """Return for how many seconds, at least, use has been counted: since the reset, else the start."""
    return float(server["reset_s"] if server["reset_s"] is not None else server["up_s"])


def usage(scans: int, low: int) -> str:
    """Return ACTIVE, LOW (fewer than `low` scans) or UNUSED."""
    return "UNUSED" if scans == 0 else "LOW" if scans < low else "ACTIVE"


def describe_indexes(
    data: dict[str, Any], replicas: list[dict[tuple[str, str], int]], low: int, min_age_s: float
) -> list[dict[str, Any]]:
    """Return one entry for each index.

    `usage_conclusive`: use has been counted for at least `min_age_s` seconds.
    """
    age = stats_age(data["server"])
    found = []
    for index in data["indexes"]:
        numbers, table = data["numbers"][index.oid], data["tables"].get(index.table_oid)
        scans = (numbers["scans"] or 0) + sum(scans.get((index.schema, index.name), 0) for scans in replicas)
        last, building = numbers["last_scan"], not index.valid and numbers["building"]
        found.append(
            {
                "schema": index.schema,
                "name": index.name,
                "table": index.table,
                "valid": index.valid,
                "ready": index.ready,
                "building": building,
                "leftover": not (index.valid or building)
                and bool(WORK_NAME.match(index.name) or REINDEX_NAME.match(index.name)),
                "method": index.signature.method,
                "unique": index.signature.unique,
                "constraint": index.constraint,
                "serves_foreign_key": index.oid in data["serving"],
                "partitioned": index.partitioned,
                "part_of": numbers["part_of"],
                "definition": index.definition,
                "size_bytes": numbers["size"],
                "table_share_pct": percent(index.size, table["size_bytes"]) if table else None,
                "scans": scans,
                "last_scan": last.isoformat() if last else None,
                "tuples_read": numbers["tuples_read"] or 0,
                "usage": usage(scans, low),
                "usage_conclusive": age >= min_age_s,
                "cache_hit_pct": percent(numbers["hit"], (numbers["hit"] or 0) + (numbers["read"] or 0)),
            }
        )
    return found


def describe_tables(data: dict[str, Any]) -> list[dict[str, Any]]:
    """Return one entry for each table: write load, share of HOT updates, cache hits, its indexes."""
    count: dict[int, int] = {}
    size: dict[int, int] = {}
    for index in data["indexes"]:
        count[index.table_oid] = count.get(index.table_oid, 0) + 1
        size[index.table_oid] = size.get(index.table_oid, 0) + index.size
    return [
        {
            "schema": row["schema"],
            "name": row["name"],
            "rows": row["rows"],
            "size_bytes": row["size_bytes"],
            "indexes": count.get(oid, 0),
            "indexes_size_bytes": size.get(oid, 0),
            "writes": row["writes"] or 0,
            "updates": row["updates"] or 0,
            "seq_scans": row["seq_scans"] or 0,
            "index_scans": row["index_scans"] or 0,
            "hot_update_pct": percent(row["hot_updates"], row["updates"]),
            "heap_cache_hit_pct": percent(row["heap_hit"], (row["heap_hit"] or 0) + (row["heap_read"] or 0)),
            "index_cache_hit_pct": percent(
                row["index_hit"], (row["index_hit"] or 0) + (row["index_read"] or 0)
            ),
        }
        for oid, row in data["tables"].items()
    ]


# -- overlap --


def _core(index: Index) -> tuple[Any, ...]:
    """Return what makes two indexes duplicates of each other: all but name, storage parameters and place."""
    s = index.signature
    key = (
        s.method,
        s.unique,
        s.nulls_not_distinct,
        s.columns,
        s.include,
        s.options,
        s.opclasses,
        s.collations,
        s.deferrable,
    )
    return (index.table_oid, *key, s.predicate)


def _needed(index: Index) -> bool:
    """True for an index that is there for more than being read."""
    return bool(
        index.constraint
        or index.foreign_keys
        or index.replica_identity
        or index.clustered
        or index.parent is not None
        or index.signature.unique
    )


def duplicates(indexes: Iterable[Index]) -> list[dict[str, Any]]:
    """Return groups of indexes with one definition, and which of them nothing needs."""
    groups: dict[tuple[Any, ...], list[Index]] = {}
    for index in indexes:
        if index.valid and index.parent is None:
            groups.setdefault(_core(index), []).append(index)
    found = []
    for group in groups.values():
        if len(group) < 2:
            continue
        bound = [i for i in group if i.constraint or i.foreign_keys or i.replica_identity or i.clustered]
        keep = bound or group[:1]
        found.append(
            {
                "table": f"{group[0].schema}.{group[0].table}",
                "indexes": [index.name for index in group],
                "droppable": [index.name for index in group if index not in keep],
                "size_bytes": sum(index.size for index in group if index not in keep),
            }
        )
    return found


def redundant(indexes: Iterable[Index]) -> list[dict[str, Any]]:
    """Return btree indexes that another index of the table can stand in for, and how surely."""
    tables: dict[int, list[Index]] = {}
    for index in indexes:
        if index.valid and index.signature.method == "btree":
            tables.setdefault(index.table_oid, []).append(index)
    found = []
    for group in tables.values():
        for index in group:
            if _needed(index):
                continue
            for other in group:
                sure = _covered(index, other)
                # Of two that stand in for each other only the younger is called redundant.
                if sure is None or (_covered(other, index) and not _needed(other) and other.oid > index.oid):
                    continue
                found.append(
                    {
                        "schema": index.schema,
                        "name": index.name,
                        "table": index.table,
                        "covered_by": other.name,
                        "certainty": sure,
                        "size_bytes": index.size,
                    }
                )
                break
    return found


def _covered(index: Index, other: Index) -> str | None:
    """Return "certain" or "possible" when scans of `index` could use `other`, else None."""
    a, b = index.signature, other.signature
    if index is other or _core(index) == _core(other) or len(a.columns) > len(b.columns):
        return None
    for mine, theirs in ((a.columns, b.columns), (a.opclasses, b.opclasses), (a.collations, b.collations)):
        if mine != theirs[: len(mine)]:
            return None
    start = b.options[: len(a.options)]
    # Read backwards, an index serves the opposite order of all its columns, NULLs included.
    if a.options != start and a.options != tuple(bits ^ 3 for bits in start):
        return None
    if not set(a.include) <= {*b.columns, *b.include}:
        return None
    if a.predicate == b.predicate:
        return "certain"
    return "possible" if not b.predicate else None


# -- expectations --


def matches_like(name: str, pattern: str) -> bool:
    """True when `name` matches an SQL LIKE pattern (% and _, backslash escapes)."""
    parts: list[str] = []
    escaped = False
    for character in pattern:
        if escaped:
            parts.append(re.escape(character))
            escaped = False
        elif character == "\\":
            escaped = True
        else:
            parts.append({"%": ".*", "_": "."}.get(character, re.escape(character)))
    return re.fullmatch("".join(parts), name, re.DOTALL) is not None


def select(entries: list[dict[str, Any]], expectation: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the entries an expectation speaks of (`schemas`, `name_like`)."""
    schemas, like = expectation.get("schemas"), expectation.get("name_like")
    return [
        item
        for item in entries
        if (not schemas or item["schema"] in schemas) and (not like or matches_like(item["name"], like))
    ]


# -- tiers --


def read_hours(given: dict[Any, Any]) -> dict[str, float]:
    """Return the hours that each tier waits, by tier. Raises Refused for what is not a number of hours."""
    hours = {}
    for tier, value in given.items():
        try:
            hours[str(int(tier))] = float(value)
        except (TypeError, ValueError):
            raise Refused(
                f"tier_hours: {tier!r}: {value!r} is not the number of a tier and a number of hours: write "
                "{2: 24} to let tier 2 wait for a day"
            ) from None
    return hours


def tiers_due(
    specs: list[IndexSpec],
    entries: list[dict[str, Any]],
    complete: dict[str, float],
    hours: dict[str, float],
    now: float | None = None,
) -> list[dict[str, Any]]:
    """Say of each declared tier whether its time has come.

    The lowest tier is always due. A later one is due when the tier before it has been complete for its hours
    (default 24) and has proved useful: each of its indexes was scanned, or is unique and so does more than
    being read. `complete` says since when (seconds since the epoch) each tier is complete.
    """
    now = time.time() if now is None else now
    known = {(item["schema"], item["name"]): item for item in entries}
    tiers = sorted({spec.tier for spec in specs if spec.state == "present"})
    found: list[dict[str, Any]] = []
    for position, tier in enumerate(tiers):
        since = complete.get(str(tier))
        entry: dict[str, Any] = {
            "tier": tier,
            "complete_since": since,
            "due": position == 0,
            "reason": "the first tier",
        }
        if position:
            previous = tiers[position - 1]
            wait, start = float(hours.get(str(tier), 24)), complete.get(str(previous))
            missing, unused = [], []
            for spec in specs:
                if spec.tier != previous or spec.state != "present":
                    continue
                item = known.get((spec.schema, spec.name))
                if item is None or not item["valid"]:
                    missing.append(spec.label)
                elif not item["scans"] and not spec.unique:
                    unused.append(spec.label)
            if start is None or missing:
                entry["reason"] = f"tier {previous} is not complete" + (
                    f": {', '.join(missing)}" if missing else ""
                )
            elif now - start < wait * 3600:
                left = wait - (now - start) / 3600
                entry["reason"] = (
                    f"tier {previous} is complete for {wait - left:.1f} of {wait:.0f} hours: {left:.1f} to go"
                )
            elif unused:
                entry["reason"] = f"tier {previous} did not prove useful, never scanned: {', '.join(unused)}"
            else:
                entry.update(due=True, reason=f"tier {previous} is complete for {wait:.0f} hours and in use")
        found.append(entry)
    return found
