from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.slipway.checks.engine import Outcome, parse_checks, run_checks

sys.path.insert(0, str(Path(__file__).parent))

from verify_servers import Authority


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


Check = Callable[..., Outcome]


@pytest.fixture
def check() -> Check:
    """Run one check; it must settle within its deadline whatever the server does."""

    def run(deadline: float = 0.6, consecutive: int = 1, **declared: Any) -> Outcome:
        declared.setdefault("timeout", 0.4)
        checks = parse_checks([{"name": "it", **declared}], interval=0.05, consecutive=consecutive)
        started = time.monotonic()
        (outcome,) = asyncio.run(run_checks(checks, deadline))
        assert time.monotonic() - started < deadline + 1.0, "the deadline did not hold"
        return outcome

    return run
