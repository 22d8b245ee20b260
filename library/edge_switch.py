#!/usr/bin/python
# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

DOCUMENTATION = r"""
module: edge_switch
short_description: Turn the edge to a colour, and see through the edge that it has turned
extends_documentation_fragment: [fence]
description:
  - Turns the edge of a system to O(colour) with one atomic file operation, then asks the edge until O(requests) answers
    in a row came from that colour. Where that is not seen within O(timeout) it is turned back, and the module fails.
  - Without O(colour) it only says where the edge points.
options:
  directory:
    description: Directory of the system's flag files, such as C(/var/lib/slipway/reviews/edge).
    type: path
    required: true
  colour:
    description: The colour that new requests must reach.
    choices: [blue, green, none]
    type: str
  domain:
    description: Public name of the system.
    type: str
  port:
    description: Port on which the edge is asked; without it 443, and 80 where O(tls) is false.
    type: int
  tls:
    description: Whether the edge speaks TLS there.
    type: bool
    default: true
  path:
    description: What is asked for; a health path, since an answer of 500 or above does not count.
    type: str
    default: /
  requests:
    description: How many answers in a row must come from the colour. Two for each worker of nginx and each replica are plenty.
    type: int
    default: 8
  servers:
    description: Servers of O(colour), asked directly before the edge is turned; one that does not answer stops the turn.
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
  only_see:
    description: Turn nothing; fail where the edge does not point at O(colour), or its answers do not come from there.
    type: bool
    default: false
  any_server:
    description: One of O(servers) that answers is enough, as for the way back while a host is lost.
    type: bool
    default: false
  timeout:
    description: Seconds until the new colour must answer.
    type: float
    default: 10
  back_on_failure:
    description: Turn back where the new colour does not answer.
    type: bool
    default: true
attributes:
  check_mode: {support: full}
  diff_mode: {support: full}
"""

EXAMPLES = r"""
- name: Turn to green
  edge_switch:
    directory: /var/lib/slipway/reviews/edge
    colour: green
    domain: reviews.example.test
    path: /health
"""

RETURN = r"""
colour:
  description: The colour the edge points at now.
  returned: always
  type: str
before:
  description: The colour it pointed at before.
  returned: always
  type: str
serves:
  description: Whether the edge gives answers below 500 all the same, from whichever colour.
  returned: when it was not turned, or turned back
  type: bool
flip_ms:
  description: Milliseconds from the call until the flag was turned.
  returned: when it was turned
  type: float
confirmed_ms:
  description: Milliseconds from the call until all answers came from the colour.
  returned: when it was asked
  type: float
requests:
  description: How many requests that took.
  returned: when it was asked
  type: int
lost:
  description: Who has the system now.
  returned: when this run has lost it
  type: dict
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.slipway.edge.ask import EdgeError
from ansible.module_utils.slipway.edge.switch import turn
from ansible.module_utils.slipway.host.fence import OPTION, Lost
from ansible.module_utils.slipway.model.colours import COLOURS


def main() -> None:
    server = {"address": {"type": "str", "required": True}, "path": {"type": "str", "default": "/"}}
    module = AnsibleModule(
        argument_spec={
            "directory": {"type": "path", "required": True},
            "colour": {"type": "str", "choices": [*COLOURS, "none"]},
            "domain": {"type": "str"},
            "port": {"type": "int"},
            "tls": {"type": "bool", "default": True},
            "path": {"type": "str", "default": "/"},
            "requests": {"type": "int", "default": 8},
            "servers": {"type": "list", "elements": "dict", "default": [], "options": server},
            "only_see": {"type": "bool", "default": False},
            "any_server": {"type": "bool", "default": False},
            "timeout": {"type": "float", "default": 10},
            "back_on_failure": {"type": "bool", "default": True},
            "fence": OPTION,
        },
        supports_check_mode=True,
    )
    try:
        result = turn(module.params, module.check_mode)
    except (EdgeError, Lost) as error:
        module.fail_json(msg=str(error), **error.result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
