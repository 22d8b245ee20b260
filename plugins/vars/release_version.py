# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""Give inventories the version that is being released, as `release_version`."""

from __future__ import annotations

DOCUMENTATION = r"""
name: release_version
short_description: The version that is being released, for checks that expect it
description:
  - The variable C(release_version) of every host. It is the C(app_version) of the inventory until the release is planned, and
    the version of that release from then on. In a rollback that is the version of the release it goes back to; in a
    playbook that releases nothing, that of the live one.
"""

from typing import Any

from ansible.inventory.host import Host
from ansible.plugins.vars import BaseVarsPlugin
from ansible.template import trust_as_template

# In preflight, until there is a plan, `release_this` may be a release that broke off and was settled.
VERSION = trust_as_template(
    "{{ (release_this | default({}) if release_planned is defined or slipway_phase | default('') != 'preflight' else {}).version"
    " | default(app_version) }}"
)


class VarsModule(BaseVarsPlugin):  # type: ignore[misc]
    """One variable, which Ansible fills in where it is used."""

    def get_vars(self, loader: Any, path: str, entities: Any, cache: bool = True) -> dict[str, Any]:
        """Return the variable for a host, and nothing for groups."""
        one = entities[0] if isinstance(entities, list) and entities else entities
        return {"release_version": VERSION} if isinstance(one, Host) else {}
