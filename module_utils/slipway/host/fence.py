# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""The fence of a host: a number that only rises, held by the run that may change it.

Whoever takes the lock of a system writes a number higher than any before to every host, as `<root>/fence.json`. A run that was
suspended and has lost the lock meanwhile still has its old number, and each host refuses it: what a fencing token is for
(M. Kleppmann, How to do distributed locking, 2016).
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..model.durable import write_atomically

NAME = "fence.json"
# What every module that changes a host takes; `handed` fills it in, so that no task can forget it.
OPTION: dict[str, Any] = {
    "type": "dict",
    "options": {
        "root": {"type": "path", "required": True},
        "generation": {"type": "int", "required": True},
        "token": {"type": "str", "required": True, "no_log": False},
        "owner": {"type": "str"},
        "controller": {"type": "str"},
        "command": {"type": "str"},
    },
}

Fence = Mapping[str, Any]


class Lost(Exception):
    """Somebody else has the system by now; `result` has them as `lost`, and what a report says of this run."""

    def __init__(self, holder: Fence) -> None:
        said = f"This run has lost the system to {who(holder)}, and changes nothing more"
        self.result = {
            "lost": dict(holder),
            "report": {"release": {"verdict": "inconclusive", "reason": f"{said}."}},
        }
        super().__init__(
            f"{said} here. See how that one goes on; what is left of this release is settled by it or by the next run."
        )


def handed(arguments: Mapping[str, Any], task_vars: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a module with the fence of this run, as the role `release` has registered it with the lock."""
    mine = (task_vars.get("release_lock") or {}).get("fence")
    return {"fence": mine, **arguments} if mine else dict(arguments)


def who(holder: Fence) -> str:
    """Return who holds a fence and since when, for a person."""
    return (
        f"{holder.get('owner') or 'somebody'} on {holder.get('controller') or 'an unknown machine'}"
        f" ({holder.get('command') or 'an unknown command'}, since {holder.get('since') or 'unknown'})"
    )


def read(root: str | Path) -> dict[str, Any]:
    """Return the fence of a system on this host; generation 0 where there is none, or one that can't be read."""
    with contextlib.suppress(OSError, ValueError, TypeError):
        found = json.loads((Path(root) / NAME).read_text())
        return {**found, "generation": int(found["generation"])}
    return {"generation": 0}


def take(root: str | Path, me: Fence) -> None:
    """Take the fence as `me` (generation, token, owner, controller, command). Raises Lost where a host has a higher one,
    or the same of somebody else.
    """
    directory = Path(root)
    directory.mkdir(parents=True, exist_ok=True)
    with _guarded(directory, fcntl.LOCK_EX):
        found = read(directory)
        if refuses(found, me):
            raise Lost(found)
        if found.get("token") != me["token"] or found["generation"] != me["generation"]:
            since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            write_atomically(directory / NAME, json.dumps({**me, "since": since}))


def holder_instead_of(mine: Fence | None) -> dict[str, Any] | None:
    """Return who has the system instead of this run; None where nobody has."""
    found = read(mine["root"]) if mine else {}
    return found if mine and refuses(found, mine) else None


def see(mine: Fence | None) -> None:
    """Raise Lost where the host's fence is somebody else's by now. None is a call outside of a run, which has no fence."""
    if (found := holder_instead_of(mine)) is not None:
        raise Lost(found)


@contextlib.contextmanager
def held(mine: Fence | None) -> Iterator[None]:
    """Keep the fence from changing hands during one short step, such as turning a flag. Raises Lost as `see` does."""
    if mine is None or not Path(mine["root"]).is_dir():
        yield
        return
    with _guarded(Path(mine["root"]), fcntl.LOCK_SH):
        see(mine)
        yield


def refuses(found: Fence, mine: Fence) -> bool:
    """Say whether a host whose fence is `found` refuses the run `mine`: the number is higher, or the same of somebody else."""
    seen, own = int(found["generation"]), int(mine["generation"])
    return seen > own or (seen == own and found.get("token") != mine["token"])


@contextlib.contextmanager
def _guarded(directory: Path, kind: int) -> Iterator[None]:
    with (directory / f".{NAME}.guard").open("w") as guard:
        fcntl.flock(guard, kind)
        yield
