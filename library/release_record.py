#!/usr/bin/python
# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

DOCUMENTATION = r"""
module: release_record
short_description: Read and write what a host knows of its releases
description:
  - Reads and writes the release records of a system, one file for each release, O(root)C(/releases/<id>/record.json).
options:
  root:
    description: Directory of the system on the host, such as C(/var/lib/slipway/reviews).
    type: path
    required: true
  state:
    description:
      - V(read) changes nothing.
      - V(begun) writes the record of a release that starts, O(data) being its content, and makes the directories of the system.
      - V(phase) notes that the release has reached O(phase), and merges O(data).
      - V(closed) ends the release with O(verdict), and removes the oldest releases beyond O(keep) that nothing needs,
        with the images that only they had.
      - V(synced) makes the records equal to O(records), those of the host that leads; none is removed.
    choices: [read, begun, phase, closed, synced]
    default: read
    type: str
  release:
    description: Id of the release.
    type: str
  phase:
    description: Name of the phase, with O(state=phase).
    type: str
  verdict:
    description: How the release ended, with O(state=closed).
    choices: [live, rolled_back, abandoned, inconclusive]
    type: str
  reason:
    description: Why, in a sentence, for the report and for readers of the record.
    type: str
  data:
    description: Merged into the record. Must not hold secrets.
    type: dict
    default: {}
  records:
    description: All records of the leading host, with O(state=synced).
    type: list
    elements: dict
    default: []
  keep:
    description: Number of releases that are kept, with O(state=closed); 0 keeps all.
    type: int
    default: 0
  token:
    description: With O(state=phase), fail where the lock C(<root>/lock.json) is no longer held under this token.
    type: str
    no_log: false
attributes:
  check_mode: {support: full}
  diff_mode: {support: none}
"""

EXAMPLES = r"""
- name: What is live here?
  release_record:
    root: /var/lib/slipway/reviews
  register: history

- name: It is live
  release_record:
    root: /var/lib/slipway/reviews
    state: closed
    release: 20261121T210000Z-1a2b3c4
    verdict: live
"""

RETURN = r"""
records:
  description: All records of the host, oldest first, as they are now.
  returned: always
  type: list
live:
  description: The record of the release that is live, null where none is.
  returned: always
  type: dict
unfinished:
  description: The newest record without a verdict, null where there is none.
  returned: always
  type: dict
outcome:
  description: How every release ended, for comparison between hosts (times and phases differ).
  returned: always
  type: list
edge:
  description: The colour the edge points at, as far as this host has an edge.
  returned: always
  type: str
settlement:
  description: How the unfinished release is to be settled (C(abandon), C(switch_back), C(complete)), null where there is none.
  returned: always
  type: str
removed:
  description: Ids of the releases that were removed.
  returned: state is closed
  type: list
removed_images:
  description: Images that only those releases had, except for any that a container uses.
  returned: state is closed
  type: list
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.slipway.release.host_records import keep
from ansible.module_utils.slipway.release.records import VERDICTS, ReleaseError


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "root": {"type": "path", "required": True},
            "state": {
                "type": "str",
                "default": "read",
                "choices": ["read", "begun", "phase", "closed", "synced"],
            },
            "release": {"type": "str"},
            "phase": {"type": "str"},
            "verdict": {"type": "str", "choices": list(VERDICTS)},
            "reason": {"type": "str"},
            "data": {"type": "dict", "default": {}},
            "records": {"type": "list", "elements": "dict", "default": []},
            "keep": {"type": "int", "default": 0},
            "token": {"type": "str", "no_log": False},
        },
        required_if=[
            ("state", "begun", ["release"]),
            ("state", "phase", ["release"]),
            ("state", "closed", ["release", "verdict"]),
        ],
        supports_check_mode=True,
    )
    try:
        result = keep(module.params, module.run_command, module.get_bin_path, module.check_mode)
    except ReleaseError as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
