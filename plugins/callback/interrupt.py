# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C ends a run, whatever ansible-playbook is doing at that moment."""

from __future__ import annotations

DOCUMENTATION = r"""
name: interrupt
type: aggregate
short_description: Ctrl-C ends a run at any moment
description:
  - Ansible answers SIGINT by an exception in its main process. Python drops an exception that is raised while a process is
    being forked, and ansible-playbook forks for each task and host. The play then goes on and may end with exit code 0.
  - Ansible also stops its workers. One that is stopped while it hands over a result keeps the lock of the queue, and
    ansible-playbook waits for that lock for ever.
  - With this plugin no task starts after an interrupt, and the interrupt is repeated until ansible-playbook has ended.
author:
  - slipway contributors
"""

import atexit
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, Union

from ansible.plugins.callback import CallbackBase

_Handler = Callable[[int, Union[FrameType, None]], Any]
# Seconds until the interrupt is repeated: where a worker was just being started, and where Ansible did not end by itself.
_SOON = 0.02
_LATER = 5.0


class CallbackModule(CallbackBase):  # type: ignore[misc]
    """Stands between SIGINT and Ansible's own handler of it."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "interrupt"

    def __init__(self) -> None:
        super().__init__()
        self._process = os.getpid()
        self._ansibles: _Handler = signal.default_int_handler
        self._timer: threading.Timer | None = None

    def v2_playbook_on_start(self, playbook: Any) -> None:
        """Take the place of Ansible's handler, which is there by now."""
        present = signal.getsignal(signal.SIGINT)
        if callable(present) and present != self._on_interrupt:
            self._ansibles = present
            signal.signal(signal.SIGINT, self._on_interrupt)
            atexit.register(self._end)

    def v2_runner_on_start(self, host: Any, task: Any) -> None:
        """Start nothing after an interrupt: the next thing Ansible would do is to fork."""
        if self._timer is not None:
            self._interrupt(None)

    def _on_interrupt(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:
            return  # a worker that has no handler of its own yet; it is stopped with the others
        if _is_within(frame, "_queue_task"):
            # Here Ansible does not know all of its workers, and Python may drop the exception.
            self._repeat_in(_SOON)
        else:
            self._interrupt(frame)

    def _interrupt(self, frame: FrameType | None) -> None:
        self._repeat_in(_LATER)
        try:
            self._ansibles(signal.SIGINT, frame)  # stops the workers, and raises KeyboardInterrupt
        finally:
            signal.signal(signal.SIGINT, self._on_interrupt)

    def _repeat_in(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = threading.Timer(seconds, os.kill, (self._process, signal.SIGINT))
        self._timer.daemon = True
        self._timer.start()

    def _end(self) -> None:
        """At the end of the process, which waits for workers: those that could not be stopped are killed."""
        if self._timer is not None:
            self._timer.cancel()
            for worker in multiprocessing.active_children():
                worker.kill()


def _is_within(frame: FrameType | None, function: str) -> bool:
    while frame is not None:
        if frame.f_code.co_name == function:
            return True
        frame = frame.f_back
    return False
