# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""What the catalog says about tables and indexes, in a form in which two indexes can be compared."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from ..postgres.sql import conjuncts
from .spec import storage_set

WORK_NAME = re.compile(r"^(?P<base>.+)__(?P<kind>slip|slipold)_[0-9a-f]{8}$", re.DOTALL)
REINDEX_NAME = re.compile(r"^(?P<base>.+)_cc(?:new|old)\d*$", re.DOTALL)


@dataclass(frozen=True)
class Signature:
    """Everything that makes two indexes the same index, as PostgreSQL itself writes it."""

    method: str
    unique: bool
    nulls_not_distinct: bool
    columns: tuple[str, ...]
    include: tuple[str, ...]
    options: tuple[int, ...]
    opclasses: tuple[str, ...]
    collations: tuple[str, ...]
    predicate: frozenset[str]
    storage: frozenset[tuple[str, str]]
    tablespace: str
    deferrable: bool = False

    def differences(self, actual: Signature, tablespace: bool) -> list[str]:
        """Say how `actual` differs from this (declared) one; compare the tablespace only when it was
        declared."""
        found = []
        if len(self.columns) == len(actual.columns):
            # One remark for a column is enough: its operator class and collation follow from it.
            for number, (want, have) in enumerate(zip(self._keys(), actual._keys()), 1):
                if want != have:
                    found.append(f"column {number}: declared {want}, found {have}")
        else:
            found.append(f"columns: declared {', '.join(self._keys())}; found {', '.join(actual._keys())}")
        for what in (
            "method",
            "unique",
            "nulls_not_distinct",
            "deferrable",
            "include",
            "predicate",
            "storage",
        ):
            want, have = getattr(self, what), getattr(actual, what)
            if want != have:
                found.append(f"{what}: declared {_text(want)}, found {_text(have)}")
        if tablespace and self.tablespace != actual.tablespace:
            found.append(f"tablespace: declared {self.tablespace}, found {actual.tablespace}")
        return found

    def _keys(self) -> list[str]:
        keys = []
        for name, bits, opclass, collation in zip(
            self.columns, self.options, self.opclasses, self.collations
        ):
            direction = ("DESC " if bits & 1 else "ASC ") + ("NULLS FIRST" if bits & 2 else "NULLS LAST")
            ordered = f" {direction}" if self.method == "btree" else ""
            keys.append(f"{name}{ordered} {opclass}" + (f" COLLATE {collation}" if collation else ""))
        return keys


def _text(value: Any) -> str:
    if isinstance(value, frozenset):
        parts = sorted("=".join(item) if isinstance(item, tuple) else item for item in value)
        return (
            " AND ".join(parts)
            if parts and isinstance(next(iter(value)), str)
            else ", ".join(parts) or "none"
        )
    if isinstance(value, tuple):
        return ", ".join(value) or "none"
    return str(value)


@dataclass(frozen=True)
class Index:
    """An index that exists."""

    oid: int
    schema: str
    name: str
    table_oid: int
    table: str
    signature: Signature
    valid: bool
    ready: bool
    plain: bool
    expressions: bool
    partitioned: bool
    parent: int | None
    constraint: str | None
    constraint_type: str | None
    foreign_keys: tuple[str, ...]
    replica_identity: bool
    clustered: bool
    definition: str
    comment: str | None
    statistics: tuple[tuple[int, int], ...]
    size: int
    # Only what differs from the database's default.
    tablespace: str | None = None
    # A key column may be NULL.
    nullable: bool = False

    @property
    def label(self) -> str:
        """schema.name, for people."""
        return f"{self.schema}.{self.name}"


@dataclass(frozen=True)
class Table:
    """A relation that indexes are declared on."""

    oid: int
    schema: str
    name: str
    kind: str
    owner: str
    owned: bool
    partition_key: str | None
    # A partition that keeps its indexes from being built, as (name, kind, owner).
    obstacle: tuple[str, str, str] | None = None


