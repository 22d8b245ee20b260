# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""One change at a time on a host, also in the background, and after whoever began it has died."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

DIRECTORY = Path("/run")


class Busy(Exception):
    """Somebody else is at work for longer than they said they would be."""


@contextmanager
def alone(name: str, seconds: float) -> Iterator[int]:
    """Hold the lock `name` of this host, at most for `seconds`; wait for whoever has it, as long as they said.

    Yields its descriptor, for `promise`. A process that is forked meanwhile keeps the lock until it ends, however it
    ends. Raises Busy.
    """
    path = DIRECTORY / f"slipway-{name}.lock"
    with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+") as held:
        begin, overdue = time.time(), ""
        while True:
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                held.seek(0)
                said = held.read()
                until, _, process = said.strip().partition(" ")
                late = bool(until) and time.time() > float(until)
                # Twice: whoever has just got the lock may not have written yet.
                if late and said == overdue:
                    raise Busy(
                        f"Process {process} on this host is still changing the containers of {name}, after"
                        f" {time.time() - begin:.0f} s of waiting. See what it does: ps -fp {process}"
                    ) from None
                overdue = said if late else ""
                time.sleep(0.05)
        promise(held.fileno(), seconds)
        yield held.fileno()


def promise(descriptor: int, seconds: float) -> None:
    """Write into the lock's file until when this process has it at most."""
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{time.time() + seconds:.0f} {os.getpid()}\n".encode(), 0)


def detach() -> bool:
    """Fork: True in the new process, which has no terminal and goes on when the other has ended."""
    if os.fork():
        return False
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nothing, stream)
    return True
