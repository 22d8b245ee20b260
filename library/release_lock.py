#!/usr/bin/python
# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

DOCUMENTATION = r"""
module: release_lock
short_description: Let only one release at a time change a system
description:
  - Takes the lock of a system on the host that leads it. The action plugin of the same name then touches it every few
    seconds from the controller, for as long as ansible-playbook runs, and removes it afterwards, however the run ended.
  - A lock that has not been touched for O(ttl) seconds belongs to a run that is gone. It is taken over, with a warning.
options:
  root:
    description: Directory of the system on the host, such as C(/var/lib/slipway/reviews).
    type: path
    required: true
  state:
    description: V(held) takes the lock, V(free) gives it back, V(read) only says who holds it.
    choices: [held, free, read]
    default: held
    type: str
  token:
    description: Names this run; only the run that took the lock gives it back. The action plugin sets this and the next three.
    type: str
    no_log: false
  owner:
    description: Who runs the release, for others who want the lock.
    type: str
  controller:
    description: The machine it is run from.
    type: str
  command:
    description: The playbook that is run.
    type: str
  ttl:
    description: Seconds without a heartbeat after which the holder is considered gone.
    type: int
    default: 20
  wait:
    description: Seconds to wait for a holder that is just leaving.
    type: int
    default: 3
  steal_in:
    description: Phases of the holder's release in which the lock may be taken from somebody who is alive.
    type: list
    elements: str
    default: []
  takeover:
    description: Take the lock from whoever has it, alive or not. That run then changes nothing more, on any host.
    type: bool
    default: false
  generation:
    description: The number of this run, one higher than any host knows; it becomes its fence.
    type: int
    default: 0
attributes:
  check_mode: {support: full, details: In check mode nothing is taken; a lock that is held is reported as a warning.}
  diff_mode: {support: none}
"""

EXAMPLES = r"""
- name: One release at a time
  release_lock:
    root: /var/lib/slipway/reviews
    token: "{{ 99999999 | random | hash('sha1') }}"
    owner: ada
    controller: laptop
    command: deploy.yml
"""

RETURN = r"""
holder:
  description: Who holds the lock (before this call, with O(state=read)).
  returned: always
  type: dict
fence:
  description: What this run hands to every module that changes a host, to be refused once somebody else has the system.
  returned: when the lock was taken
  type: dict
taken_over_from:
  description: The holder it was taken over from.
  returned: when it was taken over
  type: dict
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.slipway.release import records as core
from ansible.module_utils.slipway.release.lock import Held, Lock


def describe(holder: dict[str, Any], age: float, phase: str, stopped: bool) -> str:
    """Say who holds the lock, for the person who is kept waiting."""
    return (
        f"{holder.get('owner', 'somebody')} on {holder.get('controller', 'an unknown machine')}"
        f" ({holder.get('command', 'unknown command')}, phase {phase}, since {holder.get('since', 'unknown')},"
        f" last heartbeat {age:.0f} s ago{', stopped as by Ctrl-Z' if stopped else ''})"
    )


def what_to_do(stopped: bool, ttl: int) -> str:
    """Say how the lock becomes free."""
    over = (
        "take it over, which ends that run for good: the same command with "
        """-e '{"release_takeover": true}'"""
    )
    if stopped:
        return f"That run is stopped and waits for its terminal: continue it there (fg), or {over}"
    return (
        f"Wait until it is done; a lock whose holder has died is taken over after {ttl} s without a heartbeat."
        f" Where it hangs, {over}"
    )


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "root": {"type": "path", "required": True},
            "state": {"type": "str", "choices": ["held", "free", "read"], "default": "held"},
            "token": {"type": "str", "no_log": False},
            "owner": {"type": "str"},
            "controller": {"type": "str"},
            "command": {"type": "str"},
            "ttl": {"type": "int", "default": 20},
            "wait": {"type": "int", "default": 3},
            "steal_in": {"type": "list", "elements": "str", "default": []},
            "takeover": {"type": "bool", "default": False},
            "generation": {"type": "int", "default": 0},
        },
        required_if=[("state", "held", ["token"]), ("state", "free", ["token"])],
        supports_check_mode=True,
    )
    arguments = module.params
    releases = core.Releases(arguments["root"])
    lock = Lock(releases.root / "lock.json", arguments["ttl"])
    found = lock.holder()
    phase = (core.unfinished(releases.all()) or {}).get("phase", "preflight")
    stopped = lock.stopped()
    result: dict[str, Any] = {"changed": False, "holder": found[0] if found else None, "path": str(lock.path)}
    if arguments["state"] == "free":
        module.exit_json(**{**result, "changed": not module.check_mode and lock.release(arguments["token"])})
    if arguments["state"] == "read" or module.check_mode:
        if found and found[1] <= arguments["ttl"] and arguments["state"] == "held":
            module.warn(
                f"A deploy would stop here: the lock is held by {describe(found[0], found[1], phase, stopped)}."
            )
        module.exit_json(**result)
    me = {key: arguments[key] for key in ("token", "owner", "controller", "command")}
    try:
        steal = arguments["takeover"] or phase in arguments["steal_in"]
        gone = lock.acquire(me, arguments["wait"], steal=steal)
    except Held as held:
        module.fail_json(
            msg=f"Another release of {releases.root.name} is under way: the lock is held by"
            f" {describe(held.holder, held.age, phase, stopped)}.\nNothing was touched. {what_to_do(stopped, arguments['ttl'])}",
            **result,
        )
    if gone:
        result["taken_over_from"] = gone
        if gone.get("token") != arguments["token"]:
            module.warn(
                f"The lock was taken over from {describe(gone, found[1] if found else 0, phase, stopped)}."
            )
    fence = {**me, "root": str(releases.root), "generation": arguments["generation"]}
    module.exit_json(**{**result, "holder": me, "fence": fence})


if __name__ == "__main__":
    main()
