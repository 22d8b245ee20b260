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
from ansible.module_utils.slipway.indexes.info import look
from conftest import PASSWORD

ROOT = Path(__file__).resolve().parents[3]
SYSTEMS: dict[str, Any] = yaml.safe_load((Path(__file__).parent / "systems.yml").read_text())


@pytest.fixture
def system(db: Any, request: pytest.FixtureRequest) -> Any:
    body = SYSTEMS[request.param]
    db.sql(body["schema"], *body["rows"])
    return body


def audit(db: Any, body: dict[str, Any], **options: Any) -> dict[str, Any]:
    defaults = {key: value.get("default") for key, value in pg_indexes_info.ARGUMENTS.items()}
    connection = {key: value for key, value in db.params([]).items() if key.startswith("login_")}
    expect = [{**dict.fromkeys(pg_indexes_info.EXPECT), **item} for item in body["audit"]["expect"]]
    queries = [{**dict.fromkeys(pg_indexes_info.QUERY), **item} for item in body["audit"]["queries"]]
    return look({**defaults, **connection, "expect": expect, "queries": queries, **options})


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


R1, R2, R3 = (f"2026112{number}T210000Z-aaaaaaa" for number in (1, 2, 3))


class Kitchen:
    """The kitchen on one host, which is this machine: its releases, and what is run for it."""

    def __init__(self, db: Any, directory: Path) -> None:
        self.directory = directory
        body = SYSTEMS["kitchen"]
        login = {
            "host": "127.0.0.1",
            "port": db.server.port,
            "user": "postgres",
            "password": PASSWORD,
            "db": db.name,
        }
        host = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
        values = {
            "app_name": "kitchen",
            "release_root": str(directory),
            "indexes_login": login,
            "indexes_declared": body["indexes"],
            "indexes_audit": body["audit"],
            "indexes_record": str(directory / "indexes.json"),
        }
        groups = {group: {"hosts": {"one": host}} for group in ("edge", "app", "data")}
        (directory / "hosts.json").write_text(json.dumps({"all": {"vars": values, "children": groups}}))

    def live(self, release: str) -> None:
        """Say that a release is live."""
        place = self.directory / "releases" / release
        place.mkdir(parents=True)
        since = f"2026-11-{release[6:8]}T21:00:00Z"
        record = {"id": release, "verdict": "live", "colour": "blue", "live_from": since}
        (place / "record.json").write_text(json.dumps(record))

    def deploy(self, release: str) -> tuple[int, str]:
        """Do what the index phase of a release does."""
        task = {"ansible.builtin.import_role": {"name": "indexes"}, "vars": {"indexes_release": release}}
        play = [{"hosts": "data", "gather_facts": False, "tasks": [task]}]
        (self.directory / "play.yml").write_text(json.dumps(play))
        self.live(release)
        return self.run(str(self.directory / "play.yml"))

    def run(self, playbook: str = "playbooks/indexes.yml", **variables: Any) -> tuple[int, str]:
        command = [
            str(ROOT / ".venv/bin/ansible-playbook"),
            playbook,
            "-i",
            str(self.directory / "hosts.json"),
            "-e",
            json.dumps(variables),
        ]
        environment = {
            **os.environ,
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_STDOUT_CALLBACK": "default",
        }
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False
        )
        return done.returncode, done.stdout + done.stderr


@pytest.mark.slow
def test_later_tiers_the_audit_and_what_a_release_added(db: Any, tmp_path: Path) -> None:
    if db.server.version != "17":
        pytest.skip("Ansible does the same whatever the server is")
    body = SYSTEMS["kitchen"]
    db.sql(body["schema"], *body["rows"])
    kitchen = Kitchen(db, tmp_path)

    def built() -> int:
        return int(db.value("SELECT count(*) FROM pg_indexes WHERE indexname LIKE 'idx_%'"))

    code, text = kitchen.deploy(R1)
    assert (code, built()) == (0, 3), text
    # The hours have not passed; then they have, but nobody used tier 1; then somebody did.
    code, text = kitchen.run()
    assert built() == 3 and "of 24 hours" in text, text
    assert code == 2 and "performance indexes: number is 3/7, expected 7/7" in text, text
    code, text = kitchen.run(indexes_tier_hours={"2": 0})
    assert built() == 3 and "never scanned" in text, text
    db.sql("SET enable_seqscan = off")
    for table, condition in (
        ("Order", "status = 'CLOSED' AND \"branchId\" = '5'"),
        ("ForecastPoint", "\"orgId\" = 'x'"),
        ("Wastage", "\"branchId\" = 'x'"),
    ):
        db.sql(f'SELECT * FROM "{table}" WHERE {condition}')
    db.sql("SELECT pg_stat_force_next_flush()", "SELECT 1")
    kitchen.live(R2)
    code, text = kitchen.run(indexes_tier_hours={"2": 0})
    assert built() == 5 and "number is 5/7" in text, text
    # Wanted now.
    kitchen.live(R3)
    code, text = kitchen.run(indexes_tiers=[3])
    assert (code, built()) == (0, 7), text
    # What the second release added, and nothing else.
    code, text = kitchen.run(drop=R2)
    assert (code, built()) == (0, 5), text
    assert db.state("idx_branch_budget_org_period") is None and db.state("idx_stock_batch_item_branch")
    code, text = kitchen.run(drop=R2)
    assert code == 0 and "changed=0" in text, text
    code, text = kitchen.run(drop="")
    assert code == 2 and "Name the release" in text and built() == 5, text
