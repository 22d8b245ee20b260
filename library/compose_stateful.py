#!/usr/bin/python
# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

DOCUMENTATION = r"""
module: compose_stateful
short_description: Run those services of a system that keep data
extends_documentation_fragment: [fence]
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
    description: Seconds for which a container without a health check must have been up to count as ready.
    type: float
    default: 2
attributes:
  check_mode: {support: full}
  diff_mode: {support: full}
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
lost:
  description: Who has the system now.
  returned: when this run has lost it
  type: dict
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.slipway.compose.project import ProjectError
from ansible.module_utils.slipway.compose.stateful import ensure
from ansible.module_utils.slipway.host.fence import OPTION, Lost, see


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "directory": {"type": "path", "required": True},
            "recreate": {"type": "bool", "default": False},
            "timeout": {"type": "int", "default": 120},
            "settled": {"type": "float", "default": 2},
            "fence": OPTION,
        },
        supports_check_mode=True,
    )
    try:
        see(None if module.check_mode else module.params["fence"])
        result = ensure(module.run_command, module.params, module.check_mode)
    except ProjectError as error:
        module.fail_json(msg=str(error), logs=error.logs)
    except Lost as error:
        module.fail_json(msg=str(error), **error.result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
