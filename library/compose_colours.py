#!/usr/bin/python
# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

DOCUMENTATION = r"""
module: compose_colours
short_description: Run the colours of a system on this host, and the workers of one of them
extends_documentation_fragment: [fence]
description:
  - A system has two sets of stateless containers, blue and green, each a Compose project of its own. This module brings a
    host to the state that is asked for, in an order that is safe to interrupt.
  - Workers of a colour that is not O(workers) are stopped, and waited for, before those of O(workers) start, so that two
    generations never work at once.
  - Colours that are not mentioned are left alone.
options:
  name:
    description: Name of the system; the projects are C(<name>-blue) and C(<name>-green).
    type: str
    required: true
  running:
    description: Colours whose web services must run and be ready.
    type: list
    elements: str
    default: []
  stopped:
    description: Colours whose containers must be stopped, and are kept.
    type: list
    elements: str
    default: []
  absent:
    description: Colours whose containers must not exist.
    type: list
    elements: str
    default: []
  prepared:
    description: Colours whose networks and volumes must be there, for a one-shot container to join.
    type: list
    elements: str
    default: []
  workers:
    description: The colour whose workers run. V(none) stops all workers; without it they are left alone.
    choices: [blue, green, none]
    type: str
  colours:
    description:
      - Directory of the files a colour runs from, by colour, as M(release_bundle) writes them. Needed for each colour in
        O(running) or O(workers).
    type: dict
    default: {}
  timeout:
    description: Seconds until every container must be ready.
    type: int
    default: 120
  wait:
    description:
      - Return when every container is ready. With V(false) it returns at once, and the host does the work in the background;
        the next call on this host waits until that is done, and says what went wrong.
    type: bool
    default: true
  settled:
    description: Seconds for which a container without a health check must have been up to count as ready.
    type: float
    default: 2
attributes:
  check_mode: {support: full}
  diff_mode: {support: full}
"""

EXAMPLES = r"""
- name: Start green beside blue, whose workers go on working
  compose_colours:
    name: reviews
    running: [green]
    colours:
      green: /var/lib/slipway/reviews/releases/20261121T210000Z-1a2b3c4

- name: Hand over to green's workers, and keep blue, stopped, for a rollback
  compose_colours:
    name: reviews
    stopped: [blue]
    workers: green
    colours:
      green: /var/lib/slipway/reviews/releases/20261121T210000Z-1a2b3c4
"""

RETURN = r"""
containers:
  description: The containers by colour.
  returned: always
  type: dict
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
from ansible.module_utils.slipway.compose.colours import bring
from ansible.module_utils.slipway.compose.project import ProjectError
from ansible.module_utils.slipway.host.fence import OPTION, Lost
from ansible.module_utils.slipway.host.lock import Busy
from ansible.module_utils.slipway.model.colours import COLOURS


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "running": {"type": "list", "elements": "str", "default": []},
            "stopped": {"type": "list", "elements": "str", "default": []},
            "absent": {"type": "list", "elements": "str", "default": []},
            "prepared": {"type": "list", "elements": "str", "default": []},
            "workers": {"type": "str", "choices": [*COLOURS, "none"]},
            "colours": {"type": "dict", "default": {}},
            "timeout": {"type": "int", "default": 120},
            "wait": {"type": "bool", "default": True},
            "settled": {"type": "float", "default": 2},
            "fence": OPTION,
        },
        supports_check_mode=True,
    )
    try:
        result = bring(module.run_command, module.get_bin_path, module.params, module.check_mode)
    except (ProjectError, Busy) as error:
        module.fail_json(msg=str(error), logs=getattr(error, "logs", {}))
    except Lost as error:
        module.fail_json(msg=str(error), **error.result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
