#!/usr/bin/python

# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""Documentation of the action plugin of the same name, which does all the work on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: system_check
short_description: Check the declaration of a system, all mistakes at once
description:
  - Reads the variables C(app_*) and C(environment_*) of the inventory, and the application's Compose files
    where their source is given, and reports everything that is wrong with file, line and the edit that fixes it.
  - Runs on the controller alone, connects to no host and changes nothing.
  - Values of the environment are shown only where the contract says C(secret=false), or says nothing and the
    type is integer, number, boolean or enum.
  - Of C(verify_checks), C(verify_flows) and C(verify_load), names that are undefined are mistakes.
  - Unknown names that begin with C(app_) or C(environment_) are mistakes. Of the variables of roles, values that
    do not fit are mistakes, names that are nearly those of a variable, and texts such as C(false) for a boolean,
    as by C(-e x=false).
options:
  source:
    description:
      - Directory on the controller with the application's source, in which C(app_source.compose) lies.
      - Without it the Compose files are not checked.
    type: path
  addresses:
    description: Whether hosts must have an address. V(false) where the hosts have not been created yet.
    type: bool
    default: true
attributes:
  check_mode:
    support: full
    description: Only reads, so it does the same in check mode.
  diff_mode:
    support: none
    description: Changes nothing.
notes:
  - C(docker compose config) on the controller is asked for what Compose itself refuses. Where it is not
    installed, RV(notes) says so.
author: slipway contributors
"""

EXAMPLES = r"""
- name: The declaration is free of mistakes
  system_check:
    source: "{{ playbook_dir }}/var/source/reviews"
  run_once: true
"""

RETURN = r"""
problems:
  description: All mistakes; the task fails if there are any.
  returned: always
  type: list
  elements: dict
  contains:
    file: {description: File of the inventory or Compose file., type: str}
    line: {description: Line that counts from 1; 0 where no line can be named., type: int}
    key: {description: Path of the key, joined by dots., type: str}
    problem: {description: What was seen and what was expected., type: str}
    fix: {description: The edit that fixes it; may be empty., type: str}
notes:
  description: What could not be checked, and why.
  returned: always
  type: list
  elements: str
clients:
  description: The host that needs PostgreSQL's own client programs for its backups; empty where none does.
  returned: always
  type: str
gates:
  description: The number of mistakes beside its limit, 0.
  returned: always
  type: list
  elements: dict
report:
  description: What the report says of the declaration.
  returned: always
  type: dict
system:
  description: The system with its defaults; web services have C(ports) by colour, stateful ones C(host).
  returned: success
  type: dict
  sample:
    name: reviews
    port_base: 20600
    services: {web: {kind: web, port: 8000, ports: {blue: [20600, 20601], green: [20700, 20701]}}}
    app_hosts: [app1]
    data_hosts: [data1]
    addresses: {app1: 10.0.0.1, data1: 10.0.0.2}
    ports_on: {app1: [20600, 20601, 20700, 20701], data1: [5432]}
"""

from ansible.module_utils.basic import AnsibleModule


def main() -> None:
    """Say that only the action plugin does the work."""
    options = {"source": {"type": "path"}, "addresses": {"type": "bool", "default": True}}
    module = AnsibleModule(argument_spec=options, supports_check_mode=True)
    module.fail_json(
        msg="system_check is an action plugin: set action_plugins = plugins/action in ansible.cfg, or run "
        "this playbook from the directory of slipway"
    )


if __name__ == "__main__":
    main()
