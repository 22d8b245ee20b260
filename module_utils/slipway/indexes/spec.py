# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""One declared index: reading it, refusing what makes no sense, and writing it as SQL."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from ..postgres.sql import NAME_BYTES, Refused, digest, fragment_problem, ident, qualified

KEYS = {
    "name",
    "schema",
    "table",
    "columns",
    "unique",
    "method",
    "include",
    "where",
    "with",
    "tablespace",
    "nulls_distinct",
    "tier",
    "state",
}
_BOOLEAN_STORAGE = {"fastupdate", "deduplicate_items", "autosummarize"}
# What PostgreSQL and pgvector use when the parameter is left out: saying it is the same as not saying it.
_STORAGE_DEFAULTS = {
    "btree": {"fillfactor": "90", "deduplicate_items": "on"},
    "hash": {"fillfactor": "75"},
    "gist": {"fillfactor": "90", "buffering": "auto"},
    "spgist": {"fillfactor": "80"},
    "gin": {"fastupdate": "on"},
    "brin": {"pages_per_range": "128", "autosummarize": "off"},
    "hnsw": {"m": "16", "ef_construction": "64"},
    "ivfflat": {"lists": "100"},
}
_TRUE, _FALSE = {"on", "true", "yes", "1"}, {"off", "false", "no", "0"}


def storage_value(key: str, value: Any) -> str:
    """Return a storage parameter's value in the form it is compared in ('on' and 'true' are one)."""
    if isinstance(value, bool):
        return "on" if value else "off"
    text = str(value)
    if key in _BOOLEAN_STORAGE:
        if text.lower() in _TRUE:
            return "on"
        if text.lower() in _FALSE:
            return "off"
    return text


def storage_set(method: str, pairs: dict[str, str]) -> frozenset[tuple[str, str]]:
    """Return storage parameters as a set without those that only repeat the default of `method`."""
    defaults = _STORAGE_DEFAULTS.get(method, {})
    normal = {key: storage_value(key, value) for key, value in pairs.items()}
    return frozenset(item for item in normal.items() if defaults.get(item[0]) != item[1])


@dataclass(frozen=True)
class IndexSpec:
    """A declared index.

    `columns` are SQL index elements, `include` are column names, `where` is a predicate.
    """

    name: str
    schema: str
    table: str
    columns: tuple[str, ...] = ()
    unique: bool = False
    method: str = "btree"
    include: tuple[str, ...] = ()
    where: str | None = None
    storage: tuple[tuple[str, str], ...] = ()
    tablespace: str | None = None
    nulls_distinct: bool = True
    tier: int = 1
    state: str = "present"
    # Where the index is now. It stays there when no tablespace is declared, and is no part of what is.
    kept_tablespace: str | None = None

    @property
    def label(self) -> str:
        """schema.name, for people."""
        return f"{self.schema}.{self.name}"

    @property
    def hash(self) -> str:
        """Eight digits that change with the definition: names of work in progress carry them."""
        return digest(f"{self.label} {self.table} {self.unique} {self._tail(self.tablespace)}")

    def _tail(self, tablespace: str | None) -> str:
        """Return everything of CREATE INDEX that follows the table's name."""
        parts = [f"USING {ident(self.method)} ({', '.join(self.columns)})"]
        if self.include:
            parts.append(f"INCLUDE ({', '.join(ident(column) for column in self.include)})")
        if not self.nulls_distinct:
            parts.append("NULLS NOT DISTINCT")
        if self.storage:
            parts.append("WITH (" + ", ".join(f"{key} = {value}" for key, value in self.storage) + ")")
        if tablespace:
            parts.append(f"TABLESPACE {ident(tablespace)}")
        if self.where:
            parts.append(f"WHERE ({self.where})")
        return " ".join(parts)

    def create_sql(
        self, name: str | None = None, on: str | None = None, concurrently: bool = True, only: bool = False
    ) -> str:
        """Return the CREATE INDEX statement; `on` is the quoted table when it is not the declared one."""
        return (
            f"CREATE {'UNIQUE ' if self.unique else ''}INDEX {'CONCURRENTLY ' if concurrently else ''}"
            f"{ident(name or self.name)} ON "
            f"{'ONLY ' if only else ''}{on or qualified(self.schema, self.table)} "
            f"{self._tail(self.tablespace or self.kept_tablespace)}"
        )


def _text_list(raw: dict[str, Any], key: str, problems: list[str]) -> list[str]:
    value = raw.get(key)
    if value is None:
        return []
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, (list, tuple)) or not all(isinstance(item, (str, int)) for item in value):
        problems.append(f"{key} must be a list of strings, not {value!r}")
        return []
    return [str(item) for item in value]


def _flag(raw: dict[str, Any], key: str, default: bool, problems: list[str]) -> bool:
    value = raw.get(key)
    if value is None:
        return default
    if isinstance(value, bool):
        return value
    text = str(value).lower()
    if text not in _TRUE | _FALSE:
        problems.append(f"{key} must be true or false, not {value!r}")
    return text in _TRUE


