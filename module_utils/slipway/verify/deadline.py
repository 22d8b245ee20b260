# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""Work that keeps its own deadlines, and is given up where none of them reaches it."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any, NoReturn, TypeVar

T = TypeVar("T")
# How long after its deadlines work is given up, in seconds.
GRACE = 5.0


class StillBusy(Exception):
    """Work that did not end: nothing is known of what it was about."""


class _Overdue(BaseException):
    """Not an Exception, or the isolation of crashing checks would take it for one."""


def finished(work: Coroutine[Any, Any, T], limit: float) -> T:
    """Run `work`, which keeps its own deadlines; raises StillBusy when it is still busy `limit` seconds from now.

    Only a computation no deadline reaches can be: a regular expression that backtracks for ever, say.
    """

    def overdue(_number: int, _frame: Any) -> NoReturn:
        raise _Overdue

    signal.signal(signal.SIGALRM, overdue)
    signal.setitimer(signal.ITIMER_REAL, limit)
    try:
        return asyncio.run(work)
    except _Overdue:
        raise StillBusy(
            f"still busy after {limit:.0f} s, long after its own deadline: nothing is known. "
            "An expression (matches, JMESPath) that takes for ever on what the server sent? Simplify it."
        ) from None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