_INDEXES = """
SELECT i.indexrelid::bigint AS oid, n.nspname AS schema, c.relname AS name, i.indrelid::bigint AS table_oid,
       t.relname AS table_name, am.amname AS method, i.indisunique AS unique, {nulls} AS nulls_not_distinct,
       NOT i.indimmediate AS deferrable, i.indisvalid AND i.indislive AS valid, i.indisready AS ready, i.indnkeyatts::int AS keys,
       i.indexprs IS NULL AND i.indpred IS NULL AS plain, i.indexprs IS NOT NULL AS expressions,
       c.relkind = 'I' AS partitioned, h.inhparent::bigint AS parent,
       i.indisreplident AS replica_identity, i.indisclustered AS clustered,
       ARRAY(SELECT pg_get_indexdef(i.indexrelid, k, false) FROM generate_series(1, i.indnatts) k ORDER BY k)
         AS columns,
       i.indoption::text AS options, k.opclasses, k.collations, k.statistics,
       pg_get_expr(i.indpred, i.indrelid) AS predicate, c.reloptions,
       coalesce(s.spcname, (SELECT d.spcname FROM pg_database b JOIN pg_tablespace d ON d.oid =
         b.dattablespace
                            WHERE b.datname = current_database())) AS tablespace,
       s.spcname AS own_tablespace,
       EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = i.indrelid AND NOT a.attnotnull
               AND a.attnum = ANY((i.indkey::int2[])[0:i.indnkeyatts - 1])) AS nullable,
       pg_get_indexdef(i.indexrelid) AS definition, obj_description(i.indexrelid, 'pg_class') AS comment,
       con.name AS constraint_name, con.type AS constraint_type, con.foreign_keys,
       CASE WHEN c.relkind = 'I' THEN 0 ELSE pg_relation_size(i.indexrelid) END AS size
FROM pg_index i
JOIN pg_class c ON c.oid = i.indexrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_class t ON t.oid = i.indrelid
JOIN pg_am am ON am.oid = c.relam
LEFT JOIN pg_inherits h ON h.inhrelid = i.indexrelid
LEFT JOIN pg_tablespace s ON s.oid = c.reltablespace
CROSS JOIN LATERAL (
  SELECT array_agg(ns.nspname || '.' || oc.opcname
                   || coalesce('(' || (SELECT string_agg(o, ',' ORDER BY o) FROM unnest(a.attoptions) o) ||
                     ')', '')
                   ORDER BY u.k) AS opclasses,
         array_agg(coalesce(nc.nspname || '.' || co.collname, '') ORDER BY u.k) AS collations,
         array_agg(u.k || ':' || a.attstattarget ORDER BY u.k) FILTER (WHERE a.attstattarget >= 0) AS
           statistics
  FROM unnest(i.indclass::oid[], i.indcollation::oid[]) WITH ORDINALITY AS u(opclass, coll, k)
  JOIN pg_opclass oc ON oc.oid = u.opclass
  JOIN pg_namespace ns ON ns.oid = oc.opcnamespace
  JOIN pg_attribute a ON a.attrelid = i.indexrelid AND a.attnum = u.k
  LEFT JOIN pg_collation co ON co.oid = u.coll
  LEFT JOIN pg_namespace nc ON nc.oid = co.collnamespace
) k
LEFT JOIN (
  SELECT conindid, max(conname) FILTER (WHERE contype <> 'f') AS name, max(contype::text) FILTER (WHERE
    contype <> 'f') AS type,
         array_agg(conrelid::regclass || '.' || conname) FILTER (WHERE contype = 'f') AS foreign_keys
  FROM pg_constraint WHERE conindid <> 0 GROUP BY conindid
) con ON con.conindid = i.indexrelid
WHERE {where}
ORDER BY i.indexrelid
"""

_TABLES = """
SELECT c.oid::bigint AS oid, n.nspname AS schema, c.relname AS name, c.relkind::text AS kind,
       pg_get_userbyid(c.relowner) AS owner, pg_has_role(c.relowner, 'USAGE') AS owned,
       CASE WHEN c.relkind = 'p' THEN pg_get_partkeydef(c.oid) END AS partition_key,
       CASE WHEN c.relkind = 'p' THEN (
         SELECT ARRAY[format('%%I.%%I', pn.nspname, p.relname), p.relkind::text,
                      pg_get_userbyid(p.relowner)::text]
         FROM pg_partition_tree(c.oid) l JOIN pg_class p ON p.oid = l.relid
         JOIN pg_namespace pn ON pn.oid = p.relnamespace
         WHERE p.relkind = 'f' OR NOT pg_has_role(p.relowner, 'USAGE') ORDER BY p.oid LIMIT 1
       ) END AS obstacle
FROM unnest(%s::text[], %s::text[]) AS w(schema, name)
JOIN pg_namespace n ON n.nspname = w.schema
JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = w.name
"""


