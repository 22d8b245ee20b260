#!/usr/bin/python
# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

DOCUMENTATION = r"""
module: release_watch
short_description: Watch a release from the edge, and turn the edge back when it fails
extends_documentation_fragment: [fence]
description:
  - Probes the public address on the edge host for O(seconds). O(failures) bad answers in a row turn the edge back to
    O(previous_colour) at once, whether or not a controller is there.
  - Meant to be run with C(async), so that it outlives the controller. Its verdict is written to
    C(<root>/releases/<release>/watch.json), which the next run reads.
options:
  root:
    description: Directory of the system on the host.
    type: path
    required: true
  release:
    description: Id of the release.
    type: str
    required: true
  colour:
    description: Its colour. Where the edge no longer points at it, somebody has switched back, and the watch ends.
    type: str
    required: true
  previous_colour:
    description: The colour to turn back to. With V(none) there is nothing to turn to, and failures are only reported.
    type: str
    required: true
  domain:
    description: Public name of the system.
    type: str
    required: true
  path:
    description: What is asked for.
    type: str
    default: /
  port:
    description: Port on which the edge is asked; without it 443, and 80 where O(tls) is false.
    type: int
  tls:
    description: Whether the edge speaks TLS there.
    type: bool
    default: true
  servers:
    description: Servers of O(previous_colour). Where none of them answers, the edge stays as it is.
    type: list
    elements: dict
    default: []
    suboptions:
      address:
        description: C(host:port), plain HTTP.
        type: str
        required: true
      path:
        description: What is asked for.
        type: str
        default: /
  seconds:
    description: Seconds for which it watches.
    type: float
    required: true
  interval:
    description: Seconds between probes.
    type: float
    default: 0.5
  failures:
    description: Bad answers in a row that turn the edge back.
    type: int
    default: 3
attributes:
  check_mode: {support: full, details: Nothing is asked and nothing is turned.}
  diff_mode: {support: full, details: The colour before and after the edge was turned back.}
"""

EXAMPLES = r"""
- name: Watch for half an hour
  release_watch:
    root: /var/lib/slipway/reviews
    release: 20261121T210000Z-1a2b3c4
    colour: green
    previous_colour: blue
    domain: reviews.example.test
    path: /health
    seconds: 1800
  async: 1860
  poll: 5
"""

RETURN = r"""
verdict:
  description: C(pass), C(fail) or C(ended), where somebody else has switched back.
  returned: not in check mode
  type: str
probes:
  description: Number of probes.
  returned: not in check mode
  type: int
bad:
  description: Number of bad answers.
  returned: not in check mode
  type: int
slowest_ms:
  description: Slowest answer in milliseconds.
  returned: not in check mode
  type: float
stays:
  description: Why the edge was not turned back.
  returned: when the other colour does not answer either
  type: str
turned_back_to:
  description: The colour the edge was turned back to.
  returned: when it was turned back
  type: str
lost:
  description: Who has the system now.
  returned: when this run has lost it
  type: dict
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.slipway.edge.ask import EdgeError
from ansible.module_utils.slipway.edge.watch import watch
from ansible.module_utils.slipway.host.fence import OPTION, Lost


def main() -> None:
    server = {"address": {"type": "str", "required": True}, "path": {"type": "str", "default": "/"}}
    module = AnsibleModule(
        argument_spec={
            "root": {"type": "path", "required": True},
            "release": {"type": "str", "required": True},
            "colour": {"type": "str", "required": True},
            "previous_colour": {"type": "str", "required": True},
            "domain": {"type": "str", "required": True},
            "path": {"type": "str", "default": "/"},
            "port": {"type": "int"},
            "tls": {"type": "bool", "default": True},
            "servers": {"type": "list", "elements": "dict", "default": [], "options": server},
            "seconds": {"type": "float", "required": True},
            "interval": {"type": "float", "default": 0.5},
            "failures": {"type": "int", "default": 3},
            "fence": OPTION,
        },
        supports_check_mode=True,
    )
    if module.check_mode:
        module.exit_json(
            changed=False,
            msg=f"would watch {module.params['domain']} for {module.params['seconds']:.0f} s",
        )
    try:
        result = watch(module.params)
    except (EdgeError, Lost) as error:
        module.fail_json(msg=str(error), **error.result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
