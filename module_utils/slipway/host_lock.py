# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""What a module does on a host in the background, and how the next one waits for it."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

DIRECTORY = Path("/run")


class Busy(Exception):
    """What goes on in the background has not ended."""


@contextmanager
def alone(name: str, patience: float) -> Iterator[None]:
    """Wait until nobody else on this host holds the lock `name`, for `patience` seconds. Raises Busy after that.

    A process that is forked meanwhile keeps the lock until it ends, however it ends.
    """
    path = DIRECTORY / f"slipway-{name}.lock"
    end = time.monotonic() + patience
    with path.open("a") as held:
        while True:
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > end:
                    raise Busy(
                        f"The containers of {name} on this host are being changed in the background, for {patience:.0f} s now."
                        f" See which process: fuser -v {path}"
                    ) from None
                time.sleep(0.05)
        yield


def detach() -> bool:
    """Fork: True in the new process, which has no terminal and goes on when the other has ended."""
    if os.fork():
        return False
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nothing, stream)
    return True
