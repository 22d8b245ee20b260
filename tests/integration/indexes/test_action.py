"""The module as Ansible runs it: progress on the screen, and a build that survives its controller."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import PASSWORD, until

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
    t.sql(
        "CREATE FUNCTION slow(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS "
        "$$ BEGIN PERFORM pg_sleep(0.001); RETURN $1; END $$"
    )
    return Ansible(t, tmp_path)


SLOW = {"name": "t_slow", "table": "t", "columns": ["slow(a)"]}


def test_progress_is_shown_and_the_second_run_is_short(t: Any, ansible: Ansible) -> None:
    code, text, result = ansible.run([SLOW])
    assert code == 0, text
    assert re.search(r"public\.t_slow \| building index: scanning table", text), text
    assert "public.t_slow | done | valid, created" in text
    assert (result["indexes"][0]["action"], result["changed"]) == ("created", True)
    assert result["gates"][0]["verdict"] == "pass"
    assert list((ansible.directory / "async").iterdir()) == [], "files are left on the host"
    code, text, result = ansible.run([SLOW])
    assert (code, result["changed"], result["indexes"][0]["state"]) == (0, False, "valid"), text
    assert "t_slow |" not in text
    assert not (ansible.directory / "async").exists() or list((ansible.directory / "async").iterdir()) == []


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


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_controller_does_not_kill_the_build_and_the_next_run_attaches(
    t: Any, ansible: Ansible, number: int
) -> None:
    process = ansible.start([SLOW, {"name": "t_b", "table": "t", "columns": ["b"]}])
    until(
        lambda: t.sql("SELECT 1 FROM pg_stat_progress_create_index WHERE phase LIKE 'building%'"),
        30,
        "a build",
    )
    os.killpg(process.pid, number)
    process.wait()
    oid = until(lambda: t.state("t_slow"))["oid"]
    assert not t.state("t_slow")["valid"]
    code, text, result = ansible.run([SLOW, {"name": "t_b", "table": "t", "columns": ["b"]}])
    assert code == 0, text
    assert [item["state"] for item in result["indexes"]] == ["valid", "valid"]
    assert t.state("t_slow")["oid"] == oid
    assert result["indexes"][0]["action"] == "none"
    assert "waiting: pid" in text, text
