"""Two manifests are compared; every kind of difference is told, and a sequence may only have moved on."""

from __future__ import annotations

import copy
import typing as t

import pytest
from ansible.module_utils.slipway.postgres import manifest as pg_manifest

MANIFEST: dict[str, t.Any] = {
    "database": {"encoding": "UTF8", "collate": "C.UTF-8", "ctype": "C.UTF-8", "locale": None},
    "extensions": {"plpgsql": "1.0", "vector": "0.8.0"},
    "objects": {"index": ["public.a_pkey"], "sequence": ["public.a_id_seq"]},
    "sequences": {"public.a_id_seq": {"value": 10, "increment": 1, "cycle": False}},
    "tables": {"public.a": {"rows": 3, "checksum": "42"}},
    "large_objects": {"rows": 0, "checksum": "0"},
}


def changed(*path: str, to: t.Any) -> dict[str, t.Any]:
    manifest = copy.deepcopy(MANIFEST)
    place = manifest
    for key in path[:-1]:
        place = place[key]
    if to is None:
        del place[path[-1]]
    else:
        place[path[-1]] = to
    return manifest


def test_a_manifest_equals_itself() -> None:
    assert pg_manifest.compare(MANIFEST, copy.deepcopy(MANIFEST)) == []


@pytest.mark.parametrize(
    ("path", "to", "words"),
    [
        (("tables", "public.a", "rows"), 0, "table public.a has 0 rows instead of 3"),
        (("tables", "public.a", "checksum"), "43", "table public.a has 3 rows as expected, but not the same"),
        (("tables", "public.a"), None, "table public.a is missing"),
        (("tables", "public.b"), {"rows": 0, "checksum": "0"}, "table public.b is not in the manifest"),
        (("objects", "index"), [], "index public.a_pkey is missing"),
        (("objects", "view"), ["public.v"], "view public.v is not in the manifest"),
        (("sequences", "public.a_id_seq", "value"), 9, "sequence public.a_id_seq stands at 9, before the 10"),
        (("extensions", "vector"), None, "extension vector is missing"),
        (("large_objects", "rows"), 1, "large objects differ (1 instead of 0"),
        (("database", "encoding"), "SQL_ASCII", "encoding is SQL_ASCII instead of UTF8"),
    ],
)
def test_every_difference_is_told(path: tuple[str, ...], to: t.Any, words: str) -> None:
    found = pg_manifest.compare(MANIFEST, changed(*path, to=to))
    assert len(found) == 1 and found[0].startswith(words)


def test_what_may_differ() -> None:
    """A sequence is not part of a snapshot and may have moved on; an extension may be newer on the server."""
    assert pg_manifest.compare(MANIFEST, changed("sequences", "public.a_id_seq", "value", to=11)) == []
    assert pg_manifest.compare(MANIFEST, changed("extensions", "vector", to="0.9")) == []
    downwards = changed("sequences", "public.a_id_seq", "increment", to=-1)
    assert pg_manifest.compare(downwards, changed("sequences", "public.a_id_seq", "value", to=9)) == []
    assert pg_manifest.compare(downwards, changed("sequences", "public.a_id_seq", "value", to=11)) != []
