"""Every form of index: built, found equal by the next run, and a real difference is seen."""

from __future__ import annotations

from typing import Any

import pytest

SCHEMA = """
CREATE SCHEMA app;
CREATE TYPE app.status AS ENUM ('new', 'paid', 'closed');
CREATE FUNCTION app.norm(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT lower($1)';
CREATE TABLE app."Order" (
  id bigserial PRIMARY KEY, gone int, "branchId" int, status app.status, email varchar(200),
  name text COLLATE "C",
  data jsonb, at timestamptz, active boolean, price numeric(12, 2), place point, tags text[], emb vector(8),
  small smallint,
  total numeric GENERATED ALWAYS AS (price * 2) STORED, ip inet
);
ALTER TABLE app."Order" DROP COLUMN gone;
INSERT INTO app."Order" ("branchId", status, email, name, data, at, active, price, place, tags, emb, small)
SELECT g, (ARRAY['new', 'paid', 'closed'])[1 + g % 3]::app.status, 'u' || g || '@example.com', 'name ' || g,
       jsonb_build_object('k', g, 'n', jsonb_build_object('x', g)), now() - g * interval '1 h', g % 2 = 0, g,
       point(g, g), ARRAY['t' || g], ('[' || g || ',1,2,3,4,5,6,7]')::vector, g % 100
FROM generate_series(1, 300) g;
"""

FORMS: dict[str, dict[str, Any]] = {
    "plain": {"columns": ['"branchId"']},
    "several": {"columns": ['"branchId"', "status", "at DESC"]},
    "nulls": {"columns": ["at DESC NULLS LAST", "email ASC NULLS FIRST"]},
    "explicit default nulls": {"columns": ["at DESC NULLS FIRST", "email NULLS LAST"]},
    "partial enum": {"columns": ["at"], "where": "status = 'closed'"},
    "partial in": {"columns": ["at"], "where": "status IN ('new', 'paid')"},
    "partial not equal": {"columns": ["at"], "where": "email != 'x'"},
    "partial varchar": {"columns": ["at"], "where": "email = 'x'"},
    "partial timestamp": {"columns": ["email"], "where": "at > '2020-01-01 00:00:00+00'"},
    "partial boolean": {"columns": ["at"], "where": "active = true"},
    "partial bare boolean": {"columns": ["at"], "where": "active"},
    "partial two conditions": {"columns": ["at"], "where": "active AND price > 5 AND email IS NOT NULL"},
    "partial or": {"columns": ["at"], "where": "active OR price > 5"},
    "partial between": {"columns": ["at"], "where": "price BETWEEN 1 AND 5"},
    "partial like": {"columns": ["at"], "where": "email LIKE 'a%' AND name ~ 'AND'"},
    "include": {"columns": ['"branchId"'], "include": ["price", "active"]},
    "unique": {"columns": ["email"], "unique": True},
    "unique nulls not distinct": {"columns": ["email"], "unique": True, "nulls_distinct": False},
    "function": {"columns": ["lower(email)"]},
    "own function": {"columns": ["norm(email)"]},
    "json operator": {"columns": ["(data ->> 'k')"]},
    "json path operator": {"columns": ["(data #>> '{n,x}')", "(data -> 'n')"]},
    "cast": {"columns": ["((data ->> 'k')::int)"]},
    "time zone": {"columns": ["(at AT TIME ZONE 'UTC')"]},
    "arithmetic": {"columns": ["(price + 1) DESC"]},
    "case": {"columns": ["(CASE WHEN active THEN 1 ELSE 2 END)"]},
    "collation": {"columns": ['email COLLATE "C"']},
    "collation of the column": {"columns": ['name COLLATE "C"']},
    "opclass": {"columns": ["email varchar_pattern_ops"]},
    "default opclass": {"columns": ["name text_ops"]},
    "fillfactor": {"columns": ["at"], "with": {"fillfactor": 70, "deduplicate_items": False}},
    "fillfactor by default": {"columns": ["at"], "with": {"fillfactor": 90}},
    "hash": {"columns": ["email"], "method": "hash"},
    "gin array": {"columns": ["tags"], "method": "gin", "with": {"fastupdate": "off"}},
    "gin jsonb": {"columns": ["data jsonb_path_ops"], "method": "gin"},
    "gin trigram": {"columns": ["email gin_trgm_ops"], "method": "gin"},
    "gist": {"columns": ["place"], "method": "gist"},
    "gist opclass parameter": {"columns": ["email gist_trgm_ops (siglen = 32)"], "method": "gist"},
    "spgist": {"columns": ["place"], "method": "spgist"},
    "brin": {"columns": ["at"], "method": "brin", "with": {"pages_per_range": 32, "autosummarize": True}},
    "hnsw": {
        "columns": ["emb vector_cosine_ops"],
        "method": "hnsw",
        "with": {"m": 16, "ef_construction": 64},
    },
    "hnsw other parameters": {
        "columns": ["emb vector_l2_ops"],
        "method": "hnsw",
        "with": {"ef_construction": 32, "m": 8},
    },
    "hnsw half": {"columns": ["(emb::halfvec(8)) halfvec_l2_ops"], "method": "hnsw"},
    "ivfflat": {"columns": ["emb vector_ip_ops"], "method": "ivfflat", "with": {"lists": 10}},
    "generated column": {"columns": ["total"]},
    "whole qualified": {"columns": ["at"], "where": '"Order".active'},
    "quoted name": {"name": 'Idx "Quoted" Ünï', "columns": ["at"]},
    "percent sign": {"name": "idx_100%", "columns": ["at"], "where": "name LIKE '%x%'"},
    "primary-like": {"columns": ["id"]},
}


