"""Whether containers are ready, and what is said where they are not."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from ansible.module_utils.slipway.compose import containers as core


def container(**more: Any) -> core.Container:
    return {
        "name": "shop-blue-web-1", "status": "running", "health": "none", "health_output": "", "restarts": 0,
        "exit_code": 0, "oom_killed": False, "error": "", **more,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("started_at", "seconds"),
    [
        ("2026-11-22T05:54:57.123456789Z", 2.876543211),
        ("2026-11-22T05:54:57.5Z", 2.5),
        ("2026-11-22T05:54:58Z", 2.0),
        ("0001-01-01T00:00:00Z", 0.0),
        ("", 0.0),
    ],
)
def test_uptime(started_at: str, seconds: float) -> None:
    now = datetime(2026, 11, 22, 5, 55, 0, tzinfo=UTC).timestamp()
    assert core.uptime(container(started_at=started_at), now) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("seen", "uptime", "state"),
    [
        ({"health": "healthy"}, 0.1, "ready"),
        ({"health": "starting"}, 99, "waiting"),
        ({"health": "unhealthy"}, 99, "failed"),
        ({}, 1.9, "waiting"),
        ({}, 2.0, "ready"),
        ({"status": "created"}, 99, "waiting"),
        ({"status": "exited"}, 0.1, "failed"),
        ({"status": "restarting"}, 0.1, "failed"),
        # Up again after a crash: it would pass a health check now and then, and never serve.
        ({"restarts": 1, "health": "healthy"}, 99, "failed"),
    ],
)
def test_readiness(seen: dict[str, Any], uptime: float, state: str) -> None:
    assert core.readiness(container(**seen), uptime, settled=2) == state


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        ({"oom_killed": True, "status": "exited", "exit_code": 137}, "memory"),
        ({"error": "port is already allocated"}, "port is already allocated"),
        ({"restarts": 3, "exit_code": 1}, "restarted 3 times"),
        ({"status": "exited", "exit_code": 7}, "exit code 7"),
        ({"health": "unhealthy", "health_output": "connection refused"}, "connection refused"),
    ],
)
def test_complaints(seen: dict[str, Any], words: str) -> None:
    assert words in core.complaint(container(**seen))


def test_restarts_from_before_are_no_failure_of_this_start() -> None:
    running = container(restarts=1, health="healthy")
    assert core.readiness(running, 99, 2, restarts=1) == "ready"
    assert core.readiness(running, 99, 2, restarts=0) == "failed"


def test_the_exit_code_of_a_container_that_runs_again_is_not_known() -> None:
    assert "exit code" not in core.complaint(container(restarts=1, exit_code=0))
    assert "exit code 3" in core.complaint(container(restarts=1, exit_code=3, status="restarting"))


# As a kernel writes it: 0.0.0.0:8000, 127.0.0.11:41234 (Docker's resolver), an established connection, [::1]:9000.
TABLE = """  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid
   0: 00000000:1F40 00000000:0000 0A 00000000:00000000 00:00000000 00000000 10001
   1: 0B00007F:A112 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0
   2: 0200A8C0:1F40 0100A8C0:C350 01 00000000:00000000 00:00000000 00000000 10001
  sl  local_address                         remote_address                        st
   0: 00000000000000000000000001000000:2328 00000000000000000000000000000000:0000 0A 00000000:00000000
"""


def test_who_listens() -> None:
    assert core.listeners(TABLE) == {8000: False, 41234: True, 9000: True}


@pytest.mark.parametrize(
    ("port", "said"),
    [
        (8000, ""),
        (8001, "does not listen on port 8001, which app_services declares for web; it listens on 8000"),
        (9000, "loopback address only"),
    ],
)
def test_a_port_that_nobody_listens_on_is_named(port: int, said: str) -> None:
    found = container(service="web", ports=[{"address": "10.0.0.1", "port": 18000, "container_port": port}])
    assert said in core.deaf(found, TABLE) and bool(said) == bool(core.deaf(found, TABLE))


def test_where_nothing_listens_that_is_said() -> None:
    found = container(service="web", ports=[{"address": "10.0.0.1", "port": 18000, "container_port": 80}])
    assert core.deaf(found, "").endswith("none")
