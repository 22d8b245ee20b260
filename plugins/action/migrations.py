# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""Lint pending migrations on the controller, where squawk is, before the module applies them on the host."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import ansible.module_utils
from ansible.plugins.action import ActionBase

# Ansible makes our module_utils known to modules, not to its own process.
_UTILS = str(Path(__file__).resolve().parents[2] / "module_utils")
if _UTILS not in ansible.module_utils.__path__:
    ansible.module_utils.__path__.append(_UTILS)

from ansible.module_utils.slipway.host.fence import handed
from ansible.module_utils.slipway.migrate import lint as migration_lint
from ansible.module_utils.slipway.migrate import source as migration_source

#: An argument of the action alone, which the module does not know.
OWN = ("lint", "contract", "lint_grades", "source")


class ActionModule(ActionBase):  # type: ignore[misc]
    """The module's options plus ``lint``, ``contract``, ``lint_grades`` and ``source``."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Look, lint, and only then apply."""
        super().run(tmp, task_vars)
        arguments = {k: v for k, v in handed(self._task.args, task_vars or {}).items() if k not in OWN}
        state = arguments.get("state", "info")
        source = str(self._task.args.get("source") or "")
        if self._task.check_mode and source:
            arguments["revisions"] = migration_source.read(str(arguments["tool"]), Path(source))
        if state == "reverted" or not self._flag("lint"):
            return self._module(arguments, task_vars)
        looked = self._module({**arguments, "state": "info", "with_sql": True}, task_vars)
        if looked.get("failed"):
            return looked
        gates = self._lint(looked)
        broken = migration_lint.failures(gates)
        looked["gates"] = [*gates, *looked.get("gates", [])]
        if broken:
            pending = looked["pending"]
            number = "The" if pending is None else len(pending)
            text = f"{number} pending migrations were not started: " + "; ".join(broken)
            text += ". Expand first and contract in a later release, or declare it in migrate_contract"
            return {**looked, "failed": True, "msg": text}
        if state == "info":
            return looked
        # None is not known, which is not none.
        if looked["pending"] == []:
            # An earlier run may have applied everything and left an INVALID index behind.
            failed = [
                f"{g['name']}: {g['value']}. {g['detail']}" for g in looked["gates"] if g["verdict"] == "fail"
            ]
            return {**looked, "failed": True, "msg": "; ".join(failed)} if failed else looked
        if self._task.check_mode:
            return {**looked, "changed": True}
        result = self._module(arguments, task_vars)
        return {**result, "gates": [*gates, *result.get("gates", [])]}

    def _module(self, arguments: dict[str, Any], task_vars: dict[str, Any] | None) -> dict[str, Any]:
        done: dict[str, Any] = self._execute_module(
            module_name="migrations", module_args=arguments, task_vars=task_vars
        )
        return done

    def _flag(self, name: str) -> bool:
        return str(self._task.args.get(name, True)).lower() in ("true", "yes", "1", "on")

    def _lint(self, looked: dict[str, Any]) -> list[dict[str, Any]]:
        """The gates of the pending SQL, which is taken out of the result: it may hold data."""
        sql, reason = looked.pop("sql", ""), looked.pop("no_sql_because", "")
        if looked["pending"] == []:
            return []
        # On an empty database there is no release that could break and no row that could be locked.
        if looked.get("empty"):
            return [{"name": "migration lint", "value": "empty database", "limit": 0, "verdict": "pass"}]
        squawk = shutil.which("squawk", path=str(Path(sys.executable).parent)) or shutil.which("squawk")
        if sql and squawk is None:
            reason = "squawk is not installed on the controller: pip install squawk-cli"
        if not sql or squawk is None:
            gate = {"name": "migration lint", "value": "not linted", "limit": 0, "verdict": "inconclusive"}
            return [{**gate, "detail": reason}]
        command = [squawk, "--reporter", "json"]
        if looked.get("server_version"):
            command += ["--pg-version", str(looked["server_version"])]
        done = subprocess.run(command, input=sql, capture_output=True, text=True, check=False)  # noqa: S603
        try:
            findings = json.loads(done.stdout or "[]")
        except ValueError:
            gate = {"name": "migration lint", "value": "not linted", "limit": 0, "verdict": "inconclusive"}
            return [{**gate, "detail": f"squawk: {done.stderr.strip()[:200]}"}]
        own = self._task.args
        gates: list[dict[str, Any]] = migration_lint.grade(
            sql, findings, own.get("contract") or [], own.get("lint_grades") or {}
        )
        return gates
