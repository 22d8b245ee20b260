from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.slipway.masking.redactor import Redactor
from ansible.module_utils.slipway.verify.checks.run import Outcome, attempt, parse_checks, run_checks

sys.path.insert(0, str(Path(__file__).parent))

from verify_containers import Containers
from verify_servers import Authority


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


Check = Callable[..., Outcome]


@pytest.fixture(scope="module")
def start() -> Iterator[Containers]:
    containers = Containers()
    yield containers
    containers.remove()


def settle(deadline: float = 0.6, consecutive: int = 1, **declared: Any) -> Outcome:
    """Run one check; it must settle within its deadline whatever the server does."""
    declared.setdefault("timeout", 0.4)
    declared = {key: value for key, value in declared.items() if value is not None}
    checks = parse_checks([{"name": "it", **declared}], interval=0.05, consecutive=consecutive)
    started = time.monotonic()
    (outcome,) = asyncio.run(run_checks(checks, deadline))
    assert time.monotonic() - started < deadline + 1.0, "the deadline did not hold"
    return outcome


@pytest.fixture
def check() -> Check:
    return settle


@pytest.fixture
def passes() -> Check:
    """Patiently: a server that has just been started may take a while. Returns the outcome, which is good."""

    def run(**declared: Any) -> Outcome:
        outcome = settle(declared.pop("within", 15.0), timeout=declared.pop("timeout", 5.0), **declared)
        assert outcome.ok, outcome.reason
        return outcome

    return run


@pytest.fixture
def fails() -> Callable[..., str]:
    """One unhurried look; returns why it is not as expected."""

    def run(timeout: float = 10.0, **declared: Any) -> str:
        declared = {key: value for key, value in declared.items() if value is not None}
        (parsed,) = parse_checks([{"name": "it", **declared}], consecutive=1)
        outcome = Outcome(parsed)
        asyncio.run(attempt(outcome, timeout, Redactor()))
        assert not outcome.ok, f"passed: saw {outcome.observed}"
        assert "crashed" not in outcome.reason
        return outcome.reason

    return run
