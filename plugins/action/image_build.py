# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""Runs the module image_build, and says every 30 seconds which step a long build is at."""

from __future__ import annotations

import re
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

EVERY = 30.0
_STEP = re.compile(r"^#\d+ (\[.+)$", re.MULTILINE)
display = Display()


def last_step(log: str) -> str | None:
    """Return the last step BuildKit has announced (`[web 3/7] RUN pip install ...`)."""
    steps = _STEP.findall(log)
    return steps[-1][:100] if steps else None


def watch(log: Path, over: threading.Event) -> None:
    """Print the step of the build that writes to `log` every 30 seconds, until it is over."""
    started = time.monotonic()
    while not over.wait(EVERY):
        step = last_step(log.read_text(errors="replace")) if log.exists() else None
        display.display(f"image_build: {time.monotonic() - started:.0f} s | {step or 'starting'}")


class ActionModule(ActionBase):  # type: ignore[misc]
    """See library/image_build.py."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the module on the task's host, which is the controller."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        with tempfile.TemporaryDirectory(prefix="slipway-build-") as directory:
            log = self._task.args.get("log") or f"{directory}/build.log"
            over = threading.Event()
            threading.Thread(target=watch, args=(Path(log), over), daemon=True).start()
            try:
                arguments = {**self._task.args, "log": log}
                result.update(self._execute_module("image_build", module_args=arguments, task_vars=task_vars))
            finally:
                over.set()
        return result
