#!/usr/bin/python
# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

DOCUMENTATION = r"""
module: host_check
short_description: Check in one call whether a host has what a release needs
description:
  - Looks at programs, free disk, memory, ports and the clock of a host, and says for each what was seen and what is required.
    Changes nothing.
options:
  programs:
    description: Lowest version by program. Known are C(docker), C(compose) and C(nginx); with an empty version any will do.
    type: dict
    default: {}
  packages:
    description: Debian packages to look for; those that are missing are returned.
    type: list
    elements: str
    default: []
  substitutes:
    description: Packages that are not missed where programs of another origin (Docker's own packages, nginx.org's) answer.
    type: list
    elements: dict
    default: []
    suboptions:
      programs:
        description: Programs that all have to answer, of those in O(programs).
        type: list
        elements: str
        required: true
      packages:
        description: Packages that then need not be installed.
        type: list
        elements: str
        required: true
  disk:
    description: Gigabytes that must be free, by path; for a path that does not exist its nearest parent is looked at.
    type: dict
    default: {}
  memory_gb:
    description: Memory that must be available, in gigabytes.
    type: float
    default: 0
  ports:
    description: TCP ports that nobody but O(port_owners) may listen on.
    type: list
    elements: int
    default: []
  port_owners:
    description: Names of programs that may listen on O(ports).
    type: list
    elements: str
    default: [nginx]
  system:
    description: Name of the system that is released.
    type: str
  system_ports:
    description: TCP ports that only containers of O(system) may have on this host, and no other system may need.
    type: list
    elements: int
    default: []
  controller_time:
    description: Seconds since 1970 on the controller; a clock that is off by more than O(clock_skew) fails.
    type: float
  clock_skew:
    description: Seconds the clock of the host may be off.
    type: float
    default: 30
attributes:
  check_mode: {support: full}
  diff_mode: {support: none}
"""

EXAMPLES = r"""
- name: Is the host fit?
  host_check:
    programs: {docker: "24", compose: "2.24"}
    disk: {/var/lib/docker: 5}
    ports: [80, 443]
"""

RETURN = r"""
versions:
  description: Version by program, empty where it is missing.
  returned: always
  type: dict
missing_packages:
  description: Which of O(packages) are not installed, nor have O(substitutes).
  returned: always
  type: list
gates:
  description: What was seen, beside its limit.
  returned: always
  type: list
failed_gates:
  description: Those that failed. The module does not fail by itself.
  returned: always
  type: list
distribution:
  description: Debian's version number, such as 13.
  returned: always
  type: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.slipway.host.check import look


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "programs": {"type": "dict", "default": {}},
            "packages": {"type": "list", "elements": "str", "default": []},
            "substitutes": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "programs": {"type": "list", "elements": "str", "required": True},
                    "packages": {"type": "list", "elements": "str", "required": True},
                },
            },
            "disk": {"type": "dict", "default": {}},
            "memory_gb": {"type": "float", "default": 0},
            "ports": {"type": "list", "elements": "int", "default": []},
            "port_owners": {"type": "list", "elements": "str", "default": ["nginx"]},
            "system": {"type": "str"},
            "system_ports": {"type": "list", "elements": "int", "default": []},
            "controller_time": {"type": "float"},
            "clock_skew": {"type": "float", "default": 30},
        },
        supports_check_mode=True,
    )
    module.exit_json(**look(module.run_command, module.get_bin_path, module.params))


if __name__ == "__main__":
    main()
