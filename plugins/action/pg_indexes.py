# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""Action plugin of pg_indexes: long builds run detached on the host, and what they do is shown as it happens.

Nothing to do is the usual case and costs one module call. Otherwise the module is started detached; it
appends its progress to a file, which is read from here. A controller that is killed takes nothing with it:
the module goes on, and the next run waits for what it finds being built.
"""

from __future__ import annotations

import shlex
import time
import uuid
from pathlib import Path
from typing import Any

import ansible.module_utils
from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

# Ansible makes our module_utils known to modules, not to its own process.
_UTILS = str(Path(__file__).resolve().parents[2] / "module_utils")
if _UTILS not in ansible.module_utils.__path__:
    ansible.module_utils.__path__.append(_UTILS)

from ansible.module_utils.slipway.host.fence import handed
from ansible.module_utils.slipway.indexes.progress import Narrator, split_records

display = Display()

# The detached process ends by itself; this only bounds what a bug could leave running.
LIMIT_S = 7 * 24 * 3600
FIRST_LOOK_S = 0.2
LOOK_EVERY_S = 2.0
# A lost connection costs nothing but news, so it is tried again for this long.
PATIENCE_S = 120.0
_MARK = "--- slipway job ---"


class ActionModule(ActionBase):  # type: ignore[misc]
    """Runs pg_indexes detached and narrates it."""

    _supports_check_mode = True
    _supports_async = True

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Entry point."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        self._task.args = handed(self._task.args, task_vars or {})
        if self._task.check_mode or self._task.async_val:
            detached = bool(self._task.async_val) and not self._connection.has_native_async
            result.update(self._execute_module(task_vars=task_vars, wrap_async=detached))
            return result
        first = self._execute_module(module_args={**self._task.args, "defer": True}, task_vars=task_vars)
        result.update(self._detached(task_vars) if first.pop("pending", False) else first)
        return result

    def _detached(self, task_vars: dict[str, Any] | None) -> dict[str, Any]:
        directory = self._remote_expand_user(self.get_shell_option("async_dir", default="~/.ansible_async"))
        progress = f"{directory}/pg_indexes-{uuid.uuid4().hex}.jsonl"
        arguments = {**self._task.args, "progress_file": progress}
        self._task.async_val = LIMIT_S
        try:
            started: dict[str, Any] = self._execute_module(
                module_args=arguments, task_vars=task_vars, wrap_async=True
            )
        finally:
            self._task.async_val = 0
        job = started.get("ansible_job_id")
        if started.get("failed") or not job:
            return started
        alive = self._follow(progress, f"{directory}/{job}")
        if not alive:
            return {
                "failed": True,
                "msg": "the process that builds the indexes is gone from the host (killed, or it restarted). "
                "Run the same command again: what is being built is waited for, what was left is repaired",
            }
        final: dict[str, Any] = self._execute_module(
            module_name="ansible.legacy.async_status",
            module_args={"jid": job, "mode": "status", "_async_dir": directory},
            task_vars=task_vars,
        )
        for key in ("ansible_job_id", "started", "finished", "results_file"):
            final.pop(key, None)
        # A controller that is killed leaves its files behind; after the limit nobody can write them any more.
        self._low_level_execute_command(
            f"rm -f {shlex.quote(progress)} {shlex.quote(f'{directory}/{job}')}; "
            f"find {shlex.quote(directory)} -name 'pg_indexes-*.jsonl' -mtime +{LIMIT_S // 86400} -delete"
        )
        return final

    def _follow(self, progress: str, job: str) -> bool:
        """Show progress until the job has ended. Returns False when its process vanished without a result."""
        narrator = Narrator(verbose=display.verbosity > 0)
        offset, pause, pid, missed, lost = 0, FIRST_LOOK_S, 0, 0, None
        while True:
            time.sleep(pause)
            pause = min(pause * 1.5, LOOK_EVERY_S)
            # async_wrapper writes {"started": ...} first and replaces it by the module's result.
            command = (
                f"tail -c +{offset + 1} {shlex.quote(progress)} 2>/dev/null; echo; echo '{_MARK}'; "
                f"head -c 64 {shlex.quote(job)}; kill -0 {pid} 2>/dev/null && echo '{_MARK}' || :"
            )
            try:
                text = self._low_level_execute_command(command).get("stdout", "")
                lost = None
            except AnsibleConnectionFailure as error:
                lost = lost or time.monotonic()
                if time.monotonic() - lost > PATIENCE_S:
                    raise
                self._say(f"no connection, the build goes on without us: {error}")
                continue
            news, _, state = text.partition(_MARK)
            records, used = split_records(news.removesuffix("\n"))
            offset += used
            for record in records:
                pid = record.get("pid", pid)
                if "index" in record:
                    self._say(narrator.feed(record, time.monotonic()))
            for line in narrator.heartbeat(time.monotonic()):
                self._say(line)
            head, _, alive = state.partition(_MARK)
            if head.strip() and '"started"' not in head:
                return True
            missed = 0 if not pid or alive or _MARK in state else missed + 1
            if missed > 3:
                return False

    def _say(self, line: str | None) -> None:
        if line and not self._task.no_log:
            display.display(f"{self._task_host()} | {line}")

    def _task_host(self) -> str:
        return str(self._play_context.remote_addr or "localhost")
