"""The module on a real host: systemd, SSH, and somebody who pulls the plug of the controller or of the host."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import docker as engine
import pytest
from ansible.module_utils.slipway.fleet import Fleet
from conftest import PASSWORD, Database, Gates, Server, docker, until

ROOT = Path(__file__).resolve().parents[3]
FLEET = "indexes-test-fleet"
HOST = f"{FLEET}-db1"
OTHER = {"name": "t_b", "table": "t", "columns": ["b"]}
SHARE = r"\| (\d+) % \(\d+ of \d+ blocks\)"
OWN = re.compile(r"public\.t_slow \| building index: scanning table " + SHARE)
FOUND = re.compile(r"public\.t_slow \| waiting: pid \d+ .*building index: scanning table " + SHARE)


@pytest.fixture(scope="module")
def host(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A host in the network of the database server: (its connection variables, the server's address)."""
    if server.version != "17":
        pytest.skip("Ansible does the same whatever the server is")
    fleet = Fleet(engine.from_env(), FLEET, "slipway/host:13", str(tmp_path_factory.mktemp("fleet")))
    fleet.remove(check=False)
    variables = fleet.ensure(["db1"], timeout=60, check=False)["hosts"]["db1"]
    docker("network", "connect", FLEET, server.name)
    address = docker(
        "inspect", "-f", f'{{{{(index .NetworkSettings.Networks "{FLEET}").IPAddress}}}}', server.name
    )
    yield variables, address
    docker("network", "disconnect", "-f", FLEET, server.name)
    fleet.remove(check=False)


class Controller:
    """One ansible-playbook against the host, whose output is read while it runs."""

    def __init__(self, db: Any, host: Any, directory: Path, *indexes: dict[str, Any]) -> None:
        variables, address = host
        task = {
            "pg_indexes": {
                "login_host": address,
                "login_password": PASSWORD,
                "login_db": db.name,
                "indexes": list(indexes),
            },
            "register": "result",
        }
        show = {"ansible.builtin.debug": {"msg": "OUTCOME {{ result | to_json }}"}}
        (directory / "play.yml").write_text(
            json.dumps([{"hosts": "all", "gather_facts": False, "tasks": [task, show]}])
        )
        inventory = {"all": {"hosts": {"db1": {**variables, "ansible_ssh_retries": 0}}}}
        (directory / "hosts.json").write_text(json.dumps(inventory))
        self.process = subprocess.Popen(
            [
                str(ROOT / ".venv/bin/ansible-playbook"),
                str(directory / "play.yml"),
                "-i",
                str(directory / "hosts.json"),
            ],
            cwd=ROOT,
            env={
                **os.environ,
                "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
                "ANSIBLE_STDOUT_CALLBACK": "default",
                # Ansible's own callback holds back what goes into a pipe; slipway's does not.
                "PYTHONUNBUFFERED": "1",
                "ANSIBLE_SSH_CONTROL_PATH_DIR": str(directory / "cp"),
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)

    @property
    def text(self) -> str:
        return "".join(self.lines)

    def until(self, shown: re.Pattern[str], timeout: float = 90) -> list[str]:
        """Wait for a line that matches; return what its group matched in each."""
        deadline = time.monotonic() + timeout
        while not (found := shown.findall(self.text)):
            assert time.monotonic() < deadline and self.process.poll() is None, self.text
            time.sleep(0.05)
        return found

    def kill(self) -> None:
        """Kill it as a power cut does: with its workers, which have sessions of their own."""
        doomed = [self.process.pid]
        for pid in doomed:
            doomed += map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
        for pid in doomed:
            os.kill(pid, signal.SIGKILL)
        self.process.wait()

    def result(self, timeout: float = 90) -> dict[str, Any]:
        """Wait for the end and return what the module returned (nothing when it failed)."""
        self.process.wait(timeout)
        self._reader.join(5)
        found = re.search(r"OUTCOME (\{.*\})\"", self.text)
        return json.loads(found.group(1).replace('\\"', '"').replace("\\\\", "\\")) if found else {}


def on_host(script: str) -> list[str]:
    return docker("exec", HOST, "sh", "-c", f"{script} || :").split()


def test_progress_over_ssh_and_a_killed_controller(
    t: Database, gates: Gates, host: Any, tmp_path: Path
) -> None:
    first = Controller(t, host, tmp_path, gates.index, OTHER)
    begun = int(first.until(OWN)[-1])
    gates.wait_at(1)
    first.kill()
    assert "OUTCOME" not in first.text
    left = t.state("t_slow")
    assert left is not None and not left["valid"]
    gates.open(1)
    # Nobody is there, and it goes on.
    gates.wait_at(2)
    second = Controller(t, host, tmp_path, gates.index, OTHER)
    assert int(second.until(FOUND)[-1]) > begun
    gates.open(2)
    result = second.result()
    assert [(item["name"], item["state"]) for item in result["indexes"]] == [
        ("t_slow", "valid"),
        ("t_b", "valid"),
    ], second.text
    assert t.state("t_slow")["oid"] == left["oid"], "it must be the same build"
    assert t.names() == ["t_b", "t_pkey", "t_slow"]
    assert not t.sql("SELECT 1 FROM pg_index WHERE NOT indisvalid")
    # Ansible's own supervisor of a detached process looks every five seconds whether it has ended.
    until(lambda: on_host("find /root/.ansible -type f") == [], 20, "a host without copies of the module")
    # The killed controller could not fetch its result; what waits for it is for root alone, and holds no secret.
    left = on_host("find /root/.ansible_async -type f")
    assert len(left) <= 2 and on_host(f"grep -rl {PASSWORD} /root/.ansible_async /tmp") == [], left
    assert on_host("find /root/.ansible_async -name '*.jsonl' -perm /077") == []


def test_a_host_that_restarts_during_a_build(t: Database, gates: Gates, host: Any, tmp_path: Path) -> None:
    first = Controller(t, host, tmp_path, gates.index, OTHER)
    gates.wait_at(1)
    docker("restart", "-t", "0", HOST)
    first.result()
    assert first.process.returncode == 2
    assert "Run the same command again" in first.text, first.text
    assert not t.state("t_slow")["valid"]
    second = Controller(t, host, tmp_path, gates.index, OTHER)
    second.until(FOUND)
    gates.open(1, 2)
    result = second.result()
    assert [item["state"] for item in result["indexes"]] == ["valid", "valid"], second.text
    assert t.names() == ["t_b", "t_pkey", "t_slow"]
    assert not t.sql("SELECT 1 FROM pg_index WHERE NOT indisvalid")
    third = Controller(t, host, tmp_path, gates.index, OTHER)
    assert third.result()["changed"] is False
