# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""The lock of a system: one file, made by whoever may release, touched while they live, removed when they are done.

Its modification time is the heartbeat, read against the clock of the host it lies on, so that clocks need not agree.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..model.durable import write_atomically

Holder = dict[str, Any]


class Held(Exception):
    """Somebody else holds the lock."""

    def __init__(self, holder: Holder, age: float) -> None:
        super().__init__(holder.get("owner", "somebody"))
        self.holder = holder
        self.age = age


class Lock:
    """The lock file at `path`; a holder without a heartbeat for `ttl` seconds is taken to be gone."""

    def __init__(self, path: str | Path, ttl: float) -> None:
        self.path = Path(path)
        self.ttl = ttl

    def holder(self) -> tuple[Holder, float] | None:
        """Return who holds the lock and how many seconds ago it was last touched, None where nobody does."""
        try:
            text, age = self.path.read_text(), time.time() - self.path.stat().st_mtime
        except FileNotFoundError:
            return None
        try:
            found: Holder = json.loads(text)
        except ValueError:
            found = {"owner": "unknown", "token": ""}
        return found, age

    def stopped(self) -> bool:
        """Say whether the holder lives but does not run, as after Ctrl-Z: whoever touches the lock for it notes that."""
        return self.path.with_name(f"{self.path.name}.stopped").exists()

    def acquire(self, me: Holder, wait: float, steal: bool = False) -> Holder | None:
        """Take the lock as `me` (owner, controller, command, token).

        Waits up to `wait` seconds for a holder that is just leaving. Returns the holder it was taken over from, None
        where it was free. Raises Held. `steal` takes it from a holder that is alive.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        deadline = time.monotonic() + wait
        while True:
            with self._guarded():
                found = self.holder()
                if found is None:
                    self._write(me)
                    return None
                holder, age = found
                if steal or age > self.ttl or holder.get("token") == me["token"]:
                    self._write(me)
                    return holder
            if time.monotonic() > deadline:
                raise Held(holder, age)
            time.sleep(0.2)

    @contextlib.contextmanager
    def _guarded(self) -> Iterator[None]:
        # Contenders for a lock whose holder is gone must not take it from each other. All of them are on this host.
        with self.path.with_name(f"{self.path.name}.guard").open("w") as guard:
            fcntl.flock(guard, fcntl.LOCK_EX)
            yield

    def _write(self, me: Holder) -> None:
        since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        self.path.with_name(f"{self.path.name}.stopped").unlink(missing_ok=True)
        write_atomically(self.path, json.dumps({**me, "since": since}))

    def release(self, token: str) -> bool:
        """Give the lock back; False where it is not ours (any more)."""
        with self._guarded():
            mine = self.mine(token)
            if mine:
                self.path.unlink()
        return mine

    def mine(self, token: str) -> bool:
        """Say whether the holder of `token` still holds the lock."""
        found = self.holder()
        return found is not None and found[0].get("token") == token
