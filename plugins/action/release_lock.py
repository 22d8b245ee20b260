# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""Take the lock, and keep it alive from a process that ends with ansible-playbook."""

from __future__ import annotations

import contextlib
import os
import shlex
import time
from pathlib import Path
from typing import Any

import ansible.module_utils

# Ansible makes our module_utils known to modules, not to its own process.
_UTILS = str(Path(__file__).resolve().parents[2] / "module_utils")
if _UTILS not in ansible.module_utils.__path__:
    ansible.module_utils.__path__.append(_UTILS)

from ansible.module_utils.slipway.lean.controller import LeanAction, prepared
from ansible.module_utils.slipway.model.operator import controller, operator

prepared("release_lock")

HEARTBEAT = 3  # seconds between heartbeats
WATCH = 0.2  # seconds between looks whether ansible-playbook still lives


class ActionModule(LeanAction):  # type: ignore[misc]
    """Runs the module on the host, then starts the heartbeat."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the module's result."""
        arguments = {**_this_run(), **self._task.args}
        self._task.args = arguments
        result: dict[str, Any] = super().run(tmp, task_vars)
        if (
            arguments.get("state", "held") == "held"
            and not self._task.check_mode
            and not result.get("failed")
        ):
            self._start_heartbeat(str(result["path"]), str(arguments["token"]))
        return {**result, "token": arguments["token"]}

    def _start_heartbeat(self, path: str, token: str) -> None:
        # The worker that runs this task ends with it; its parent is ansible-playbook.
        playbook = os.getppid()
        if os.fork():
            return
        with contextlib.suppress(BaseException):
            os.setsid()
            self._beat(playbook, path, token)
        os._exit(0)

    def _beat(self, playbook: int, path: str, token: str) -> None:
        # Only our own lock is touched or removed: it may have been taken over meanwhile.
        quoted = shlex.quote(path)
        note = shlex.quote(f"{path}.stopped")
        mine = f"exec 9> {quoted}.guard; flock 9; grep -qs {shlex.quote(token)} {quoted}"
        last = time.monotonic()
        while _alive(playbook):
            time.sleep(WATCH)
            if time.monotonic() - last >= HEARTBEAT:
                last = time.monotonic()
                # A run that was stopped, as by Ctrl-Z, lives; who waits for it is told so.
                told = f"touch {note}" if _state(playbook) == "T" else f"rm -f {note}"
                with contextlib.suppress(Exception):
                    self._low_level_execute_command(f"{mine} && touch {quoted} && {told}")
        self._display.verbosity = 0  # nobody is left to display to
        self._low_level_execute_command(f"{mine} && rm -f {quoted} {note}")


def _this_run() -> dict[str, str]:
    """Say who runs what where. The worker's parent is ansible-playbook; only playbooks are taken of its command line."""
    playbook = os.getppid()
    words = Path(f"/proc/{playbook}/cmdline").read_text().split("\0")
    playbooks = [Path(word).name for word in words if word.endswith((".yml", ".yaml")) and "=" not in word]
    started = Path(f"/proc/{playbook}/stat").read_text().rpartition(")")[2].split()[19]
    return {
        "owner": operator(),
        "controller": controller(),
        "command": playbooks[0] if playbooks else "ansible-playbook",
        "token": f"{controller()}-{playbook}-{started}",
    }


def _alive(pid: int) -> bool:
    return _state(pid) not in ("", "Z")


def _state(pid: int) -> str:
    """Return the state of a process as proc(5) calls it, such as T for a stopped one; nothing where there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""
