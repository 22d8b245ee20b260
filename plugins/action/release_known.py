# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""Put together what all hosts know: see the documentation of the module of the same name."""

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

from ansible.module_utils.slipway.release.entry import NotYet
from ansible.module_utils.slipway.release.known import Known, Unknowable
from ansible.module_utils.slipway.release.plan import PlanError, probes, see_data_is_there
from ansible.module_utils.slipway.release.records import ReleaseError

OPTIONS: dict[str, dict[str, Any]] = {
    "lost": {"type": "list", "elements": "str", "default": []},
    "start_over": {"type": "bool", "default": False},
    "kind": {"type": "str", "choices": ["deploy", "rollback", "join"], "default": "deploy"},
    "wanted": {"type": "str", "default": ""},
    "alone": {"type": "str", "default": ""},
    "moved": {"type": "list", "elements": "str", "default": []},
    "give_up": {"type": "str", "default": ""},
    "coordinator": {"type": "str", "required": True},
    "ttl": {"type": "int", "default": 20},
    "token": {"type": "str", "default": "", "no_log": False},
    "takeover": {"type": "bool", "default": False},
}


class ActionModule(ActionBase):  # type: ignore[misc]
    """Runs on the controller only."""

    _requires_connection = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return what is known."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _, asked = self.validate_argument_spec(OPTIONS)
        found = task_vars or {}
        views = {
            host: json.loads(json.dumps(found["hostvars"][host]["release_view"]))
            for host in found["ansible_play_hosts"]
            if "records" in (found["hostvars"][host].get("release_view") or {})
        }
        known = Known(views, [str(host) for host in found["groups"]["edge"]], asked["give_up"])
        app = [str(host) for host in found["groups"].get("app", [])]
        try:
            known.see_enough(asked["lost"], asked["start_over"])
            if not asked["takeover"]:
                known.see_free(asked["coordinator"], asked["token"], asked["ttl"])
            if asked["kind"] == "rollback":
                known.see_way_back(asked["wanted"], asked["token"], asked["ttl"])
            if asked["alone"]:
                known.see_phase(asked["alone"])
            if asked["kind"] != "join":
                see_data_is_there(known.emptied(), known.live, asked["moved"])
        except (Unknowable, ReleaseError, NotYet, PlanError) as error:
            raise AnsibleActionFail(str(error)) from error
        return {
            **result,
            "changed": False,
            "records": known.records,
            "live": known.live,
            "unfinished": known.unfinished,
            "settlement": known.settlement,
            "colour": known.colour,
            "edges": known.edges,
            "generation": known.generation,
            "lacking": known.lacking,
            "misdirected": known.misdirected,
            "bare": known.bare(app),
            "probes": probes(known.live, app) if known.live else [],
        }
