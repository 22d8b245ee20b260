# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""Let PostgreSQL say what a declaration means: build it on an empty temporary clone of the table, read it
back.

Comparing text would find differences where there are none (IN or = ANY, varchar or text, the order of
parameters) and miss real ones. The clone has the table's columns and no rows, is never visible to others and
is rolled back, so nothing is left behind. It also refuses what could never be built: unknown columns,
expressions that are not immutable, operator classes that do not fit.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from ..postgres.connect import describe, psycopg
from ..postgres.sql import ident, qualified, tokens
from .catalog import Index, Signature, Table, read_indexes, set_search_path
from .spec import IndexSpec

# A clone and its indexes hold a few locks each until the rollback; the server's table of locks is shared.
_BATCH = 60
LOCK_TIMEOUT = "5s"
# Classes of SQLSTATE that say something of the declaration: syntax and names, data, features, limits, and what
# access methods report as internal. The rest speaks of privileges, locks, disks, or a trigger that forbids
# new tables.
_VERDICTS = {"42", "22", "23", "0A", "54", "XX", "3F"}
# Undefined function, table and column, a cast that is not there, a type that does not fit.
_ROW_TYPE_MISSED = {"42883", "42P01", "42703", "42846", "42804"}


@dataclass(frozen=True)
class Probe:
    """What a declaration means, or why that cannot be known (`unknown`) or can never be (`error`)."""

    signature: Signature | None = None
    plain: bool = True
    expressions: bool = False
    nullable: bool = False
    error: str | None = None
    unknown: str | None = None


def parse_path(schema: str, session_path: str) -> str:
    """Return the search_path a declaration is read in: the index's schema, then the session's own."""
    return f"{ident(schema)}, {session_path}" if session_path else ident(schema)


def probe_all(
    connection: Any,
    version: int,
    session_path: str,
    specs: Iterable[IndexSpec],
    tables: dict[tuple[str, str], Table],
) -> dict[str, Probe]:
    """Return the Probe of each declared index by its label.

    Specs whose table is not in `tables` are left out.
    """
    found: dict[str, Probe] = {}
    for batch in _batches([spec for spec in specs if (spec.schema, spec.table) in tables]):
        found.update(_probe(connection, version, session_path, batch, tables))
    return found


def _batches(specs: list[IndexSpec]) -> Iterator[list[IndexSpec]]:
    """Group specs by table; two tables of one name cannot be cloned in the same batch."""
    batch: list[IndexSpec] = []
    schema_of: dict[str, str] = {}
    for spec in sorted(specs, key=lambda item: (item.schema, item.table)):
        if len(batch) >= _BATCH or schema_of.get(spec.table, spec.schema) != spec.schema:
            yield batch
            batch, schema_of = [], {}
        batch.append(spec)
        schema_of[spec.table] = spec.schema
    if batch:
        yield batch


def _probe(
    connection: Any,
    version: int,
    session_path: str,
    batch: list[IndexSpec],
    tables: dict[tuple[str, str], Table],
) -> dict[str, Probe]:
    try:
        return _probe_together(connection, version, session_path, batch, tables)
    except psycopg.Error as error:
        if connection.broken:
            raise
        if len(batch) > 1:
            found: dict[str, Probe] = {}
            for spec in batch:
                found.update(_probe(connection, version, session_path, [spec], tables))
            return found
        return {batch[0].label: _failure(batch[0], error)}


def _probe_together(
    connection: Any,
    version: int,
    session_path: str,
    batch: list[IndexSpec],
    tables: dict[tuple[str, str], Table],
) -> dict[str, Probe]:
    with connection.transaction(force_rollback=True):
        connection.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
        connection.execute("SET LOCAL client_min_messages = error")
        schema, cloned = None, set()
        for number, spec in enumerate(batch):
            if spec.schema != schema:
                schema = spec.schema
                set_search_path(connection, parse_path(schema, session_path), local=True)
            clone = f"pg_temp.{ident(spec.table)}"
            if spec.table not in cloned:
                cloned.add(spec.table)
                key = tables[spec.schema, spec.table].partition_key
                connection.execute(
                    f"CREATE TEMP TABLE {ident(spec.table)} (LIKE {qualified(spec.schema, spec.table)} "
                    f"INCLUDING GENERATED) {f'PARTITION BY {key} ' if key else ''}ON COMMIT DROP",
                    binary=True,
                )
            # binary=True makes psycopg use the extended protocol, in which a second statement is an error.
            connection.execute(spec.create_sql(_name(number), on=clone, concurrently=False), binary=True)
        # A temporary table comes before the catalog, so a clone of a table named pg_class would hide it.
        set_search_path(connection, "pg_catalog, pg_temp", local=True)
        rows = connection.execute(
            "SELECT array_agg(oid::bigint) AS oids FROM pg_class WHERE relnamespace = pg_my_temp_schema() "
            "AND relname = ANY(%s)",
            [[_name(number) for number in range(len(batch))]],
        ).fetchone()
        clones = {index.name: index for index in read_indexes(connection, version, indexes=rows["oids"])}
    return {spec.label: _known(clones[_name(number)]) for number, spec in enumerate(batch)}


def _name(number: int) -> str:
    return f"slipway_probe_{number}"


def _known(index: Index) -> Probe:
    return Probe(index.signature, plain=index.plain, expressions=index.expressions, nullable=index.nullable)


def _failure(spec: IndexSpec, error: Any) -> Probe:
    code = error.sqlstate or ""
    text = describe(error)
    if code == "42501" and "temporary" in text:
        return Probe(unknown=f"{text}: GRANT TEMPORARY ON DATABASE to this role, the comparison needs it")
    if code == "42501" or code[:2] not in _VERDICTS:
        return Probe(unknown=text)
    if code in _ROW_TYPE_MISSED and _names_table(spec):
        # What takes the table's own row type, f(orders) or orders.f, is not found for the clone's.
        return Probe(
            unknown=f"it refers to {spec.table} by name, which a copy of the table cannot stand in for ({text})"
        )
    if code == "42601":
        if "multiple commands" in text:
            text = "several statements where one index definition is expected"
        elif any(not _is_simple(column) for column in spec.columns):
            text += (
                ' (an expression other than a plain function call needs its own brackets: "(data ->> '
                "'key')\")"
            )
    elif code == "42703":
        written = {
            value
            for part in (*spec.columns, spec.where or "")
            for kind, value in tokens(part)
            if kind == "word"
        }
        folded = sorted(word for word in written if word != word.lower() and f'"{word.lower()}"' in text)
        if folded:
            text += f" (a name with capitals needs double quotes: '\"{folded[0]}\"')"
    return Probe(error=f"PostgreSQL refuses the declaration: {text}")


def _names_table(spec: IndexSpec) -> bool:
    """True when the declaration names its own table, as in f(orders.*) or public.orders.id."""
    written = {token for part in (*spec.columns, spec.where or "") for token in tokens(part)}
    return ("quoted", ident(spec.table)) in written or any(
        kind == "word" and value.lower() == spec.table for kind, value in written
    )


def _is_simple(column: str) -> bool:
    return column.replace("_", "").replace(" ", "").replace('"', "").isalnum()
