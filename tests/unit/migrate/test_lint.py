"""The table of grades, what squawk does not see, and where a finding belongs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from ansible.module_utils.slipway.migrate import lint as migration_lint
from hypothesis import given
from hypothesis import strategies as st

SQUAWK = Path(sys.executable).parent / "squawk"
HEAD = "BEGIN;\n\n-- Running upgrade r1 -> r2\n\n"


def graded(sql: str, grades: dict[str, str] | None = None) -> dict[str, str]:
    done = subprocess.run(
        [SQUAWK, "--reporter", "json"], input=sql, capture_output=True, text=True, check=False
    )
    gates = migration_lint.grade(sql, json.loads(done.stdout), grades=grades)
    return {gate["name"].removeprefix("migration lint").strip(): gate["verdict"] for gate in gates}


@pytest.mark.parametrize(
    ("statement", "rule", "verdict"),
    [
        ("ALTER TABLE a ADD COLUMN b int;", "", "pass"),
        ("CREATE TABLE n (id int); CREATE INDEX i ON n (id);", "", "pass"),
        ("UPDATE a SET b = 1 WHERE id = 2;", "", "pass"),
        ("ALTER TABLE a DROP COLUMN b;", "ban-drop-column", "fail"),
        ("DROP TABLE a;", "ban-drop-table", "fail"),
        ("ALTER TABLE a RENAME COLUMN b TO c;", "renaming-column", "fail"),
        ("ALTER TABLE a RENAME TO b;", "renaming-table", "fail"),
        ("ALTER TABLE a ALTER COLUMN b SET NOT NULL;", "adding-not-nullable-field", "fail"),
        ("ALTER TABLE a ADD COLUMN b int NOT NULL;", "adding-required-field", "fail"),
        ("CREATE INDEX i ON a (b);", "require-concurrent-index-creation", "warn"),
        ("UPDATE a SET b = 'where';", "update-without-where", "warn"),
        ("DELETE FROM a;", "delete-without-where", "fail"),
        ("TRUNCATE a;", "truncate", "fail"),
        ("LOCK TABLE a;", "lock-table", "warn"),
        ("VACUUM FULL a;", "table-rewrite", "fail"),
        ("DO $$ BEGIN DROP TABLE a; END $$;", "opaque-block", "warn"),
    ],
)
def test_the_grade_of_a_statement(statement: str, rule: str, verdict: str) -> None:
    assert graded(HEAD + statement + "\nCOMMIT;\n") == {rule: verdict}


def test_a_contraction_passes_only_where_it_is_declared() -> None:
    sql = HEAD + "ALTER TABLE a DROP COLUMN b;\n-- Running upgrade r2 -> r3\nALTER TABLE a DROP COLUMN c;\n"
    findings = [{"rule_name": "ban-drop-column", "line": n, "message": "Dropping."} for n in (4, 6)]
    gates = migration_lint.grade(sql, findings, contract=["r2"])
    assert [(g["verdict"], g["detail"].split(":")[0]) for g in gates] == [("fail", "r3"), ("warn", "r2")]
    assert "declare it: r3" in gates[0]["detail"] and len(migration_lint.failures(gates)) == 1
    assert graded(HEAD + "DROP TABLE a;\nCOMMIT;\n", grades={"ban-drop-table": "warn"}) == {
        "ban-drop-table": "warn"
    }


def test_a_finding_belongs_to_the_revision_above_it() -> None:
    sql = "CREATE TABLE x;\n-- Running upgrade  -> r1\nA;\n-- Running upgrade r1 -> r2, with words\nB;\n"
    assert [migration_lint.revision_at(sql, line) for line in range(5)] == ["", "r1", "r1", "r2", "r2"]


def test_statements_are_split_where_postgresql_splits_them() -> None:
    sql = "-- a; b\nUPDATE a /* ; */ SET b = 'x;''y'\n  WHERE c;\n\nDO $f$ a; b; $f$;SELECT 1"
    assert migration_lint.statements(sql) == [
        (2, "UPDATE a SET b = '' WHERE c"),
        (5, "DO ''"),
        (5, "SELECT 1"),
    ]


@given(st.text(alphabet="ab;'$-\n/* "))
def test_splitting_always_ends_and_tells_lines_that_exist(sql: str) -> None:
    for line, statement in migration_lint.statements(sql):
        assert statement and 1 <= line <= sql.count("\n") + 1
