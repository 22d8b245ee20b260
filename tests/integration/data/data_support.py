"""What the tests of backups and migrations share: modules as processes, connections, waiting."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
import typing as t
from pathlib import Path

import psycopg
from ansible.module_utils.slipway.postgres.login import Login

ROOT = Path(__file__).resolve().parents[3]
APP = Path(__file__).parent / "app"
PASSWORD = "geheim:und\\wichtig-4711"
PORTS = range(22850, 22900)


def sh(*command: str, check: bool = True, **more: t.Any) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, **more)
    assert done.returncode == 0 or not check, f"{command}: {done.stderr}{done.stdout}"
    return done.stdout


def free_port() -> int:
    for port in PORTS:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return port
    raise RuntimeError(f"no free port in {PORTS}")


class Module:
    """One of our modules as a process of its own."""

    def __init__(self, name: str, arguments: dict[str, t.Any], check: bool = False) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(ROOT / "tests/run_module.py"), name, *(["--check"] if check else [])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(arguments))
        self.process.stdin.close()
        self.process.stdin = None
        self.text = ""

    def result(self) -> dict[str, t.Any]:
        self.text, errors = self.process.communicate(timeout=120)
        assert self.text.strip(), errors
        return t.cast("dict[str, t.Any]", json.loads(self.text))

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


def run(name: str, arguments: dict[str, t.Any], check: bool = False) -> dict[str, t.Any]:
    return Module(name, arguments, check).result()


def eventually(what: t.Callable[[], t.Any], seconds: float = 20, every: float = 0.005) -> t.Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := what():
            return value
        time.sleep(every)
    raise AssertionError("it did not happen")


def connection(login: Login) -> psycopg.Connection[t.Any]:
    return psycopg.connect(
        host=login.host,
        port=login.port,
        user=login.user,
        password=login.password,
        dbname=login.db,
        autocommit=True,
    )


def login_arguments(login: Login) -> dict[str, t.Any]:
    return {f"login_{key}": value for key, value in login._asdict().items()}


def databases(login: Login) -> set[str]:
    with connection(login) as conn:
        return {row[0] for row in conn.execute("SELECT datname FROM pg_database")}
