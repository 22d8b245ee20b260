"""The schema of a database as data: every object with its definition, a fingerprint, differences in words."""

from __future__ import annotations

import contextlib
import hashlib
import json
import typing as t

with contextlib.suppress(ImportError):
    import psycopg

#: Identity of an object ("column public.orders.total") -> its definition as PostgreSQL prints it.
Schema: t.TypeAlias = "dict[str, str]"

#: The tables in which migration tools keep their books: no part of what a migration is to put back.
BOOKS = ("alembic_version", "django_migrations", "_prisma_migrations")

INVALID = "INVALID"

LISTING = """
WITH relation AS (
  SELECT c.*, n.nspname AS schema, n.nspname || '.' || c.relname AS name
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND c.relname <> ALL (%(books)s)
    AND NOT EXISTS (SELECT FROM pg_depend d
                    WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
), routine AS (
  SELECT p.*, n.nspname || '.' || p.proname || '(' || pg_get_function_identity_arguments(p.oid) || ')' AS name
  FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
  WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
    AND NOT EXISTS (SELECT FROM pg_depend d
                    WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e')
)
SELECT 'schema ' || nspname, coalesce(nspacl::text, '') FROM pg_namespace
WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'
UNION ALL
SELECT CASE relkind WHEN 'v' THEN 'view ' WHEN 'm' THEN 'materialized view ' WHEN 'f' THEN 'foreign table '
       ELSE 'table ' END || name,
       concat_ws(' ', CASE relpersistence WHEN 'u' THEN 'unlogged' END,
                 CASE WHEN relrowsecurity THEN 'rls' END,
                 CASE WHEN relkind = 'p' THEN pg_get_partkeydef(oid) END, pg_get_expr(relpartbound, oid),
                 reloptions::text, relacl::text, CASE WHEN relkind IN ('v', 'm') THEN pg_get_viewdef(oid) END)
FROM relation WHERE relkind IN ('r', 'p', 'v', 'm', 'f')
UNION ALL
SELECT 'column ' || r.name || '.' || a.attname,
       concat_ws(' ', format_type(a.atttypid, a.atttypmod), CASE WHEN a.attnotnull THEN 'not null' END,
                 CASE WHEN a.attgenerated <> '' THEN 'generated' WHEN d.oid IS NOT NULL THEN 'default' END,
                 pg_get_expr(d.adbin, d.adrelid), CASE WHEN a.attidentity <> '' THEN 'identity' END,
                 CASE WHEN a.attcollation <> y.typcollation
                      THEN 'collate ' || (SELECT collname FROM pg_collation WHERE oid = a.attcollation) END)
FROM relation r JOIN pg_attribute a ON a.attrelid = r.oid JOIN pg_type y ON y.oid = a.atttypid
LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE r.relkind IN ('r', 'p', 'f') AND a.attnum > 0 AND NOT a.attisdropped
UNION ALL
SELECT 'index ' || r.schema || '.' || i.relname,
       concat_ws(' ', pg_get_indexdef(i.oid), CASE WHEN NOT x.indisvalid AND i.relkind = 'i' THEN
       %(invalid)s END)
FROM relation r JOIN pg_index x ON x.indrelid = r.oid JOIN pg_class i ON i.oid = x.indexrelid
UNION ALL
SELECT 'constraint ' || r.name || '.' || k.conname, pg_get_constraintdef(k.oid)
FROM relation r JOIN pg_constraint k ON k.conrelid = r.oid
UNION ALL
SELECT 'trigger ' || r.name || '.' || g.tgname, pg_get_triggerdef(g.oid) || ' ' || g.tgenabled::text
FROM relation r JOIN pg_trigger g ON g.tgrelid = r.oid WHERE NOT g.tgisinternal
UNION ALL
SELECT 'policy ' || r.name || '.' || p.polname,
       concat_ws(' ', p.polcmd::text, p.polroles::text, pg_get_expr(p.polqual, p.polrelid),
                 pg_get_expr(p.polwithcheck, p.polrelid))
FROM relation r JOIN pg_policy p ON p.polrelid = r.oid
UNION ALL
SELECT 'sequence ' || r.name,
       concat_ws(' ', format_type(s.seqtypid, NULL), s.seqstart, s.seqincrement, s.seqmin, s.seqmax,
       s.seqcycle)
FROM relation r JOIN pg_sequence s ON s.seqrelid = r.oid
UNION ALL
SELECT 'function ' || name, CASE prokind WHEN 'a' THEN 'aggregate' ELSE pg_get_functiondef(oid) END FROM
routine UNION ALL
SELECT 'type ' || format_type(y.oid, NULL),
       concat_ws(' ', y.typtype, format_type(nullif(y.typbasetype, 0), y.typtypmod),
                 (SELECT string_agg(quote_literal(enumlabel), ', ' ORDER BY enumsortorder)
                  FROM pg_enum WHERE enumtypid = y.oid))
FROM pg_type y JOIN pg_namespace n ON n.oid = y.typnamespace
WHERE y.typtype IN ('e', 'd', 'r') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
  AND NOT EXISTS (SELECT FROM pg_depend d
                  WHERE d.classid = 'pg_type'::regclass AND d.objid = y.oid AND d.deptype = 'e')
UNION ALL
SELECT 'extension ' || extname, extversion FROM pg_extension"""

