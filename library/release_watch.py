#!/usr/bin/python
# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

DOCUMENTATION = r"""
module: release_watch
short_description: Watch a release from the edge, and turn back by itself
description:
  - Probes the public address on the edge host for O(seconds). O(failures) bad answers in a row turn the edge back to
    O(previous_colour) at once, whether or not a controller is there.
  - Meant to be run with C(async), so that it outlives the controller. What it comes to is written to
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
    description: Its colour. Where the edge points elsewhere, somebody has switched back, and the watch ends.
    type: str
    required: true
  previous_colour:
    description: The colour to turn back to; V(none) only reports, there is nothing to turn to.
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
    description: Port of the edge.
    type: int
    default: 443
  tls:
    description: Whether the edge speaks TLS there.
    type: bool
    default: true
  seconds:
    description: How long.
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
  check_mode: {support: none}
  diff_mode: {support: none}
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
  returned: always
  type: str
probes:
  description: Number of probes.
  returned: always
  type: int
bad:
  description: Number of bad answers.
  returned: always
  type: int
slowest_ms:
  description: Slowest answer in milliseconds.
  returned: always
  type: float
"""

import http.client
import json
import time
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.slipway.edge import ask as edge
from ansible.module_utils.slipway.edge import flag
from ansible.module_utils.slipway.model.durable import write_atomically


def watch(arguments: dict[str, Any], flags: Path) -> dict[str, Any]:
    """Probe until the time is up or the release has failed."""
    address = edge.Address(
        arguments["domain"], port=arguments["port"], tls=arguments["tls"], path=arguments["path"]
    )
    seen: dict[str, Any] = {"verdict": "pass", "probes": 0, "bad": 0, "slowest_ms": 0.0, "last": ""}
    in_a_row = 0
    deadline = time.monotonic() + arguments["seconds"]
    while time.monotonic() < deadline:
        if flag.pointed_at(flags) != arguments["colour"]:
            return {**seen, "verdict": "ended"}
        start = time.monotonic()
        seen["probes"] += 1
        try:
            status, _colour = edge.ask(address)
            good, seen["last"] = status < 500, f"status {status}"
        except (OSError, http.client.HTTPException) as error:
            good, seen["last"] = False, f"{type(error).__name__}: {error}"
        seen["slowest_ms"] = max(seen["slowest_ms"], round((time.monotonic() - start) * 1000, 1))
        in_a_row = 0 if good else in_a_row + 1
        seen["bad"] += not good
        if in_a_row >= arguments["failures"]:
            return {**seen, "verdict": "fail"}
        time.sleep(arguments["interval"])
    return seen


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "root": {"type": "path", "required": True},
            "release": {"type": "str", "required": True},
            "colour": {"type": "str", "required": True},
            "previous_colour": {"type": "str", "required": True},
            "domain": {"type": "str", "required": True},
            "path": {"type": "str", "default": "/"},
            "port": {"type": "int", "default": 443},
            "tls": {"type": "bool", "default": True},
            "seconds": {"type": "float", "required": True},
            "interval": {"type": "float", "default": 0.5},
            "failures": {"type": "int", "default": 3},
        },
    )
    arguments = module.params
    root = Path(arguments["root"])
    flags = root / "edge"
    seen = watch(arguments, flags)
    if seen["verdict"] == "fail" and arguments["previous_colour"] != "none":
        flag.point(flags, arguments["previous_colour"])
        seen["turned_back_to"] = arguments["previous_colour"]
    write_atomically(root / "releases" / arguments["release"] / "watch.json", json.dumps(seen) + "\n")
    gates = [
        {
            "name": "public address",
            "value": f"{seen['bad']} of {seen['probes']} probes bad, slowest {seen['slowest_ms']:.0f} ms",
            "limit": f"< {arguments['failures']} bad in a row over {arguments['seconds']:.0f} s",
            "verdict": {"pass": "pass", "fail": "fail"}.get(seen["verdict"], "inconclusive"),
        }
    ]
    result = {**seen, "changed": False, "gates": gates, "report": {"watch": seen}}
    if seen["verdict"] == "pass":
        module.exit_json(**result)
    back = f" The edge points at {seen['turned_back_to']} again." if "turned_back_to" in seen else ""
    reason = {
        "fail": f"{arguments['failures']} probes of {arguments['path']} in a row failed, the last with {seen['last']}.{back}",
        "ended": f"The edge no longer points at {arguments['colour']}: somebody has switched back.",
    }[seen["verdict"]]
    module.fail_json(msg=reason, **result)


if __name__ == "__main__":
    main()