def declared() -> list[dict[str, Any]]:
    return [
        {"name": f"idx_{form.replace(' ', '_')}", "schema": "app", "table": "Order", **body}
        for form, body in FORMS.items()
    ]


@pytest.fixture
def orders(db: Any) -> Any:
    db.sql(SCHEMA)
    return db


def test_every_form_is_built_found_equal_and_left_alone(orders: Any) -> None:
    first = orders.apply(declared(), adopt=False)
    assert {item["name"]: item["reason"] for item in first["failed_indexes"]} == {}
    assert {item["action"] for item in first["indexes"]} == {"created"}
    assert {item["state"] for item in first["indexes"]} == {"valid"}
    before = orders.sql("SELECT indexrelid FROM pg_index ORDER BY 1")
    second = orders.apply(declared(), adopt=False)
    assert {item["name"]: item["differences"] for item in second["indexes"] if item["state"] != "valid"} == {}
    assert not second["changed"]
    assert orders.sql("SELECT indexrelid FROM pg_index ORDER BY 1") == before


# The same index, as somebody wrote it by hand in psql.
BY_HAND = [
    (
        "(\"branchId\", status, at DESC) WHERE status = 'closed'",
        {"columns": ['"branchId"', "status", "at DESC"], "where": "status='closed'"},
    ),
    (
        "(at) WHERE status IN ('new','paid')",
        {"columns": ["at"], "where": "status = ANY (ARRAY['new', 'paid']::app.status[])"},
    ),
    ("(at) WHERE active AND price > 5", {"columns": ["at"], "where": "price > 5 AND active"}),
    (
        "(at) WHERE (active AND price > 5) AND id > 3",
        {"columns": ["at"], "where": "id > 3 AND active AND price > 5"},
    ),
    (
        'USING btree (lower((email)::text) COLLATE "default" text_ops ASC NULLS LAST)',
        {"columns": ["lower(email)"]},
    ),
    (
        "(at) WITH (deduplicate_items=off, fillfactor=70)",
        {"columns": ["at"], "with": {"fillfactor": "70", "deduplicate_items": "FALSE"}},
    ),
    (
        "USING gin (tags) WITH (fastupdate=false)",
        {"columns": ["tags"], "method": "gin", "with": {"fastupdate": False}},
    ),
    (
        "USING hnsw (emb vector_cosine_ops)",
        {"columns": ["emb vector_cosine_ops"], "method": "hnsw", "with": {"m": 16, "ef_construction": 64}},
    ),
    ('(at) INCLUDE ("branchId")', {"columns": ["at"], "include": ['"branchId"']}),
    ("(app.norm(email))", {"columns": ["norm(email)"]}),
    ("(at) WHERE email <> 'x'", {"columns": ["at"], "where": "email != 'x'"}),
]


def test_no_difference_where_there_is_none(orders: Any) -> None:
    indexes = []
    for number, (tail, body) in enumerate(BY_HAND):
        orders.sql(f'CREATE INDEX hand_{number} ON app."Order" {tail}')
        indexes.append({"name": f"hand_{number}", "schema": "app", "table": "Order", **body})
    result = orders.apply(indexes, adopt=False)
    assert {item["name"]: item["differences"] for item in result["indexes"] if item["state"] != "valid"} == {}
    assert not result["changed"]


