# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""Runs the module it is linked to by name as Ansible does, and hands it the fence of the run: see host/fence.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ansible.module_utils
from ansible.plugins.action import ActionBase

# Ansible makes our module_utils known to modules, not to its own process.
_UTILS = str(Path(__file__).resolve().parents[1] / "module_utils")
if _UTILS not in ansible.module_utils.__path__:
    ansible.module_utils.__path__.append(_UTILS)

from ansible.module_utils.slipway.host.fence import handed


class ActionModule(ActionBase):  # type: ignore[misc]
    """The module, also with C(async)."""

    _supports_check_mode = True
    _supports_async = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the module of the task."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        detached = bool(self._task.async_val) and not self._connection.has_native_async
        arguments = handed(self._task.args, task_vars or {})
        ran = self._execute_module(module_args=arguments, task_vars=task_vars, wrap_async=detached)
        return {**result, **ran}
