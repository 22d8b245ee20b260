# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""Decide what a run does: see the documentation of the module of the same name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import ansible.module_utils
from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

# Ansible ships our module_utils to hosts, but does not put them where its own process finds them.
_OURS = str(Path(__file__).resolve().parents[2] / "module_utils")
if _OURS not in ansible.module_utils.__path__:
    ansible.module_utils.__path__.append(_OURS)

from ansible.module_utils.slipway.declaration.read import database_host
from ansible.module_utils.slipway.release import facts, plan
from ansible.module_utils.slipway.release.hosts import Site
from ansible.module_utils.slipway.release.records import ReleaseError

OPTIONS: dict[str, dict[str, Any]] = {
    "root": {"type": "path", "required": True},
    "kind": {"type": "str", "choices": ["deploy", "rollback", "join"], "default": "deploy"},
    "records": {"type": "list", "elements": "dict", "required": True},
    "edge": {"type": "str", "required": True},
    "bare": {"type": "list", "elements": "str", "default": []},
    "wanted": {"type": "str", "default": ""},
    "force": {"type": "bool", "default": False},
    "keep_warm": {"type": "bool", "default": False},
    "database": {"type": "str"},
    "moved": {"type": "list", "elements": "str", "default": []},
    "variables": {"type": "dict", "default": {}},
    "source": {"type": "dict", "default": {}},
    "edge_settings": {"type": "dict", "default": {}},
}
# What the report has of a release; `before_traffic` for its verdict where the run tells none.
SHOWN = ("id", "kind", "version", "revision", "colour", "previous", "url", "system", "before_traffic")


class ActionModule(ActionBase):  # type: ignore[misc]
    """Runs on the controller only."""

    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the plan as `release`."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _, validated = self.validate_argument_spec(OPTIONS)
        # Ansible's own kinds of text and number are of no use to YAML and JSON writers.
        arguments = json.loads(json.dumps(validated))
        try:
            return {**result, "changed": False, **self._planned(arguments, task_vars or {})}
        except (ReleaseError, plan.PlanError) as error:
            raise AnsibleActionFail(str(error)) from error

    def _planned(self, arguments: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        records, kind = arguments["records"], arguments["kind"]
        site = _site(arguments, task_vars)
        rest = (site, arguments["root"], arguments["keep_warm"])
        if kind == "join":
            return {"release": plan.taken_up(records, *rest)}
        if kind == "rollback":
            planned = plan.rollback(records, arguments["edge"], arguments["wanted"] or None)
        else:
            made_of, inputs = facts.of_deploy(arguments, records, task_vars)
            planned = plan.deploy(
                records, arguments["edge"], made_of, inputs, arguments["force"], arguments["bare"]
            )
        release, nowhere = plan.whole(planned, records, *rest)
        shown = {key: release.get(key) for key in SHOWN}
        if not release["needed"]:
            shown.update(nothing_to_do=True, verdict="live")
        return {
            "release": release,
            "gates": [plan.nowhere_gate(service, release) for service in nowhere],
            "report": {"release": shown},
        }


def _site(arguments: dict[str, Any], task_vars: dict[str, Any]) -> Site:
    groups = {name: list(task_vars["groups"].get(name, [])) for name in ("edge", "app", "data")}
    login = arguments["database"]
    return Site(
        **groups,
        database=login is not None,
        database_host=database_host(login or "", groups, task_vars["hostvars"]) if login is not None else "",
        moved=arguments["moved"],
    )