CATALOGS = (
    *("pg_namespace", "pg_class", "pg_attribute", "pg_attrdef", "pg_index", "pg_constraint", "pg_trigger"),
    *("pg_policy", "pg_sequence", "pg_proc", "pg_type", "pg_enum", "pg_extension"),
)
STAMP = "SELECT count(*), coalesce(sum(xmin::text::bigint), 0)::text FROM {}"


def listing(conn: psycopg.Connection[t.Any]) -> Schema:
    """Every object of the users' schemas, in one read-only transaction. Raises psycopg.Error."""
    with conn.transaction():
        conn.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        # With an empty path definitions come out fully qualified, whoever asks.
        conn.execute("SET LOCAL search_path = ''")
        # Printing an index waits for whoever has locked its table.
        conn.execute("SET LOCAL lock_timeout = '30s'")
        return dict(conn.execute(LISTING, {"books": list(BOOKS), "invalid": INVALID}).fetchall())


def stamp(conn: psycopg.Connection[t.Any]) -> str:
    """The same as long as nobody has changed a catalog. Unlike ``listing()`` it waits for no lock on a table.

    A temporary table changes it too: equal stamps mean an equal schema, different ones mean nothing.
    """
    rows = [conn.execute(STAMP.format(name)).fetchone() for name in CATALOGS]
    return hashlib.sha256(repr(rows).encode()).hexdigest()


def fingerprint(schema: Schema) -> str:
    """A short name for exactly this schema."""
    return hashlib.sha256(json.dumps(schema, sort_keys=True).encode()).hexdigest()[:16]


def diff(before: Schema, after: Schema) -> list[str]:
    """What ``after`` has otherwise than ``before``, one sentence for each object.

    What goes or comes with a table (its columns, indexes, ...) is not told beside the table itself.
    """
    gone, new = set(before) - set(after), set(after) - set(before)
    found = [f"{name} is gone" for name in sorted(_whole(gone))]
    found += [f"{name} is new: {_short(after[name])}".removesuffix(": ") for name in sorted(_whole(new))]
    for name in sorted(set(before) & set(after)):
        if before[name] != after[name]:
            found.append(f"{name} is {_short(after[name])!r} instead of {_short(before[name])!r}")
    return found


def lost_data(before: Schema, after: Schema) -> list[str]:
    """Tables and columns with which data went: no downgrade brings their contents back."""
    return sorted(_whole({n for n in set(before) - set(after) if n.startswith(("table ", "column "))}))


def invalid_indexes(schema: Schema) -> list[str]:
    """The names of INVALID indexes."""
    return sorted(
        name.partition(" ")[2]
        for name, definition in schema.items()
        if name.startswith("index ") and definition.endswith(f" {INVALID}")
    )


def _whole(names: set[str]) -> set[str]:
    tables = tuple(f"{name.partition(' ')[2]}." for name in names if name.startswith("table "))
    parts = ("column ", "constraint ", "trigger ", "policy ")
    return {n for n in names if not (n.startswith(parts) and n.partition(" ")[2].startswith(tables))}


def _short(text: str, limit: int = 120) -> str:
    text = " ".join(text.split())
    return text if len(text) <= limit else text[: limit - 3] + "..."
