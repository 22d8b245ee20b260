#!/usr/bin/env python3
"""Measure pg_indexes and pg_indexes_info against what a release would otherwise use.

usage: tests/bench/indexes.py [--port 22490] [--loop 20] [--runs 3]

Starts slipway/postgres:17 in a container. Every figure is the median of --runs runs. The loop of
community.postgresql.postgresql_idx runs over --loop indexes and is extrapolated to 500, as it costs by item;
the cost of starting ansible-playbook is measured with an empty play and taken off both.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import ansible.module_utils
import psycopg

ROOT = Path(__file__).resolve().parents[2]
ansible.module_utils.__path__.append(str(ROOT / "module_utils"))
sys.path.insert(0, str(ROOT / "library"))

import pg_indexes  # noqa: E402  # found by the paths above
import pg_indexes_info  # noqa: E402
from ansible.module_utils.slipway.indexes.ensure import ensure  # noqa: E402
from ansible.module_utils.slipway.indexes.info import look  # noqa: E402

PASSWORD = "bench-only"
NAME = "indexes-bench"
PER_TABLE = 10


def timed(call: Callable[[], Any], runs: int) -> float:
    """Return the median duration of `call` in seconds."""
    times = []
    for _ in range(runs):
        start = time.monotonic()
        call()
        times.append(time.monotonic() - start)
    return median(times)


def start_server(port: int) -> None:
    subprocess.run(["docker", "rm", "-fv", NAME], capture_output=True, check=False)
    command = [
        "docker",
        "run",
        "-d",
        "--name",
        NAME,
        "-p",
        f"127.0.0.1:{port}:5432",
        "-e",
        f"POSTGRES_PASSWORD={PASSWORD}",
    ]
    subprocess.run(
        [*command, "slipway/postgres:17", "postgres", "-c", "fsync=off", "-c", "autovacuum=off"],
        check=True,
        capture_output=True,
    )
    for _ in range(100):
        try:
            connect(port).close()
            return
        except psycopg.Error:
            time.sleep(0.2)
    raise SystemExit("the server did not start")


def connect(port: int, database: str = "postgres") -> psycopg.Connection[Any]:
    return psycopg.connect(
        host="127.0.0.1", port=port, user="postgres", password=PASSWORD, dbname=database, autocommit=True
    )


def declared(number: int) -> list[dict[str, Any]]:
    """Return `number` declared indexes of many kinds, ten a table."""
    kinds: list[dict[str, Any]] = [
        {"columns": ["a"]},
        {"columns": ["b DESC NULLS LAST"]},
        {"columns": ["a", "c"], "include": ["d"]},
        {"columns": ["lower(b)"]},
        {"columns": ["c"], "where": "b = 'x' AND d"},
        {"columns": ["c DESC"], "where": "b IN ('x', 'y')"},
        {"columns": ["a"], "with": {"fillfactor": 70}},
        {"columns": ["b"], "method": "hash"},
        {"columns": ["c"], "method": "brin"},
        {"columns": ["a", "b", "c"]},
    ]
    return [
        {"name": f"idx_{i}", "table": f"t{i // PER_TABLE}", **kinds[i % PER_TABLE]} for i in range(number)
    ]


def prepare(port: int, number: int) -> str:
    """Create a database with that many indexes, built plainly; return its name."""
    from ansible.module_utils.slipway.indexes.spec import parse

    database = f"bench_{number}"
    with connect(port) as connection:
        connection.execute(f"CREATE DATABASE {database}")
    with connect(port, database) as connection:
        for table in range((number + PER_TABLE - 1) // PER_TABLE):
            connection.execute(
                f"CREATE TABLE t{table} (id serial PRIMARY KEY, a int, b text, c timestamptz, d boolean)"
            )
        for raw in declared(number):
            connection.execute(parse(raw).create_sql(concurrently=False))
        connection.execute("VACUUM ANALYZE")
    return database


def params(module: Any, port: int, database: str, **options: Any) -> dict[str, Any]:
    defaults = {key: value.get("default") for key, value in module.ARGUMENTS.items()}
    login = {"login_host": "127.0.0.1", "login_port": port, "login_password": PASSWORD, "login_db": database}
    return {**defaults, **login, **options}


def apply_valid(port: int, database: str, number: int) -> None:
    result = ensure(params(pg_indexes, port, database, indexes=declared(number)))
    states = {item["state"] for item in result["indexes"]}
    assert (states, result["changed"], len(result["indexes"])) == ({"valid"}, False, number), result.get(
        "msg"
    )


def playbook(tasks: list[dict[str, Any]]) -> Callable[[], None]:
    """Return a call that runs a play with these tasks on this machine."""
    directory = Path(tempfile.mkdtemp(prefix="slipway-bench-"))
    (directory / "play.yml").write_text(
        json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": tasks}])
    )
    environment = {
        **os.environ,
        "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        "ANSIBLE_STDOUT_CALLBACK": "minimal",
    }
    command = [
        str(Path(sys.executable).parent / "ansible-playbook"),
        str(directory / "play.yml"),
        "-i",
        "localhost,",
        "-c",
        "local",
        "-e",
        f"ansible_python_interpreter={sys.executable}",
    ]

    def run() -> None:
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=22490)
    parser.add_argument("--loop", type=int, default=20)
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    port, runs = arguments.port, arguments.runs
    start_server(port)
    try:
        names = {number: prepare(port, number) for number in (500, 1000, 5000)}
        print(f"load average {os.getloadavg()[0]:.1f}, median of {runs} runs")
        core = {number: timed(lambda n=number: apply_valid(port, names[n], n), runs) for number in names}  # type: ignore[misc]
        for number, seconds in core.items():
            each_ms = 1000 * seconds / number
            print(f"pg_indexes, core alone, {number:5d} valid: {seconds:6.2f} s ({each_ms:.2f} ms each)")
        print(f"  5000 / 500: {core[5000] / core[500]:.1f} times as long (10 is linear)")

        login = {
            "login_host": "127.0.0.1",
            "login_port": port,
            "login_user": "postgres",
            "login_password": PASSWORD,
            "login_db": names[500],
        }
        empty = timed(playbook([]), runs)
        ours = timed(playbook([{"pg_indexes": {**login, "indexes": declared(500)}}]), runs) - empty
        item = {
            "name": "{{ item.name }}",
            "table": "{{ item.table }}",
            "columns": "{{ item['columns'] }}",
            "idxtype": "{{ item.method }}",
        }
        loop = [{"method": "btree", **raw} for raw in declared(arguments.loop)]
        theirs = (
            timed(playbook([{"community.postgresql.postgresql_idx": {**login, **item}, "loop": loop}]), runs)
            - empty
        )
        each = theirs / arguments.loop
        print(f"ansible-playbook with nothing to do: {empty:.2f} s (taken off below)")
        print(f"pg_indexes, 500 valid, as a task: {ours:.2f} s (aim: at most 3 s)")
        print(f"loop of postgresql_idx: {theirs:.2f} s for {arguments.loop}, {each:.2f} s each")
        print(f"  so {500 * each:.0f} s for 500 (extrapolated)")
        print(f"  pg_indexes is {500 * each / ours:.0f} times faster (aim: at least 50)")

        audit = timed(lambda: look(params(pg_indexes_info, port, names[1000])), runs)
        print(f"pg_indexes_info, 1000 indexes beside 100 primary keys: {audit:.2f} s (aim: at most 2 s)")
    finally:
        subprocess.run(["docker", "rm", "-fv", NAME], capture_output=True, check=False)


if __name__ == "__main__":
    main()
