"""Any index that can be declared: built, found equal, left alone; and told from every other one.

The judge is PostgreSQL: two declarations are the same when it writes the two built indexes the same way.
"""

from __future__ import annotations

import re
from typing import Any

import pytest
from ansible.module_utils.slipway.indexes.spec import parse
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

KEYS = [
    "id",
    '"mixedCase"',
    "word",
    "word text_pattern_ops",
    'word COLLATE "C"',
    "lower(word)",
    "upper(word)",
    "(id + small)",
    "(small + id)",
    "((data ->> 'k'))",
    "((data ->> 'k')::int)",
    "at",
    "(at AT TIME ZONE 'UTC')",
    "flag",
    "price",
    "coalesce(word, 'none')",
    "(flag IS NULL)",
]
ORDERS = ["", " ASC", " DESC", " NULLS FIRST", " DESC NULLS LAST", " DESC NULLS FIRST", " ASC NULLS LAST"]
CONDITIONS = [
    "flag",
    "NOT flag",
    "flag = true",
    "word = 'x'",
    "word <> 'x'",
    "word != 'x'",
    "word IN ('x', 'y')",
    "word = ANY (ARRAY['x', 'y'])",
    "word IN ('y', 'x')",
    "price > 5",
    "price BETWEEN 1 AND 5",
    "at > '2024-01-01 00:00:00+00'",
    "word IS NOT NULL",
    "word LIKE 'a%'",
    "data ? 'k'",
    "(flag OR price > 5)",
]
SPECIAL: list[dict[str, Any]] = [
    {"method": "hash", "columns": ["word"]},
    {"method": "gin", "columns": ["data"]},
    {"method": "gin", "columns": ["data jsonb_path_ops"]},
    {"method": "gin", "columns": ["word gin_trgm_ops"], "with": {"fastupdate": False}},
    {"method": "gist", "columns": ["word gist_trgm_ops (siglen = 32)"]},
    {"method": "gist", "columns": ["word gist_trgm_ops"]},
    {"method": "brin", "columns": ["at"], "with": {"pages_per_range": 16}},
    {"method": "brin", "columns": ["at"]},
    {"method": "hnsw", "columns": ["emb vector_cosine_ops"], "with": {"m": 8}},
    {"method": "hnsw", "columns": ["emb vector_l2_ops"]},
    {"method": "ivfflat", "columns": ["emb vector_ip_ops"], "with": {"lists": 5}},
]

btree = st.fixed_dictionaries(
    {
        "columns": st.lists(
            st.tuples(st.sampled_from(KEYS), st.sampled_from(ORDERS)).map("".join), min_size=1, max_size=3
        ),
    },
    optional={
        "unique": st.booleans(),
        "include": st.lists(st.sampled_from(["small", "price", "mixedCase"]), max_size=2, unique=True),
        "where": st.lists(st.sampled_from(CONDITIONS), min_size=1, max_size=3).map(" AND ".join),
        "with": st.sampled_from([{}, {"fillfactor": 70}, {"deduplicate_items": False, "fillfactor": 80}]),
    },
)
declaration = st.one_of(btree, btree, btree, st.sampled_from(SPECIAL))


@pytest.fixture
def table(db: Any) -> Any:
    db.sql(
        'CREATE TABLE "Mixed" (id int, "mixedCase" int, word text, small smallint, data jsonb, '
        "at timestamptz, flag boolean, price numeric, emb vector(4))"
    )
    return db


def written(db: Any) -> str:
    """Return the index as PostgreSQL writes it, with what means the same in any order in one order."""
    text = str(db.state("i")["def"])
    head, _, where = text.partition(" WHERE ")
    head = re.sub(
        r" WITH \((.*)\)$", lambda found: " WITH " + ",".join(sorted(found.group(1).split(", "))), head
    )
    return head + " WHERE " + " AND ".join(sorted(re.split(r" AND (?=\()", where.strip("()"))))


def create(db: Any, body: dict[str, Any]) -> None:
    """Create the index as a person would, without the module that is to judge it."""
    db.sql(
        "DROP INDEX IF EXISTS i",
        parse({"name": "i", "table": "Mixed", **body}).create_sql(concurrently=False),
    )


calm = settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)


@calm
@given(body=declaration)
def test_created_found_equal_and_unchanged(table: Any, body: dict[str, Any]) -> None:
    table.sql("DROP INDEX IF EXISTS i")
    index = {"name": "i", "table": "Mixed", **body}
    first = table.one(index)
    assert (first["state"], first["action"]) == ("valid", "created"), (index, first["reason"])
    oid = table.state("i")["oid"]
    second = table.one(index)
    assert (second["state"], second["action"]) == ("valid", "none"), (index, second["reason"])
    assert not second["result"]["changed"]
    assert table.state("i")["oid"] == oid


@calm
@given(one=declaration, other=declaration)
def test_equal_exactly_when_postgresql_says_so(
    table: Any, one: dict[str, Any], other: dict[str, Any]
) -> None:
    assume(one != other)
    texts = []
    for body in (one, other):
        create(table, body)
        texts.append(written(table))
    state = table.one({"name": "i", "table": "Mixed", **one}, on_drift="report")["state"]
    assert state == ("valid" if texts[0] == texts[1] else "drifted"), (one, other, texts)


@calm
@given(body=btree)
def test_the_order_of_conditions_and_parameters_means_nothing(table: Any, body: dict[str, Any]) -> None:
    create(table, body)
    turned = {**body, "with": dict(reversed(list((body.get("with") or {}).items())))}
    if body.get("where"):
        turned["where"] = " AND ".join(reversed(re.split(r" AND (?!5)", body["where"])))
    assert table.one({"name": "i", "table": "Mixed", **turned}, on_drift="report")["state"] == "valid", (
        body,
        turned,
    )
