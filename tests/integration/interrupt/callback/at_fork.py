# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C while a worker is being forked: the moment in which Python drops the exception."""

from __future__ import annotations

import os
import signal
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: at_fork
type: aggregate
short_description: Interrupts the run in the fork for the task `interrupted`
description: For the tests.
author: slipway contributors
"""


class CallbackModule(CallbackBase):  # type: ignore[misc]
    """Sends SIGINT once."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "at_fork"

    def __init__(self) -> None:
        super().__init__()
        self.due = False

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:
        if task.get_name() == "interrupted":
            self.due = True
            os.register_at_fork(after_in_parent=self.interrupt)

    def interrupt(self) -> None:
        if self.due:
            self.due = False
            os.kill(os.getpid(), signal.SIGINT)
