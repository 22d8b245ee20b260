#!/usr/bin/python
# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

DOCUMENTATION = r"""
module: compose_stateful
short_description: Run the services of a system that keep data
description:
  - Starts the stateful services of a system on this host where they do not run, and waits until they are ready.
  - Containers whose configuration has changed are kept as they are and reported as a gate, unless O(recreate) says otherwise,
    because recreating a database is an outage.
options:
  name:
    description: Name of the system, which is also the name of the Compose project.
    type: str
    required: true
  directory:
    description: Directory of the files they run from, as M(release_bundle) writes them.
    type: path
    required: true
  recreate:
    description: Recreate containers whose configuration has changed.
    type: bool
    default: false
  timeout:
    description: Seconds until every container must be ready.
    type: int
    default: 120
  settled:
    description: Seconds a container without a health check must have been up.
    type: float
    default: 2
attributes:
  check_mode: {support: full}
  diff_mode: {support: none}
"""

EXAMPLES = r"""
- name: The database and the cache run
  compose_stateful:
    name: reviews
    directory: /var/lib/slipway/reviews/stateful
"""

RETURN = r"""
containers:
  description: The containers of these services.
  returned: always
  type: list
  elements: dict
drifted:
  description: Services whose containers differ from what the files ask for.
  returned: always
  type: list
logs:
  description: Last lines of each container that did not become ready, by name.
  returned: on failure
  type: dict
"""

from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.slipway.compose.project import Project, ProjectError, changed, public


def drift_gate(service: str) -> dict[str, str]:
    """Return the gate for a service that is kept although its configuration has changed."""
    return {
        "name": f"{service} unchanged",
        "value": "differs from its Compose file",
        "limit": "never recreated silently",
        "verdict": "warn",
        "detail": "kept as it is; recreate it in a quiet hour with -e stateful_recreate=true",
    }


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "directory": {"type": "path", "required": True},
            "recreate": {"type": "bool", "default": False},
            "timeout": {"type": "int", "default": 120},
            "settled": {"type": "float", "default": 2},
        },
        supports_check_mode=True,
    )
    arguments = module.params
    result: dict[str, Any] = {"changed": False, "gates": []}
    if module.check_mode and not Path(arguments["directory"], "project.json").exists():
        # A release that is yet to be made: its files come before its containers.
        module.exit_json(changed=True, gates=[], drifted=[], containers=[])
    try:
        project = Project.of(
            module.run_command, arguments["name"], arguments["directory"], "project.json", "slipway.yaml"
        )
        services = project.spec["services"]
        before = project.containers(services)
        drifted = [name for name in project.drifted() if name in services] if before else []
        if not arguments["recreate"]:
            result["gates"] = [drift_gate(name) for name in drifted]
        if module.check_mode:
            up = {found["service"] for found in before if found["status"] == "running"}
            result["changed"] = bool(set(services) - up or (arguments["recreate"] and drifted))
            after = before
        else:
            project.up(
                services,
                recreate=arguments["recreate"],
                timeout=arguments["timeout"],
                settled=arguments["settled"],
            )
            after = project.containers(services)
            result["changed"] = changed(before, after)
    except ProjectError as error:
        module.fail_json(msg=str(error), logs=error.logs)
    module.exit_json(**result, drifted=drifted, containers=public(after))


if __name__ == "__main__":
    main()