def _name_problems(what: str, value: Any) -> list[str]:
    if not isinstance(value, str) or not value:
        return [f"{what} is missing"]
    if len(value.encode()) > NAME_BYTES:
        return [
            f"{what} {value!r} is {len(value.encode())} bytes long; PostgreSQL cuts names after "
            f"{NAME_BYTES} bytes, "
            "so it would be stored under another name: choose a shorter one"
        ]
    if "\0" in value:
        return [f"{what} contains a NUL character"]
    if len(value) > 1 and value[0] == value[-1] == '"':
        return [
            f"{what} is quoted: write {value[1:-1]} without the double quotes, they are added where needed"
        ]
    return []


def _storage(raw: dict[str, Any], problems: list[str]) -> tuple[tuple[str, str], ...]:
    given = raw.get("with") or {}
    if not isinstance(given, dict):
        problems.append(f"with must be a dictionary of storage parameters, not {given!r}")
        return ()
    pairs = []
    for key, value in given.items():
        text = storage_value(str(key).lower(), value)
        if not re.fullmatch(r"[a-z_][a-z0-9_.]*", str(key).lower()) or not re.fullmatch(r"[\w.+-]+", text):
            problems.append(f"with: {key!r}: {value!r} is not a storage parameter and a plain value")
        pairs.append((str(key).lower(), text))
    return tuple(sorted(pairs))


def parse(raw: dict[str, Any]) -> IndexSpec:
    """Return the IndexSpec that `raw` declares. Raises Refused naming everything that is wrong with it."""
    problems: list[str] = []
    for key in sorted(set(raw) - KEYS):
        problems.append(f"unknown key {key!r} (known: {', '.join(sorted(KEYS))})")
    schema = "public" if raw.get("schema") is None else raw["schema"]
    state = raw.get("state") or "present"
    problems += _name_problems("name", raw.get("name")) + _name_problems("schema", schema)
    if state not in ("present", "absent"):
        problems.append(f"state must be present or absent, not {state!r}")
    if state != "absent" or raw.get("table") is not None:
        problems += _name_problems("table", raw.get("table"))
    columns = _text_list(raw, "columns", problems)
    if not columns and state == "present":
        problems.append("columns is missing: list the columns or expressions of the index")
    for column in columns:
        problem = fragment_problem(column, commas=False)
        if problem:
            problems.append(f"column {column!r} {problem}")
    include = []
    for column in _text_list(raw, "include", problems):
        # The element can only be a column's name, so both spellings of a quoted one are clear.
        bare = (
            column[1:-1].replace('""', '"') if len(column) > 2 and column[0] == column[-1] == '"' else column
        )
        problems += _name_problems("include column", bare)
        include.append(bare)
    where = raw.get("where")
    if where is not None:
        problem = fragment_problem(str(where)) if isinstance(where, str) else "is not a string"
        if problem:
            problems.append(f"where {where!r} {problem}")
    method = str(raw.get("method") or "btree").lower()
    if not re.fullmatch(r"[a-z_][a-z0-9_]*", method):
        problems.append(f"method {method!r} is not the name of an access method")
    tablespace = raw.get("tablespace") or None
    if tablespace is not None:
        problems += _name_problems("tablespace", tablespace)
    try:
        tier = int(raw.get("tier") if raw.get("tier") is not None else 1)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        tier = 0
    if tier < 1:
        problems.append(f"tier must be a whole number from 1, not {raw.get('tier')!r}")
    unique = _flag(raw, "unique", False, problems)
    nulls_distinct = _flag(raw, "nulls_distinct", True, problems)
    if not nulls_distinct and not unique:
        problems.append("nulls_distinct: false means something for a unique index only: add unique: true")
    storage = _storage(raw, problems)
    if problems:
        raise Refused(f"index {raw.get('name') or '(no name)'}: " + "; ".join(problems))
    return IndexSpec(
        name=raw["name"],
        schema=schema,
        table=raw.get("table") or "",
        columns=tuple(columns),
        unique=unique,
        method=method,
        include=tuple(include),
        where=where,
        storage=storage,
        tablespace=tablespace,
        nulls_distinct=nulls_distinct,
        tier=tier,
        state=state,
    )


def parse_all(raws: list[dict[str, Any]], tiers: list[int] | None = None) -> list[IndexSpec]:
    """Return the declared indexes, only those of `tiers` when given. The whole list is checked whatever the
    tier.

    Raises Refused with every problem of every index, and when two entries declare the same index.
    """
    problems, specs, seen = [], [], set()
    for raw in raws:
        try:
            spec = parse(raw)
        except Refused as error:
            problems.append(str(error))
            continue
        if spec.label in seen:
            problems.append(f"index {spec.label} is declared twice: keep one of the two")
        seen.add(spec.label)
        specs.append(spec)
    if problems:
        raise Refused("; ".join(problems))
    return [spec for spec in specs if tiers is None or spec.tier in tiers]
