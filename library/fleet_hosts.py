#!/usr/bin/python
# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

DOCUMENTATION = r"""
module: fleet_hosts
short_description: Containers that stand for the hosts of an inventory
description:
  - Makes sure that each host of a list is a running container with systemd, SSH and a Docker engine of its own, on the
    local Docker engine, and writes how to reach it to O(directory).
  - A container that exists is kept, one that is stopped is started. None is ever recreated silently.
  - Host keys are read through the engine, not over the network, so that SSH can check them from the first connection on.
options:
  name:
    description: Name of the fleet. Containers are called C(<name>-<host>), their network C(<name>).
    type: str
    required: true
  hosts:
    description: Names of the hosts.
    type: list
    elements: str
    default: []
  image:
    description: Image of a host, as C(images/build host:13) makes it.
    type: str
    default: slipway/host:13
  directory:
    description: Where the SSH key, C(known_hosts) and C(hosts.json) of the fleet are kept.
    type: path
    required: true
  state:
    description: V(absent) removes containers, their volumes, the network and O(directory).
    choices: [present, absent]
    default: present
    type: str
  timeout:
    description: Seconds a new host may take until it answers on SSH.
    type: int
    default: 60
attributes:
  check_mode: {support: full}
  diff_mode: {support: full}
"""

EXAMPLES = r"""
- name: Create and start the hosts of this inventory
  fleet_hosts:
    name: slipway
    hosts: "{{ groups.all }}"
    directory: "{{ playbook_dir }}/var/fleet/slipway"
"""

RETURN = r"""
hosts:
  description: Connection variables by host.
  returned: state is present and not in check mode
  type: dict
created:
  description: Hosts that were created.
  returned: always
  type: list
started:
  description: Hosts that existed and were started.
  returned: always
  type: list
"""

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible.module_utils.slipway.fleet import DOCKER_IMPORT_ERROR, FleetError, bring


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "hosts": {"type": "list", "elements": "str", "default": []},
            "image": {"type": "str", "default": "slipway/host:13"},
            "directory": {"type": "path", "required": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "timeout": {"type": "int", "default": 60},
        },
        supports_check_mode=True,
    )
    if DOCKER_IMPORT_ERROR:
        module.fail_json(msg=missing_required_lib("docker"), exception=DOCKER_IMPORT_ERROR)
    try:
        result = bring(module.params, module.check_mode)
    except FleetError as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
