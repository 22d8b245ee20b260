"""What is seen of a host, beside what a release asks of it."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.slipway.host import check

NOTHING: dict[str, Any] = {
    "programs": {}, "packages": [], "substitutes": [],
    "disk": {}, "memory_gb": 0, "ports": [], "port_owners": ["nginx"], "system": None,
    "system_ports": [], "controller_time": None, "clock_skew": 30,
}  # fmt: skip


def look(printed: dict[str, str] | None = None, there: tuple[str, ...] = (), **asked: Any) -> dict[str, Any]:
    """Look at a host whose commands print `printed`, by their first word, and which has the programs `there`."""

    def run(command: list[str]) -> tuple[int, str, str]:
        output = (printed or {}).get(command[0])
        return (1, "", "no answer") if output is None else (0, output, "")

    return check.look(run, lambda name: name if name in there else None, {**NOTHING, **asked})


def verdicts(seen: dict[str, Any]) -> dict[str, str]:
    return {gate["name"]: gate["verdict"] for gate in seen["gates"]}


@pytest.mark.parametrize(
    ("least", "verdict"), [("1.18", "pass"), ("1.26.3", "pass"), ("1.27", "fail"), ("", "pass")]
)
def test_versions_are_compared_by_their_numbers(least: str, verdict: str) -> None:
    seen = look({"nginx": "nginx version: nginx/1.26.3"}, there=("nginx",), programs={"nginx": least})
    assert seen["versions"] == {"nginx": "1.26.3"} and verdicts(seen) == {"nginx": verdict}


def test_a_program_that_is_missing_is_no_failure_but_an_engine_that_does_not_answer_is() -> None:
    missing = look(programs={"docker": "20.10", "nginx": "1.18"})
    assert (missing["versions"], missing["gates"]) == ({"docker": "", "nginx": ""}, [])
    silent = look(there=("docker", "dockerd"), programs={"docker": "20.10"})
    assert [gate["detail"] for gate in silent["failed_gates"]] == ["start it: systemctl start docker"]


def test_packages_that_are_removed_or_unknown_are_missing() -> None:
    listed = {"dpkg-query": "zstd ii \nnginx rc \n"}
    assert look(listed, packages=["zstd", "nginx", "docker.io"])["missing_packages"] == ["nginx", "docker.io"]


def test_disk_memory_and_clock_are_held_against_their_limits() -> None:
    few = look(disk={"/no/such/path": 0}, memory_gb=0.001, controller_time=time.time())
    assert set(verdicts(few).values()) == {"pass"} and few["failed_gates"] == []
    much = look(disk={"/": 1e9}, memory_gb=1e9, controller_time=time.time() - 60)
    assert verdicts(much) == {"disk free /": "fail", "memory": "fail", "clock": "fail"}
    assert all(gate["detail"] for gate in much["failed_gates"])


def test_a_port_is_free_or_its_owner_is_named() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        (taken,) = look(ports=[port])["gates"]
        owner = Path(f"/proc/{os.getpid()}/comm").read_text().strip()
        assert (taken["value"], taken["verdict"]) == (owner, "fail")
        assert look(ports=[port], port_owners=[owner])["failed_gates"] == []


@pytest.mark.parametrize(
    ("address", "loopback"),
    [
        ("0100007F", True),
        ("3500007F", True),
        ("00000000", False),
        ("0B00B10A", False),
        ("00000000000000000000000001000000", True),
        ("0000000000000000FFFF00000100007F", True),
        ("00000000000000000000000000000000", False),
        ("0000000000000000FFFF00000B00B10A", False),
        ("0080FE0000000000000000000000007F", False),
    ],
)
def test_loopback_addresses_as_the_kernel_writes_them(address: str, loopback: bool) -> None:
    assert check.is_loopback(address) is loopback


def test_packages_whose_programs_come_from_elsewhere_are_not_missing() -> None:
    wanted = ["docker.io", "docker-compose", "zstd", "nginx-light"]
    substitutes = [
        {"programs": ["docker", "compose"], "packages": ["docker.io", "docker-compose"]},
        {"programs": ["nginx"], "packages": ["nginx-light"]},
    ]
    programs = {"docker": "20.10", "compose": "2.24", "nginx": "1.18"}
    printed = {"docker": "28.2.2", "dpkg-query": ""}
    seen = look(printed, there=("docker",), programs=programs, packages=wanted, substitutes=substitutes)
    assert seen["missing_packages"] == ["zstd", "nginx-light"], "what does not answer is no substitute"
