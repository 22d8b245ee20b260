"""Reading declarations: what they become, and every mistake by its name."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.module_utils.slipway.indexes.spec import parse, parse_all, storage_set
from ansible.module_utils.slipway.postgres.sql import Refused

BASE: dict[str, Any] = {"name": "i", "table": "Order", "columns": ["a"]}


def test_the_statement() -> None:
    spec = parse(
        {
            **BASE,
            "schema": "app",
            "columns": ['"branchId"', "lower(email) DESC"],
            "unique": True,
            "include": ['"x"', "Y z"],
            "nulls_distinct": False,
            "with": {"fillfactor": 70, "deduplicate_items": False},
            "tablespace": "fast",
            "where": "a > 5",
        }
    )
    assert spec.create_sql() == (
        'CREATE UNIQUE INDEX CONCURRENTLY "i" ON "app"."Order" USING "btree" ("branchId", lower(email) DESC) '
        'INCLUDE ("x", "Y z") NULLS NOT DISTINCT WITH (deduplicate_items = off, fillfactor = 70) '
        'TABLESPACE "fast" WHERE (a > 5)'
    )


def test_defaults() -> None:
    spec = parse(BASE)
    assert (spec.schema, spec.method, spec.unique, spec.tier, spec.state, spec.nulls_distinct) == (
        "public",
        "btree",
        False,
        1,
        "present",
        True,
    )
    assert (
        spec.create_sql(concurrently=False, only=True)
        == 'CREATE INDEX "i" ON ONLY "public"."Order" USING "btree" (a)'
    )


MISTAKES = [
    ({"colums": ["a"]}, "unknown key 'colums'"),
    ({"columns": []}, "columns is missing"),
    ({"columns": None}, "columns is missing"),
    ({"columns": {"a": 1}}, "must be a list"),
    ({"columns": ["a, b"]}, "own list element"),
    ({"columns": ["a; b"]}, "';'"),
    ({"name": ""}, "name is missing"),
    ({"name": "x" * 64}, "64 bytes"),
    ({"name": "é" * 32}, "64 bytes"),
    ({"name": '"i"'}, "without the double quotes"),
    ({"table": '"Order"'}, "write Order without"),
    ({"table": None}, "table is missing"),
    ({"schema": "s" * 70}, "schema"),
    ({"where": "a = 'x"}, "never ends"),
    ({"where": ""}, "empty"),
    ({"where": True}, "not a string"),
    ({"method": "b-tree"}, "access method"),
    ({"with": {"m": "16)"}}, "storage parameter"),
    ({"with": {"m; x": 16}}, "storage parameter"),
    ({"with": ["m"]}, "dictionary"),
    ({"tier": 0}, "whole number"),
    ({"tier": "soon"}, "whole number"),
    ({"state": "gone"}, "present or absent"),
    ({"unique": "maybe"}, "true or false"),
    ({"nulls_distinct": False}, "unique index only"),
    ({"include": ["x" * 70]}, "include column"),
]


@pytest.mark.parametrize(("change", "word"), MISTAKES, ids=[str(change) for change, _word in MISTAKES])
def test_each_mistake_is_named(change: dict[str, Any], word: str) -> None:
    with pytest.raises(Refused, match=r"^index ") as error:
        parse({**BASE, **change})
    assert word in str(error.value)


def test_all_mistakes_of_a_list_are_named_at_once() -> None:
    with pytest.raises(Refused) as error:
        parse_all(
            [
                {**BASE, "tier": 0},
                {**BASE, "name": "j", "columns": ["a", "b;"]},
                {**BASE, "name": "k"},
                {**BASE, "name": "k"},
            ]
        )
    assert all(word in str(error.value) for word in ("tier", "index j", "public.k is declared twice"))


def test_tiers_are_chosen_after_everything_was_checked() -> None:
    specs = [BASE, {**BASE, "name": "j", "tier": 2}]
    assert [spec.name for spec in parse_all(specs, [2])] == ["j"]
    assert [spec.name for spec in parse_all(specs)] == ["i", "j"]
    with pytest.raises(Refused):
        parse_all([BASE, {**BASE, "name": "j", "tier": 2, "columns": []}], [1])


def test_the_same_name_in_two_schemas_is_two_indexes() -> None:
    assert len(parse_all([BASE, {**BASE, "schema": "other"}])) == 2


def test_an_absent_index_needs_no_table() -> None:
    assert parse({"name": "i", "state": "absent"}).state == "absent"


def test_storage_is_compared_by_meaning() -> None:
    assert storage_set("gin", {"fastupdate": "false"}) == storage_set("gin", {"fastupdate": "off"})
    assert storage_set("gin", {"fastupdate": "on"}) == storage_set("gin", {})
    assert storage_set("hnsw", {"m": "16", "ef_construction": "64"}) == frozenset()
    assert storage_set("hnsw", {"m": "24"}) == {("m", "24")}
    assert storage_set("btree", {"fillfactor": "90"}) == frozenset()
    assert storage_set("hash", {"fillfactor": "90"}) == {("fillfactor", "90")}


def test_the_hash_changes_with_the_definition() -> None:
    others = [
        {"unique": True},
        {"columns": ["b"]},
        {"where": "x"},
        {"table": "t"},
        {"schema": "s"},
        {"with": {"fillfactor": 70}},
    ]
    hashes = {parse({**BASE, **other}).hash for other in [{}, *others]}
    assert len(hashes) == len(others) + 1
