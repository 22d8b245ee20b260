"""How often a build is tried."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from ansible.module_utils.slipway.indexes.build import Builder
from ansible.module_utils.slipway.indexes.catalog import Table
from ansible.module_utils.slipway.indexes.probe import Probe
from ansible.module_utils.slipway.indexes.spec import parse
from ansible.module_utils.slipway.indexes.watch import Budget, Options, Stopped

SPEC = parse({"name": "i", "table": "t", "columns": ["a"]})
TABLE = Table(100, "public", "t", "r", "me", True, None)


class Failure(Exception):
    """What psycopg raises, as far as it is looked at."""

    def __init__(self, sqlstate: str, text: str) -> None:
        super().__init__(text)
        self.sqlstate = sqlstate


DEADLOCK = Failure("40P01", "deadlock detected")
MEMORY = Failure("53100", "could not resize shared memory segment")
CANCELLED = Failure("57014", "canceling statement due to user request")


class Failing(Builder):
    """Fails as it is told, and counts."""

    def __init__(self, failures: list[Failure], retries: int) -> None:
        def nothing(*_arguments: Any) -> None:
            return None

        session: Any = SimpleNamespace(
            options=Options(retries=retries),
            clear_the_way=nothing,
            wait_until_free=nothing,
            emit=nothing,
            work=SimpleNamespace(execute=nothing),
        )
        facts: Any = None
        super().__init__(session, facts, "public")
        self.failures, self.tried = list(failures), 0

    def _attempt(self, *_arguments: Any) -> Any:
        self.tried += 1
        return self.failures.pop(0)


@pytest.mark.parametrize(
    ("failures", "retries", "tried"),
    [
        ([DEADLOCK] * 9, 0, 1),
        ([DEADLOCK] * 9, 1, 2),
        ([DEADLOCK] * 9, 3, 4),
        ([CANCELLED] * 9, 3, 1),
        # Without workers is another way, not another try of the same; and there is only one such way.
        ([MEMORY, DEADLOCK, DEADLOCK], 1, 3),
        ([MEMORY] * 9, 0, 2),
    ],
)
def test_retries_are_counted(failures: list[Failure], retries: int, tried: int) -> None:
    builder = Failing(failures, retries)
    with pytest.raises(Stopped):
        builder.build(SPEC, "i", TABLE, Probe(), Budget(10))
    assert builder.tried == tried
