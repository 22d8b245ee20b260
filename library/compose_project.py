#!/usr/bin/python
# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

DOCUMENTATION = r"""
module: compose_project
short_description: Run services of a Compose project, and wait until they are ready
description:
  - Brings the named services of a Compose project to O(state), without touching services they depend on. For the services
    of a system that are not released in colours; M(compose_colours) is for those that are.
  - With O(state=up) it returns when every container is ready, or fails as soon as one can't become so, with the last
    lines of its log.
options:
  project:
    description: Name of the Compose project.
    type: str
    required: true
  directory:
    description: Where the Compose files and the environment file lie; relative paths in them count from here.
    type: path
  files:
    description: Compose files in O(directory), later ones over earlier ones.
    type: list
    elements: str
    default: [compose.yaml]
  env_file:
    description: Environment file in O(directory) that variables of the Compose files are taken from.
    type: str
  services:
    description: The services that are acted on. Empty means all containers of the project (only with V(info)).
    type: list
    elements: str
    default: []
  state:
    description: V(info) only looks.
    choices: [up, info]
    default: info
    type: str
  networks:
    description: Docker networks that are made beforehand when they are missing.
    type: list
    elements: str
    default: []
  volumes:
    description: Docker volumes that are made beforehand when they are missing. None is ever removed.
    type: list
    elements: str
    default: []
  recreate:
    description: With V(refuse), containers whose configuration has changed are kept as they are and reported as a gate.
    choices: [changed, refuse]
    default: changed
    type: str
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
- name: Start the green colour
  compose_project:
    project: reviews-green
    directory: /var/lib/slipway/reviews/releases/20261121T210000Z-1a2b3c4
    files: [compose.yaml, slipway.yaml]
    env_file: .env
    services: [web]
    state: up
"""

RETURN = r"""
containers:
  description: The project's containers of these services.
  returned: always
  type: list
  elements: dict
drifted:
  description: Services whose containers differ from what the files ask for, and were kept.
  returned: recreate is refuse
  type: list
logs:
  description: Last lines of each container that did not become ready, by name.
  returned: on failure
  type: dict
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.slipway.project import Project, ProjectError, changed, public


def drift_gate(service: str, project: str) -> dict[str, str]:
    """Return the gate for a service that is kept although its configuration has changed."""
    return {
        "name": f"{service} unchanged",
        "value": "differs from its Compose file",
        "limit": "never recreated silently",
        "verdict": "warn",
        "detail": f"kept as it is; in a quiet hour: -e stateful_recreate=true (recreates {service} of {project})",
    }


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "project": {"type": "str", "required": True},
            "directory": {"type": "path"},
            "files": {"type": "list", "elements": "str", "default": ["compose.yaml"]},
            "env_file": {"type": "str"},
            "services": {"type": "list", "elements": "str", "default": []},
            "state": {"type": "str", "choices": ["up", "info"], "default": "info"},
            "networks": {"type": "list", "elements": "str", "default": []},
            "volumes": {"type": "list", "elements": "str", "default": []},
            "recreate": {"type": "str", "choices": ["changed", "refuse"], "default": "changed"},
            "timeout": {"type": "int", "default": 120},
            "settled": {"type": "float", "default": 2},
        },
        required_if=[("state", "up", ["directory", "services"])],
        supports_check_mode=True,
    )
    arguments = module.params
    services, recreate = arguments["services"], arguments["recreate"] == "changed"
    project = Project(
        module.run_command, arguments["project"], arguments["directory"], arguments["files"], arguments["env_file"]
    )
    result: dict[str, Any] = {"changed": False, "gates": [], "drifted": []}
    try:
        before = project.containers(services)
        if arguments["state"] == "up":
            result["drifted"] = [name for name in project.drifted() if name in services] if before else []
            if not recreate:
                result["gates"] = [drift_gate(name, arguments["project"]) for name in result["drifted"]]
            if module.check_mode:
                up = {found["service"] for found in before if found["status"] == "running"}
                result["changed"] = bool(set(services) - up or (recreate and result["drifted"]))
            else:
                project.ensure("network", arguments["networks"])
                project.ensure("volume", arguments["volumes"])
                project.up(services, recreate=recreate, timeout=arguments["timeout"], settled=arguments["settled"])
        after = project.containers(services)
    except ProjectError as error:
        module.fail_json(msg=str(error), logs=error.logs)
    if arguments["state"] == "up" and not module.check_mode:
        result["changed"] = changed(before, after)
    module.exit_json(**result, containers=public(after))


if __name__ == "__main__":
    main()
