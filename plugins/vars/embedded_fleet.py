# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""Give the hosts of an embedded fleet their addresses, so that nothing else has to know that they are containers."""

from __future__ import annotations

DOCUMENTATION = r"""
name: embedded_fleet
short_description: Addresses and SSH settings of the hosts of an embedded fleet
description:
  - Active only where C(fleet) is C(embedded), in C(group_vars/all/fleet.yml) of the inventory or as C(-e fleet=embedded).
  - Overlays the inventory's C(ansible_host) and its like, and C(app_address), with those of the container that stands
    for the host. The C(fleet_hosts) module writes them to C(var/fleet/<fleet_name>/hosts.json).
options:
  _fleet_name:
    description: C(fleet_name) of the inventory (V(slipway)); hosts of the same name in two inventories are the same container.
    type: str
"""

import json
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleParserError
from ansible.inventory.host import Host
from ansible.plugins.vars import BaseVarsPlugin
from ansible.utils.vars import load_extra_vars

FLEETS = Path(__file__).resolve().parents[2] / "var" / "fleet"


class VarsModule(BaseVarsPlugin):  # type: ignore[misc]
    """Overlay of connection variables, by host."""

    def get_vars(self, loader: Any, path: str, entities: Any, cache: bool = True) -> dict[str, Any]:
        """Return the container's variables for a host; nothing for groups and for fleets of real servers."""
        hosts = [
            entity
            for entity in (entities if isinstance(entities, list) else [entities])
            if isinstance(entity, Host)
        ]
        if not hosts:
            return {}
        settings = self._settings(loader, path)
        if settings.get("fleet") != "embedded":
            return {}
        state = FLEETS / str(settings.get("fleet_name", "slipway")) / "hosts.json"
        if not state.exists():
            return {}
        known: dict[str, dict[str, Any]] = json.loads(state.read_text())
        return dict(known.get(hosts[0].name, {}))

    @staticmethod
    def _settings(loader: Any, path: str) -> dict[str, Any]:
        extra = load_extra_vars(loader)
        settings: dict[str, Any] = {}
        declared = Path(path) / "group_vars" / "all" / "fleet.yml"
        if declared.exists():
            settings = loader.load_from_file(str(declared), cache="all") or {}
            if not isinstance(settings, dict):
                raise AnsibleParserError(f"{declared}: expected variables such as `fleet: embedded`")
        return {**settings, **{key: extra[key] for key in ("fleet", "fleet_name") if key in extra}}
