"""Decisions: every situation an index can be in, without a database."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from ansible.module_utils.slipway.indexes.catalog import Index, Signature, Table
from ansible.module_utils.slipway.indexes.plan import Policy, Situation, decide, find_leftovers
from ansible.module_utils.slipway.indexes.probe import Probe
from ansible.module_utils.slipway.indexes.spec import parse

SPEC = parse({"name": "i", "table": "t", "columns": ["a"]})
SIGNATURE = Signature(
    "btree",
    False,
    False,
    ("a",),
    (),
    (0,),
    ("pg_catalog.int4_ops",),
    ("",),
    frozenset(),
    frozenset(),
    "pg_default",
)
OTHER = replace(SIGNATURE, columns=("b",))
TABLE = Table(100, "public", "t", "r", "me", True, None)


def index(name: str = "i", signature: Signature = SIGNATURE, **changes: Any) -> Index:
    values: dict[str, Any] = {
        "oid": 1,
        "schema": "public",
        "name": name,
        "table_oid": 100,
        "table": "t",
        "signature": signature,
        "valid": True,
        "ready": True,
        "plain": True,
        "expressions": False,
        "partitioned": False,
        "parent": None,
        "constraint": None,
        "constraint_type": None,
        "foreign_keys": (),
        "replica_identity": False,
        "clustered": False,
        "definition": "",
        "comment": None,
        "statistics": (),
        "size": 0,
    }
    return Index(**{**values, **changes})


def situation(current: Index | None = None, *siblings: Index, **changes: Any) -> Situation:
    relation = Table(1, "public", "i", "i", "me", True, None) if current else None
    everything = tuple(item for item in (current, *siblings) if item)
    return Situation(
        **{
            "spec": SPEC,
            "table": TABLE,
            "relation": relation,
            "current": current,
            "siblings": everything,
            "probe": Probe(SIGNATURE),
            **changes,
        }
    )


def outcome(now: Situation, **policy: Any) -> tuple[str, str, bool]:
    chosen = decide(now, Policy(**policy))
    return chosen.state, chosen.action, chosen.failed


def test_the_usual_ways() -> None:
    assert outcome(situation()) == ("missing", "created", False)
    assert outcome(situation(index())) == ("valid", "none", False)
    assert outcome(situation(index(signature=OTHER))) == ("drifted", "replaced", False)
    assert outcome(situation(index(valid=False))) == ("invalid", "rebuilt", False)


def test_policies() -> None:
    drifted, invalid = situation(index(signature=OTHER)), situation(index(valid=False))
    assert outcome(drifted, on_drift="report") == ("drifted", "reported", False)
    assert outcome(drifted, on_drift="fail") == ("drifted", "none", True)
    assert outcome(invalid, on_invalid="fail") == ("invalid", "none", True)


def test_what_cannot_be_compared_is_never_valid() -> None:
    unknown = Probe(unknown="no TEMP")
    assert outcome(situation(index(), probe=unknown)) == ("unknown", "none", False)
    assert outcome(situation(probe=unknown)) == ("missing", "created", False)
    assert outcome(situation(index(), probe=Probe(error="bad"))) == ("unknown", "none", True)


def test_a_build_under_way_is_waited_for() -> None:
    chosen = decide(situation(index(valid=False), busy="pid 5"), Policy())
    assert (chosen.waits, chosen.action, chosen.failed) == (True, "none", False)
    # What a valid index has for leftovers may be somebody's REINDEX at work.
    leftover = index("i_ccnew", valid=False)
    assert decide(situation(index(), leftover, busy="pid 5"), Policy()).leftovers == []
    assert decide(situation(index(), leftover), Policy()).leftovers == [leftover]


BOUND = [{"constraint": "c", "constraint_type": "u"}, {"foreign_keys": ("f",)}, {"parent": 5}]


@pytest.mark.parametrize("bound", BOUND, ids=["constraint", "foreign key", "partition"])
def test_what_others_depend_on_is_refused(bound: dict[str, Any]) -> None:
    assert outcome(situation(index(signature=OTHER, **bound))) == ("drifted", "none", True)
    assert outcome(situation(index(valid=False, **bound))) == ("invalid", "none", True)
    absent = replace(SPEC, state="absent")
    assert outcome(situation(index(**bound), spec=absent)) == ("valid", "none", True)


def test_replica_identity_needs_a_unique_index() -> None:
    current = index(signature=OTHER, replica_identity=True)
    assert outcome(situation(current)) == ("drifted", "none", True)
    assert outcome(situation(current, spec=replace(SPEC, unique=True))) == ("drifted", "replaced", False)


def test_replica_identity_needs_columns_that_are_not_null() -> None:
    current, spec = index(signature=OTHER, replica_identity=True), replace(SPEC, unique=True)
    for probe in (Probe(SIGNATURE, nullable=True), Probe(SIGNATURE, expressions=True)):
        assert outcome(situation(current, spec=spec, probe=probe)) == ("drifted", "none", True)
    # The old one says nothing of the new one.
    lax = replace(current, nullable=True, expressions=True)
    assert outcome(situation(lax, spec=spec)) == ("drifted", "replaced", False)


def test_a_cluster_mark_needs_a_whole_index_with_an_order() -> None:
    current = index(signature=OTHER, clustered=True)
    for spec, action in (
        (SPEC, "replaced"),
        (replace(SPEC, method="gist"), "replaced"),
        (replace(SPEC, method="gin"), "none"),
        (replace(SPEC, where="a > 1"), "none"),
    ):
        chosen = decide(situation(current, spec=spec), Policy())
        assert chosen.action == action and chosen.failed == (action == "none")
        assert action == "replaced" or "SET WITHOUT CLUSTER" in chosen.reason


def test_an_index_stays_in_its_tablespace() -> None:
    kept = replace(SPEC, kept_tablespace="fast")
    assert 'TABLESPACE "fast"' in kept.create_sql()
    assert 'TABLESPACE "big"' in replace(kept, tablespace="big").create_sql()
    # Work that was interrupted is found again by its name, which comes from what is declared.
    assert kept.hash == SPEC.hash


def test_adoption() -> None:
    twin = index("twin")
    assert outcome(situation(None, twin)) == ("missing", "adopted", False)
    assert outcome(situation(None, twin), adopt=False) == ("missing", "created", False)
    assert outcome(situation(None, twin, declared=frozenset({"public.twin"}))) == (
        "missing",
        "created",
        False,
    )
    for change in (
        {"constraint": "c"},
        {"valid": False},
        {"parent": 3},
        {"signature": OTHER},
        {"foreign_keys": ("f",)},
    ):
        assert outcome(situation(None, replace(twin, **change))) == ("missing", "created", False), change
    assert outcome(situation(None, index("i__slip_01234567"))) == ("missing", "created", False)


def test_leftovers_belong_to_this_index_or_are_left_alone() -> None:
    ours = [
        index("i__slip_01234567", valid=False),
        index("i__slipold_01234567"),
        index("i_ccnew", valid=False),
        index("i_ccold2", valid=False),
    ]
    others = [
        index("i_ccnew3"),
        index("i_ccnew4", OTHER, valid=False),
        index("j_ccnew", valid=False),
        index("j__slip_01234567"),
        index("i__slip_zz234567"),
        index("i_ccnew5", valid=False, parent=4),
        index("i__slip_0123456"),
    ]
    assert find_leftovers(situation(index(), *ours, *others)) == ours


def test_leftovers_of_names_that_had_to_be_cut() -> None:
    spec = replace(SPEC, name="x" * 63)
    left = [index("x" * 48 + "__slip_01234567", valid=False), index("x" * 57 + "_ccnew", valid=False)]
    assert find_leftovers(situation(index("x" * 63), *left, spec=spec)) == left
    short = index("x" * 20 + "__slip_01234567", valid=False)
    assert find_leftovers(situation(index("x" * 63), short, spec=spec)) == []


def test_a_plan_waits_for_what_a_pending_migration_makes() -> None:
    missing = Probe(error='column "answer" does not exist')
    for change in ({"table": None}, {"probe": missing}):
        assert outcome(situation(None, **change)) == ("missing", "none", True)
        chosen = decide(situation(None, **change), Policy(awaits_migration=True))
        assert (chosen.state, chosen.action, chosen.failed) == ("missing", "created", False)
        assert chosen.reason.endswith("does not exist: a pending migration is to make it")
    changed = decide(situation(index(), probe=missing), Policy(awaits_migration=True))
    assert (changed.state, changed.action, changed.failed) == ("drifted", "replaced", False)
    # That is no excuse for what no migration of this kind would mend.
    wrong = Probe(error='syntax error at or near "answer"')
    assert decide(situation(None, probe=wrong), Policy(awaits_migration=True)).failed


def test_impossible_things_are_told() -> None:
    for change, word in (
        ({"table": None, "near": ("public.T",)}, "did you mean public.T"),
        ({"table": replace(TABLE, kind="v")}, "is a view"),
        ({"table": replace(TABLE, owned=False, owner="boss")}, "belongs to role boss"),
        ({"relation": Table(1, "public", "i", "S", "me", True, None)}, "taken by a sequence"),
    ):
        chosen = decide(situation(**change), Policy())
        assert chosen.failed and word in chosen.reason
    elsewhere = decide(situation(index(table_oid=7, table="u")), Policy())
    assert elsewhere.failed and "index on u" in elsewhere.reason


@pytest.mark.parametrize(("kind", "word"), [("f", "foreign table"), ("r", "belongs to role boss")])
def test_a_partition_that_cannot_be_worked_on_is_told_before(kind: str, word: str) -> None:
    parted = replace(TABLE, kind="p", obstacle=("public.t1", kind, "boss"))
    for current in (None, index(valid=False), index(signature=OTHER)):
        chosen = decide(situation(current, table=parted), Policy())
        assert (chosen.action, chosen.failed) == ("none", True)
        assert "public.t1" in chosen.reason and word in chosen.reason
    # Nothing has to be built there.
    assert outcome(situation(index(), table=parted)) == ("valid", "none", False)


def test_absent() -> None:
    absent = replace(SPEC, state="absent", table="")
    assert outcome(situation(spec=absent)) == ("absent", "none", False)
    assert outcome(situation(index(), spec=absent)) == ("valid", "dropped", False)
    assert outcome(situation(index(valid=False), spec=absent)) == ("invalid", "dropped", False)
    assert outcome(situation(index(table="u"), spec=replace(absent, table="t"))) == ("valid", "none", True)
    identity = decide(situation(index(replica_identity=True), spec=absent), Policy())
    assert (identity.action, identity.failed) == ("none", True)
    assert 'ALTER TABLE "public"."t" REPLICA IDENTITY DEFAULT' in identity.reason


def test_absent_takes_what_an_interrupted_replacement_left_with_it() -> None:
    absent = replace(SPEC, state="absent")
    left = [index("i__slip_01234567", valid=False), index("i__slipold_01234567")]
    for current in (index(), None):
        chosen = decide(situation(current, *left, spec=absent, probe=None), Policy())
        assert (chosen.leftovers, chosen.failed) == (left, False)
    assert decide(situation(None, *left, spec=absent, probe=None, busy="pid 5"), Policy()).leftovers == []


DIFFERENCES = [
    ({"method": "hash"}, "method"),
    ({"unique": True}, "unique"),
    ({"nulls_not_distinct": True}, "nulls_not_distinct"),
    ({"columns": ("b",)}, "column 1"),
    ({"columns": ("a", "b"), "options": (0, 0), "opclasses": ("x", "x"), "collations": ("", "")}, "columns"),
    ({"include": ("c",)}, "include"),
    ({"options": (3,)}, "DESC NULLS FIRST"),
    ({"opclasses": ("x.y",)}, "x.y"),
    ({"collations": ("pg_catalog.C",)}, "COLLATE"),
    ({"predicate": frozenset({"b"})}, "predicate"),
    ({"storage": frozenset({("fillfactor", "70")})}, "storage"),
]


@pytest.mark.parametrize(("change", "word"), DIFFERENCES, ids=[word for _change, word in DIFFERENCES])
def test_each_part_of_a_definition_counts(change: dict[str, Any], word: str) -> None:
    other = replace(SIGNATURE, **change)
    assert SIGNATURE.differences(SIGNATURE, tablespace=True) == []
    assert word in "; ".join(SIGNATURE.differences(other, tablespace=False))
    assert SIGNATURE.differences(other, tablespace=False) and other.differences(SIGNATURE, tablespace=False)


def test_the_tablespace_counts_when_it_was_declared() -> None:
    other = replace(SIGNATURE, tablespace="fast")
    assert SIGNATURE.differences(other, tablespace=False) == []
    assert "tablespace" in SIGNATURE.differences(other, tablespace=True)[0]