# What is there, what is declared, and a word of the difference.
DRIFT = [
    ("(at)", {"columns": ["at DESC"]}, "column 1"),
    ("(at)", {"columns": ["at NULLS FIRST"]}, "NULLS FIRST"),
    ("(at)", {"columns": ["at", "id"]}, "columns"),
    ("(at, id)", {"columns": ["id", "at"]}, "column 1"),
    ("(email)", {"columns": ["email varchar_pattern_ops"]}, "pattern_ops"),
    ("(email)", {"columns": ['email COLLATE "C"']}, "COLLATE"),
    ("(email)", {"columns": ["email"], "unique": True}, "unique"),
    ("(email)", {"columns": ["email"], "method": "hash"}, "method"),
    ("(at) WHERE active", {"columns": ["at"]}, "predicate"),
    ("(at) WHERE active", {"columns": ["at"], "where": "NOT active"}, "predicate"),
    ("(at) WHERE active OR price > 5", {"columns": ["at"], "where": "active AND price > 5"}, "predicate"),
    (
        "(at) WHERE status IN ('new', 'paid')",
        {"columns": ["at"], "where": "status IN ('new', 'closed')"},
        "predicate",
    ),
    ("(at) INCLUDE (price)", {"columns": ["at"]}, "include"),
    ("(at) INCLUDE (price)", {"columns": ["at", "price"]}, "columns"),
    ("(lower(email))", {"columns": ["upper(email)"]}, "upper"),
    ("(at) WITH (fillfactor=70)", {"columns": ["at"]}, "storage"),
    ("(at)", {"columns": ["at"], "with": {"fillfactor": 80}}, "storage"),
    (
        "USING hnsw (emb vector_cosine_ops)",
        {"columns": ["emb vector_cosine_ops"], "method": "hnsw", "with": {"m": 24}},
        "storage",
    ),
    (
        "USING hnsw (emb vector_cosine_ops)",
        {"columns": ["emb vector_l2_ops"], "method": "hnsw"},
        "vector_l2_ops",
    ),
    (
        "USING gist (email gist_trgm_ops (siglen=32))",
        {"columns": ["email gist_trgm_ops (siglen=64)"], "method": "gist"},
        "siglen",
    ),
    ("(public.norm(email))", {"columns": ["norm(email)"]}, "norm"),
]


def test_every_difference_is_seen(orders: Any) -> None:
    orders.sql("CREATE FUNCTION public.norm(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT upper($1)'")
    indexes = []
    for number, (tail, body, _word) in enumerate(DRIFT):
        orders.sql(f'CREATE INDEX drift_{number} ON app."Order" {tail}')
        indexes.append({"name": f"drift_{number}", "schema": "app", "table": "Order", **body})
    result = orders.apply(indexes, on_drift="report")
    for item, (tail, body, word) in zip(result["indexes"], DRIFT):
        assert (item["state"], item["action"]) == ("drifted", "reported"), (tail, body)
        assert word in item["reason"], (tail, body, item["reason"])
    assert not result["changed"]


def test_nulls_not_distinct_is_a_difference(orders: Any) -> None:
    orders.sql('CREATE UNIQUE INDEX u ON app."Order" (email) NULLS NOT DISTINCT')
    item = orders.one(
        {"name": "u", "schema": "app", "table": "Order", "columns": ["email"], "unique": True},
        on_drift="report",
    )
    assert (item["state"], "nulls_not_distinct" in item["reason"]) == ("drifted", True)


def test_after_the_type_of_a_column_changed(orders: Any) -> None:
    index = {
        "name": "i",
        "schema": "app",
        "table": "Order",
        "columns": ["lower(email)", "small"],
        "where": "email = 'x'",
    }
    orders.apply([index])
    orders.sql('ALTER TABLE app."Order" ALTER email TYPE text, ALTER small TYPE bigint')
    assert orders.one(index)["state"] == "valid"


def test_materialised_view(db: Any) -> None:
    db.sql("CREATE MATERIALIZED VIEW v AS SELECT g AS x, g::text AS y FROM generate_series(1, 100) g")
    index = {"name": "v_x", "table": "v", "columns": ["x"], "unique": True}
    assert db.one(index)["action"] == "created"
    assert db.one(index)["state"] == "valid"
    db.sql("REFRESH MATERIALIZED VIEW CONCURRENTLY v")