def set_search_path(connection: Any, path: str, local: bool = False) -> None:
    """Set search_path; the empty path makes everything PostgreSQL deparses fully qualified."""
    connection.execute("SELECT set_config('search_path', %s, %s)", [path, local])


def read_indexes(
    connection: Any, version: int, tables: list[int] | None = None, indexes: list[int] | None = None
) -> list[Index]:
    """Return the indexes on `tables`, or those in `indexes` (OIDs).

    The session's search_path must be empty.
    """
    column, oids = ("i.indrelid", tables) if indexes is None else ("i.indexrelid", indexes)
    query = _INDEXES.format(
        nulls="i.indnullsnotdistinct" if version >= 150000 else "false",
        where=f"{column} = ANY(%s::bigint[]::oid[])",
    )
    return [_index(row) for row in connection.execute(query, [oids]).fetchall()]


def _index(row: dict[str, Any]) -> Index:
    keys = row["keys"]
    signature = Signature(
        method=row["method"],
        unique=row["unique"],
        nulls_not_distinct=row["nulls_not_distinct"],
        columns=tuple(row["columns"][:keys]),
        include=tuple(row["columns"][keys:]),
        options=tuple(int(bits) for bits in row["options"].split()),
        opclasses=tuple(row["opclasses"]),
        collations=tuple(row["collations"]),
        predicate=conjuncts(row["predicate"]) if row["predicate"] else frozenset(),
        storage=storage_set(row["method"], dict(item.split("=", 1) for item in row["reloptions"] or [])),
        tablespace=row["tablespace"],
        deferrable=row["deferrable"],
    )
    return Index(
        oid=row["oid"],
        schema=row["schema"],
        name=row["name"],
        table_oid=row["table_oid"],
        table=row["table_name"],
        signature=signature,
        valid=row["valid"],
        ready=row["ready"],
        plain=row["plain"],
        expressions=row["expressions"],
        partitioned=row["partitioned"],
        parent=row["parent"],
        constraint=row["constraint_name"],
        constraint_type=row["constraint_type"],
        foreign_keys=tuple(row["foreign_keys"] or ()),
        replica_identity=row["replica_identity"],
        clustered=row["clustered"],
        definition=row["definition"],
        comment=row["comment"],
        statistics=tuple(
            (int(item.split(":")[0]), int(item.split(":")[1])) for item in row["statistics"] or ()
        ),
        size=row["size"] or 0,
        tablespace=row["own_tablespace"],
        nullable=row["nullable"],
    )


def read_tables(connection: Any, names: list[tuple[str, str]]) -> dict[tuple[str, str], Table]:
    """Return the relations that exist among (schema, name) pairs, of any kind."""
    rows = connection.execute(
        _TABLES, [[schema for schema, _ in names], [name for _, name in names]]
    ).fetchall()
    return {(row["schema"], row["name"]): Table(**row) for row in rows}


def read_index_owners(connection: Any, names: list[tuple[str, str]]) -> dict[tuple[str, str], int]:
    """Return the table (OID) of each index among (schema, name) pairs."""
    rows = connection.execute(
        """
        SELECT n.nspname AS schema, c.relname AS name, i.indrelid::bigint AS table_oid
        FROM unnest(%s::text[], %s::text[]) AS w(schema, name)
        JOIN pg_namespace n ON n.nspname = w.schema
        JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = w.name
        JOIN pg_index i ON i.indexrelid = c.oid
        """,
        [[schema for schema, _ in names], [name for _, name in names]],
    ).fetchall()
    return {(row["schema"], row["name"]): row["table_oid"] for row in rows}
