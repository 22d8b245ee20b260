"""The module as Ansible runs it: progress on the screen, and a build that survives its controller."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import PASSWORD, Background, Gates, until

ROOT = Path(__file__).resolve().parents[3]


class Ansible:
    """Runs playbooks of one task against this machine, with this repository's configuration."""

    def __init__(self, db: Any, directory: Path) -> None:
        self.db, self.directory = db, directory

    def start(self, indexes: list[dict[str, Any]], *arguments: str, **options: Any) -> subprocess.Popen[str]:
        task = {
            "pg_indexes": {
                "login_host": "127.0.0.1",
                "login_port": self.db.server.port,
                "login_password": PASSWORD,
                "login_db": self.db.name,
                "indexes": indexes,
                **options,
            },
            "register": "result",
        }
        show = {
            "ansible.builtin.copy": {
                "content": "{{ result | to_json }}",
                "dest": str(self.directory / "result"),
                "mode": "0600",
            }
        }
        play = [{"hosts": "localhost", "gather_facts": False, "tasks": [task, {**show, "check_mode": False}]}]
        (self.directory / "play.yml").write_text(json.dumps(play))
        environment = {
            **os.environ,
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_STDOUT_CALLBACK": "default",
            "ANSIBLE_ASYNC_DIR": str(self.directory / "async"),
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
            *arguments,
        ]
        return subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(
        self, indexes: list[dict[str, Any]], *arguments: str, **options: Any
    ) -> tuple[int, str, dict[str, Any]]:
        process = self.start(indexes, *arguments, **options)
        text, _ = process.communicate(timeout=120)
        file = self.directory / "result"
        result = json.loads(file.read_text()) if file.exists() else {}
        file.unlink(missing_ok=True)
        return process.returncode, text, result


@pytest.fixture
def ansible(t: Any, tmp_path: Path) -> Ansible:
    if t.server.version != "17":
        pytest.skip("Ansible does the same whatever the server is")
    return Ansible(t, tmp_path)


def files(ansible: Ansible) -> list[Path]:
    place = ansible.directory / "async"
    return list(place.iterdir()) if place.exists() else []


def test_progress_is_shown_and_the_second_run_is_short(t: Any, ansible: Ansible) -> None:
    gates = Gates(t)
    run = Background(ansible.run, [gates.index])
    for gate in (1, 2):
        gates.wait_at(gate)
        time.sleep(1)
        gates.open(gate)
    code, text, result = run.result(120)
    assert code == 0, text
    shares = re.findall(
        r"public\.t_slow \| building index: scanning table \| (\d+) % \(\d+ of \d+ blocks\)", text
    )
    assert len(shares) >= 2 and shares == sorted(shares, key=int), text
    assert "public.t_slow | done | valid, created" in text
    assert (result["indexes"][0]["action"], result["changed"]) == ("created", True)
    assert result["gates"][0]["verdict"] == "pass"
    assert files(ansible) == [], "files are left on the host"
    code, text, result = ansible.run([gates.index])
    assert (code, result["changed"], result["indexes"][0]["state"]) == (0, False, "valid"), text
    assert "t_slow |" not in text
    assert files(ansible) == []


def test_check_mode_and_diff(t: Any, ansible: Ansible) -> None:
    code, text, result = ansible.run([{"name": "t_a", "table": "t", "columns": ["a"]}], "--check", "--diff")
    assert code == 0, text
    assert '+CREATE INDEX CONCURRENTLY "t_a" ON "public"."t"' in text
    assert (result["indexes"][0]["state"], result["indexes"][0]["action"]) == ("missing", "created")
    assert t.names() == ["t_pkey"]


def test_a_failure_says_what_to_do_and_the_password_is_nowhere(t: Any, ansible: Ansible) -> None:
    t.sql("INSERT INTO t (a) VALUES (1)")
    code, text, _ = ansible.run([{"name": "t_a", "table": "t", "columns": ["a"], "unique": True}], "-vvv")
    assert code == 2
    assert "1 of 1 indexes are not as declared" in text and "(1) in 2 rows" in text
    assert PASSWORD not in text


def test_an_interrupted_controller_does_not_end_the_build_and_the_next_run_attaches(
    t: Any, ansible: Ansible
) -> None:
    gates = Gates(t)
    declared = [gates.index, {"name": "t_b", "table": "t", "columns": ["b"]}]
    process = ansible.start(declared)
    gates.wait_at(1)
    os.killpg(process.pid, signal.SIGINT)
    process.wait()
    left = t.state("t_slow")
    assert not left["valid"]
    gates.open(1)
    gates.wait_at(2)
    run = Background(ansible.run, declared)
    news = ansible.directory / "async"
    until(
        lambda: any("waiting: pid" in file.read_text() for file in news.glob("pg_indexes-*")),
        60,
        "a second run",
    )
    gates.open(2)
    code, text, result = run.result(120)
    assert code == 0, text
    assert [item["state"] for item in result["indexes"]] == ["valid", "valid"]
    assert t.state("t_slow")["oid"] == left["oid"]
    assert result["indexes"][0]["action"] == "none"
    assert "waiting: pid" in text, text
