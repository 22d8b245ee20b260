"""What is in a database, in a form that can be compared: rows, checksums, sequences, objects."""

from __future__ import annotations

import contextlib
import typing as t

# The modules report a missing library themselves (pg_login.PSYCOPG_IMPORT_ERROR).
with contextlib.suppress(ImportError):
    import psycopg
    from psycopg import sql

Connection: t.TypeAlias = "psycopg.Connection[t.Any]"
Manifest: t.TypeAlias = "dict[str, t.Any]"

#: Texts of values depend on these, so both sides are read with the same ones.
SETTINGS = {
    "timezone": "UTC",
    "datestyle": "ISO, YMD",
    "intervalstyle": "postgres",
    "extra_float_digits": "1",
    "bytea_output": "hex",
    "lc_monetary": "C",
    "xmloption": "content",
    "search_path": "pg_catalog",
    # With row security a count would silently leave rows out: an error is better.
    "row_security": "off",
    "lock_timeout": "30s",
}

#: Extensions bring their own objects and pg_dump leaves them out; so do we.
USER_OBJECT = """
  {schema} !~ '^pg_' AND {schema} <> 'information_schema'
  AND NOT EXISTS (SELECT FROM pg_depend d
                  WHERE d.classid = '{catalog}'::regclass AND d.objid = {oid} AND d.deptype = 'e')"""


def _user(catalog: str, oid: str, schema: str = "n.nspname") -> str:
    return USER_OBJECT.format(catalog=catalog, oid=oid, schema=schema)


RELATIONS = f"""
SELECT n.nspname, c.relname, c.relkind::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = ANY (%s::"char"[]) AND {_user("pg_class", "c.oid")} ORDER BY 1, 2"""

# pg_dump leaves INVALID indexes out, so they are not expected in a restored database.
OBJECTS = f"""
SELECT CASE c.relkind WHEN 'p' THEN 'partitioned table' WHEN 'v' THEN 'view'
       WHEN 'm' THEN 'materialized view' WHEN 'S' THEN 'sequence' WHEN 'f' THEN 'foreign table' END,
       n.nspname || '.' || c.relname
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('p', 'v', 'm', 'S', 'f') AND {_user("pg_class", "c.oid")}
UNION ALL
SELECT 'index', n.nspname || '.' || c.relname
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_class o ON o.oid = i.indrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE i.indisvalid AND {_user("pg_class", "o.oid")}
UNION ALL
SELECT 'constraint', n.nspname || '.' || c.relname || '.' || k.conname
FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE {_user("pg_class", "c.oid")}
UNION ALL
SELECT 'trigger', n.nspname || '.' || c.relname || '.' || g.tgname
FROM pg_trigger g JOIN pg_class c ON c.oid = g.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE NOT g.tgisinternal AND {_user("pg_class", "c.oid")}
UNION ALL
SELECT 'function', n.nspname || '.' || p.proname || '(' || pg_get_function_identity_arguments(p.oid) || ')'
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE {_user("pg_proc", "p.oid")}
UNION ALL
SELECT 'type', n.nspname || '.' || y.typname
FROM pg_type y JOIN pg_namespace n ON n.oid = y.typnamespace
WHERE y.typtype IN ('e', 'd', 'r') AND {_user("pg_type", "y.oid")}
UNION ALL
SELECT 'policy', n.nspname || '.' || c.relname || '.' || p.polname
FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE {_user("pg_class", "c.oid")}
UNION ALL
SELECT 'schema', n.nspname FROM pg_namespace n WHERE {_user("pg_namespace", "n.oid")}
ORDER BY 1, 2"""

DATABASE = """
SELECT d.datname, pg_encoding_to_char(d.encoding), d.datcollate, d.datctype, pg_database_size(d.oid),
       to_jsonb(d) ->> 'datlocprovider',
       coalesce(to_jsonb(d) ->> 'datlocale', to_jsonb(d) ->> 'daticulocale'),
       current_setting('server_version'), current_setting('server_version_num')::int
FROM pg_database d WHERE d.datname = current_database()"""

#: Where migration tools keep what has been applied: table name -> query for the revision.
REVISIONS = {
    "alembic_version": "SELECT string_agg(version_num, ',' ORDER BY version_num) FROM {table}",
    "django_migrations": "SELECT app || '.' || name FROM {table} ORDER BY id DESC LIMIT 1",
    "_prisma_migrations": "SELECT migration_name FROM {table} WHERE finished_at IS NOT NULL"
    " AND rolled_back_at IS NULL ORDER BY started_at DESC LIMIT 1",
}


def settle(conn: Connection) -> None:
    """Give the open transaction the settings that make the texts of values comparable."""
    for name, value in SETTINGS.items():
        conn.execute("SELECT set_config(%s, %s, true)", [name, value])


def describe(conn: Connection) -> Manifest:
    """Everything but the tables' contents: quick, and to be taken before the dump starts.

    Sequences are not part of a snapshot: read before the dump, their values are a lower bound of the dumped
    ones.
    """
    name, encoding, collate, ctype, size, provider, locale, version, number = _row(conn, DATABASE)
    objects: dict[str, list[str]] = {}
    for kind, identity in conn.execute(OBJECTS):
        objects.setdefault(kind, []).append(identity)
    return {
        "format": 1,
        "database": {
            "name": name,
            "encoding": encoding,
            "collate": collate,
            "ctype": ctype,
            "locale_provider": provider,
            "locale": locale,
            "size_bytes": size,
        },
        "server": {"version": version, "number": number},
        "extensions": dict(
            conn.execute("SELECT extname, extversion FROM pg_extension ORDER BY 1").fetchall()
        ),
        "objects": objects,
        "revision": revision(conn),
        "sequences": {k: v for k, v in _sequences(conn).items() if k in objects.get("sequence", [])},
    }