def test_explicit_tablespace_is_compared_and_built(orders: Any) -> None:
    orders.sql('CREATE INDEX s ON app."Order" (at)')
    index = {"name": "s", "schema": "app", "table": "Order", "columns": ["at"], "tablespace": "pg_default"}
    assert orders.one(index)["state"] == "valid"
    item = orders.one({**index, "tablespace": "no_such"})
    assert item["result"]["failed_indexes"] and 'tablespace "no_such" does not exist' in item["reason"]


REFUSED = [
    ({"columns": ["nope"]}, 'column "nope" does not exist'),
    ({"columns": ["branchId"]}, "branchId"),
    ({"columns": ["data ->> 'k'"]}, "brackets"),
    ({"columns": ["(now())"]}, "IMMUTABLE"),
    ({"columns": ["at"], "where": "at > now()"}, "IMMUTABLE"),
    ({"columns": ["email vector_l2_ops"]}, "vector_l2_ops"),
    ({"columns": ["at"], "with": {"fillfactor": 5}}, "fillfactor"),
    ({"columns": ["at"], "where": "id IN (SELECT 1)"}, "subquer"),
    ({"columns": ["at"], "method": "btrie"}, "btrie"),
]


@pytest.mark.parametrize(("body", "word"), REFUSED, ids=[word for _body, word in REFUSED])
def test_what_can_never_be_built_is_refused_before_anything_is_touched(
    orders: Any, body: dict[str, Any], word: str
) -> None:
    item = orders.one({"name": "r", "schema": "app", "table": "Order", **body})
    assert item["result"]["failed_indexes"] and word in item["reason"]
    assert orders.state("r", "app") is None


WHOLE_ROW = [
    {"columns": ["(t IS NOT NULL)"]},
    {"columns": ["hash_record(t.*)", "(t.a + 1)"]},
    {"columns": ["a"], "where": "t IS NOT NULL"},
]


@pytest.mark.parametrize("body", WHOLE_ROW, ids=str)
def test_an_expression_over_the_whole_row_is_judged(t: Any, body: dict[str, Any]) -> None:
    declared = {"name": "t_row", "table": "t", **body}
    assert t.one(declared)["action"] == "created"
    again = t.one(declared)
    assert (again["state"], again["action"]) == ("valid", "none"), again
    t.sql("DROP INDEX t_row", "CREATE INDEX t_row ON t ((t.a = 1), a) WHERE t IS NULL")
    assert t.one(declared, on_drift="report")["state"] == "drifted"


ROW_TYPE = [
    {"columns": ["f(t)"]},
    {"columns": ["f(t.*)"]},
    {"columns": ["(t.f)"]},
    {"columns": ["a"], "where": "f(\"t\") = 'x'"},
    {"columns": ["(public.t.a)"]},
]


@pytest.mark.parametrize("body", ROW_TYPE, ids=str)
def test_what_the_copy_cannot_stand_in_for_is_built_and_then_unknown(t: Any, body: dict[str, Any]) -> None:
    t.sql("CREATE FUNCTION f(t) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT $1.b'")
    declared = {"name": "t_row", "table": "t", **body}
    planned = t.one(declared, check_mode=True)
    assert planned["action"] == "created" and "cannot be checked before it is built" in planned["reason"]
    assert t.one(declared)["action"] == "created"
    oid = t.state("t_row")["oid"]
    # It is as declared, and so is not this one: neither may be called valid, and neither is touched.
    again = t.one(declared)
    assert (again["state"], again["action"]) == ("unknown", "none")
    assert again["result"]["gates"][0]["verdict"] == "inconclusive"
    assert t.state("t_row")["oid"] == oid
    t.sql("DROP INDEX t_row", "CREATE INDEX t_row ON t (b)")
    other = t.one(declared)
    assert (other["state"], other["action"]) == ("unknown", "none") and "by name" in other["reason"]


def test_what_does_not_exist_is_refused_though_the_table_is_named(t: Any) -> None:
    done = t.one({"name": "t_row", "table": "t", "columns": ["nosuch(t)"]})
    assert (done["state"], done["action"]) == ("missing", "none")
    assert "function nosuch(t) does not exist" in done["reason"]
    assert t.names() == ["t_pkey"]
