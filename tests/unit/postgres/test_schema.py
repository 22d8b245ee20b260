"""Differences of two schemas in words."""

from __future__ import annotations

from ansible.module_utils.slipway.postgres import schema as pg_schema
from hypothesis import given
from hypothesis import strategies as st

BEFORE = {
    "table public.a": "",
    "column public.a.id": "integer not null",
    "constraint public.a.a_pkey": "PRIMARY KEY (id)",
    "index public.a_pkey": "CREATE UNIQUE INDEX a_pkey ON public.a USING btree (id)",
    "table public.ab": "",
    "column public.ab.x": "text",
}


def without(*names: str) -> dict[str, str]:
    return {k: v for k, v in BEFORE.items() if k not in names}


def test_equal_schemas_have_equal_fingerprints_and_no_differences() -> None:
    other = dict(reversed(BEFORE.items()))
    assert pg_schema.diff(BEFORE, other) == []
    assert pg_schema.fingerprint(BEFORE) == pg_schema.fingerprint(other)


def test_a_dropped_table_is_told_without_its_parts() -> None:
    after = without("table public.a", "column public.a.id", "constraint public.a.a_pkey")
    assert pg_schema.diff(BEFORE, after) == ["table public.a is gone"]
    assert pg_schema.lost_data(BEFORE, after) == ["table public.a"]


def test_a_dropped_column_of_a_table_with_a_similar_name_is_told() -> None:
    after = without(
        "table public.a", "column public.a.id", "constraint public.a.a_pkey", "column public.ab.x"
    )
    assert pg_schema.diff(BEFORE, after) == ["column public.ab.x is gone", "table public.a is gone"]
    assert pg_schema.lost_data(BEFORE, after) == ["column public.ab.x", "table public.a"]


def test_new_and_changed_objects_are_told_with_their_definitions() -> None:
    after = {**BEFORE, "column public.a.id": "bigint not null", "index public.n": "CREATE INDEX n INVALID"}
    assert pg_schema.diff(BEFORE, after) == [
        "index public.n is new: CREATE INDEX n INVALID",
        "column public.a.id is 'bigint not null' instead of 'integer not null'",
    ]
    assert pg_schema.lost_data(BEFORE, after) == []
    assert pg_schema.invalid_indexes(after) == ["public.n"]


schemas = st.dictionaries(st.sampled_from([*BEFORE, "view public.v"]), st.sampled_from(["", "x"]))


@given(schemas, schemas)
def test_no_difference_means_the_same_fingerprint(before: dict[str, str], after: dict[str, str]) -> None:
    same = pg_schema.fingerprint(before) == pg_schema.fingerprint(after)
    assert same == (pg_schema.diff(before, after) == [])