def contents(conn: Connection) -> Manifest:
    """Count and checksum of each table (partitions each for itself) and of the large objects.

    A checksum is the sum of a 64-bit hash of each row, so it does not depend on the order of rows.
    """
    tables = {}
    for schema, table, _kind in conn.execute(RELATIONS, [["r"]]).fetchall():
        # (x.*) is the row even if the table has a column called x; ONLY leaves inheriting tables out.
        query = sql.SQL(
            "SELECT count(*), coalesce(sum(hashtextextended((x.*)::text, 0)), 0)::text FROM ONLY {} x"
        ).format(sql.Identifier(schema, table))
        rows, checksum = _row(conn, query)
        tables[f"{schema}.{table}"] = {"rows": rows, "checksum": checksum}
    rows, checksum = _row(
        conn,
        "SELECT count(*), coalesce(sum(hashtextextended(oid::text || md5(lo_get(oid)), 0)), 0)::text"
        " FROM pg_largeobject_metadata",
    )
    return {"tables": tables, "large_objects": {"rows": rows, "checksum": checksum}}


def take(conn: Connection) -> Manifest:
    """The whole manifest of a database, in one transaction of its own. Raises psycopg.Error."""
    with conn.transaction():
        conn.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        settle(conn)
        return {**describe(conn), **contents(conn)}


def revision(conn: Connection) -> dict[str, str]:
    """The migration revision of each known bookkeeping table: ``{"public.alembic_version": "ab12"}``."""
    found = {}
    for schema, table, _kind in conn.execute(RELATIONS, [["r"]]).fetchall():
        if table in REVISIONS:
            query = sql.SQL(REVISIONS[table]).format(table=sql.Identifier(schema, table))
            row = conn.execute(query).fetchone()
            found[f"{schema}.{table}"] = (row[0] if row else None) or ""
    return found


def listed(conn: Connection, table: str, query: str) -> list[str]:
    """What a query says of each table of that name; ``{table}`` in the query is the table."""
    return [
        str(row[0])
        for schema, name, _kind in conn.execute(RELATIONS, [["r", "p"]]).fetchall()
        if name == table
        for row in conn.execute(sql.SQL(query).format(table=sql.Identifier(schema, name))).fetchall()
    ]


def compare(expected: Manifest, actual: Manifest) -> list[str]:
    """What a restored database lacks or has in excess, one sentence each; empty when it is the same."""
    found = []
    for name in sorted({*expected["tables"], *actual["tables"]}):
        was, now = expected["tables"].get(name), actual["tables"].get(name)
        if was is None or now is None:
            found.append(f"table {name} is {'missing' if now is None else 'not in the manifest'}")
        elif was["rows"] != now["rows"]:
            found.append(f"table {name} has {now['rows']} rows instead of {was['rows']}")
        elif was["checksum"] != now["checksum"]:
            found.append(f"table {name} has {now['rows']} rows as expected, but not the same contents")
    if expected["large_objects"] != actual["large_objects"]:
        was, now = expected["large_objects"], actual["large_objects"]
        found.append(f"large objects differ ({now['rows']} instead of {was['rows']}, or other contents)")
    for kind in sorted({*expected["objects"], *actual["objects"]}):
        before, after = set(expected["objects"].get(kind, [])), set(actual["objects"].get(kind, []))
        found += [f"{kind} {name} is missing" for name in sorted(before - after)]
        found += [f"{kind} {name} is not in the manifest" for name in sorted(after - before)]
    for name, was in sorted(expected["sequences"].items()):
        now = actual["sequences"].get(name)
        if now is not None and not was["cycle"] and (now["value"] - was["value"]) * was["increment"] < 0:
            found.append(
                f"sequence {name} stands at {now['value']}, before the {was['value']} of the manifest"
            )
    missing = sorted(set(expected["extensions"]) - set(actual["extensions"]))
    found += [f"extension {name} is missing" for name in missing]
    for key in ("encoding", "collate", "ctype"):
        if expected["database"][key] != actual["database"][key]:
            found.append(f"{key} is {actual['database'][key]} instead of {expected['database'][key]}")
    return found


def create_database(name: str, like: Manifest) -> sql.Composed:
    """The statement that creates an empty database with the encoding and locale a manifest describes."""
    database = like["database"]
    parts = [
        sql.SQL("CREATE DATABASE {} TEMPLATE template0 ENCODING {} LC_COLLATE {} LC_CTYPE {}").format(
            sql.Identifier(name), database["encoding"], database["collate"], database["ctype"]
        )
    ]
    if database["locale"]:
        provider, option = (
            ("icu", "ICU_LOCALE") if database["locale_provider"] == "i" else ("builtin", "BUILTIN_LOCALE")
        )
        parts.append(sql.SQL(f" LOCALE_PROVIDER {provider} {option} {{}}").format(database["locale"]))
    return sql.Composed(parts)


def _sequences(conn: Connection) -> dict[str, dict[str, t.Any]]:
    rows = conn.execute(
        "SELECT schemaname::text, sequencename::text, coalesce(last_value, start_value), increment_by, cycle"
        " FROM pg_sequences ORDER BY 1, 2"
    )
    return {f"{s}.{n}": {"value": v, "increment": i, "cycle": c} for s, n, v, i, c in rows.fetchall()}


def _row(conn: Connection, query: str | sql.Composed) -> tuple[t.Any, ...]:
    row = conn.execute(query).fetchone()
    if row is None:
        raise ValueError("a query that always has one row gave none")
    return tuple(row)
