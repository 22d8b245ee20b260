"""Whole systems: their index lists through the module and the audit, and one of them through the role."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pg_indexes_info
import pytest
import yaml
from conftest import PASSWORD

ROOT = Path(__file__).resolve().parents[3]
SYSTEMS: dict[str, Any] = yaml.safe_load((Path(__file__).parent / "systems.yml").read_text())


@pytest.fixture
def system(db: Any, request: pytest.FixtureRequest) -> Any:
    body = SYSTEMS[request.param]
    db.sql(body["schema"], *body["rows"])
    return body


def audit(db: Any, body: dict[str, Any], **options: Any) -> dict[str, Any]:
    defaults = {key: value.get("default") for key, value in pg_indexes_info.arguments().items()}
    connection = {key: value for key, value in db.params([]).items() if key.startswith("login_")}
    expect = [{**dict.fromkeys(pg_indexes_info.EXPECT), **item} for item in body["audit"]["expect"]]
    queries = [{**dict.fromkeys(pg_indexes_info.QUERY), **item} for item in body["audit"]["queries"]]
    return pg_indexes_info.run({**defaults, **connection, "expect": expect, "queries": queries, **options})


@pytest.mark.parametrize("system", SYSTEMS, indirect=True)
def test_the_indexes_of_a_system(db: Any, system: dict[str, Any]) -> None:
    assert [gate for gate in audit(db, system)["gates"] if gate["verdict"] == "fail"], (
        "the audit must fail before"
    )
    first = db.apply(system["indexes"])
    assert [(item["state"], item["action"]) for item in first["indexes"]] == [("valid", "created")] * len(
        system["indexes"]
    )
    assert not db.apply(system["indexes"])["changed"]
    result = audit(db, system)
    assert [gate for gate in result["gates"] if gate["verdict"] == "fail"] == []
    assert all(answer["usable"] for answer in result["queries"])


class Role:
    """Runs entry points of the role for the kitchen."""

    def __init__(self, db: Any, directory: Path) -> None:
        self.db, self.directory = db, directory

    def run(self, entry: str, **variables: Any) -> tuple[int, str]:
        body = SYSTEMS["kitchen"]
        login = {
            "host": "127.0.0.1",
            "port": self.db.server.port,
            "user": "postgres",
            "password": PASSWORD,
            "db": self.db.name,
        }
        task = {"ansible.builtin.import_role": {"name": "indexes", "tasks_from": entry}}
        play = [{"hosts": "localhost", "gather_facts": False, "tasks": [task]}]
        values = {
            "app_name": "kitchen",
            "indexes_login": login,
            "indexes_declared": body["indexes"],
            "indexes_audit": body["audit"],
            "indexes_record": str(self.directory / "indexes.json"),
            **variables,
        }
        (self.directory / "play.yml").write_text(json.dumps(play))
        (self.directory / "values.json").write_text(json.dumps(values))
        environment = {
            **os.environ,
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_STDOUT_CALLBACK": "default",
        }
        command = [
            str(ROOT / ".venv/bin/ansible-playbook"),
            str(self.directory / "play.yml"),
            "-i",
            "localhost,",
            "-c",
            "local",
            "-e",
            f"ansible_python_interpreter={sys.executable}",
            "-e",
            f"@{self.directory}/values.json",
        ]
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False
        )
        return done.returncode, done.stdout + done.stderr


@pytest.mark.slow
def test_the_role_by_tiers_and_back(db: Any, tmp_path: Path) -> None:
    if db.server.version != "17":
        pytest.skip("Ansible does the same whatever the server is")
    body = SYSTEMS["kitchen"]
    db.sql(body["schema"], *body["rows"])
    role = Role(db, tmp_path)

    def built() -> int:
        return int(db.value("SELECT count(*) FROM pg_indexes WHERE indexname LIKE 'idx_%'"))

    code, text = role.run("main", indexes_release="r1")
    assert (code, built()) == (0, 3), text
    code, text = role.run("audit")
    assert code == 2 and "performance indexes: number is 3/7, expected 7/7" in text, text
    # The hours have not passed; then they have, but nobody used tier 1; then somebody did.
    code, text = role.run("later", indexes_release="r2")
    assert (code, built()) == (0, 3) and "of 24 hours" in text, text
    code, text = role.run("later", indexes_release="r2", indexes_tier_hours={"2": 0})
    assert (code, built()) == (0, 3) and "never scanned" in text, text
    db.sql("SET enable_seqscan = off")
    for table, condition in (
        ("Order", "status = 'CLOSED' AND \"branchId\" = '5'"),
        ("ForecastPoint", "\"orgId\" = 'x'"),
        ("Wastage", "\"branchId\" = 'x'"),
    ):
        db.sql(f'SELECT * FROM "{table}" WHERE {condition}')
    db.sql("SELECT pg_stat_force_next_flush()", "SELECT 1")
    code, text = role.run("later", indexes_release="r2", indexes_tier_hours={"2": 0})
    assert (code, built()) == (0, 5), text
    # Wanted now.
    code, text = role.run("later", indexes_release="r3", indexes_tiers=[3])
    assert (code, built()) == (0, 7), text
    code, text = role.run("audit")
    assert code == 0, text
    # What r2 added, and nothing else.
    code, text = role.run("rollback", indexes_release="r2")
    assert (code, built()) == (0, 5), text
    assert db.state("idx_branch_budget_org_period") is None and db.state("idx_stock_batch_item_branch")
    code, text = role.run("rollback", indexes_release="r2")
    assert code == 0 and "changed=0" in text, text
    code, text = role.run("rollback")
    assert code == 2 and "release" in text
