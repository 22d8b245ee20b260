#!/usr/bin/python
# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

DOCUMENTATION = r"""
module: release_record
short_description: Read and write what a host knows of its releases
extends_documentation_fragment: [fence]
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
      - V(fenced) takes the fence of the host for O(fence), which ends every run with a lower number here.
      - V(held) fails where somebody else has the system by now: for what comes next, and is no module of ours.
      - V(phase) notes that the release has reached O(phase), where it may, and merges O(data).
      - V(noted) merges O(data), in whatever phase the release is.
      - V(passed) notes that O(phase), which was run alone, has passed.
      - V(closed) ends the release with O(verdict), and removes the oldest releases beyond O(keep) that nothing needs,
        with the images that only they had.
      - V(synced) writes those of O(records), what all hosts know together, of which this host has an older copy or none.
    choices: [read, fenced, held, begun, phase, noted, passed, closed, synced]
    default: read
    type: str
  release:
    description: Id of the release.
    type: str
  phase:
    description: Name of the phase, with O(state=begun), O(state=phase) and O(state=passed).
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
    description: What all hosts know together, with O(state=synced).
    type: list
    elements: dict
    default: []
  keep:
    description: Number of releases that are kept, with O(state=closed); 0 keeps all.
    type: int
    default: 0
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
edge:
  description: The colour the edge points at, as far as this host has an edge.
  returned: always
  type: str
damaged:
  description: Ids of the releases whose record is here and can't be read.
  returned: always
  type: list
fence:
  description: Who may change this host, with C(generation), 0 where nobody ever did.
  returned: always
  type: dict
lock:
  description: Who holds a lock that lies here, as C(holder), and how many seconds ago it was touched, as C(age).
  returned: always
  type: dict
watches:
  description: What each watch on this host has come to, by release.
  returned: always
  type: dict
files:
  description: Ids of the releases whose files are here.
  returned: always
  type: list
stateful:
  description: Whether the files of services that keep data are here.
  returned: always
  type: bool
traces:
  description: Containers and volumes of the system, looked for where there is no record.
  returned: always
  type: list
root:
  description: The directory of the system.
  returned: always
  type: str
lost:
  description: Who has the system now, null where it is this run.
  returned: always
  type: dict
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
from ansible.module_utils.slipway.host.fence import OPTION, Lost
from ansible.module_utils.slipway.release.entry import NotYet
from ansible.module_utils.slipway.release.host_records import keep
from ansible.module_utils.slipway.release.records import VERDICTS, ReleaseError


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "root": {"type": "path", "required": True},
            "state": {
                "type": "str",
                "default": "read",
                "choices": [
                    "read",
                    "fenced",
                    "held",
                    "begun",
                    "phase",
                    "noted",
                    "passed",
                    "closed",
                    "synced",
                ],
            },
            "release": {"type": "str"},
            "phase": {"type": "str"},
            "verdict": {"type": "str", "choices": list(VERDICTS)},
            "reason": {"type": "str"},
            "data": {"type": "dict", "default": {}},
            "records": {"type": "list", "elements": "dict", "default": []},
            "keep": {"type": "int", "default": 0},
            "fence": OPTION,
        },
        required_if=[
            ("state", "fenced", ["fence"]),
            ("state", "begun", ["release"]),
            ("state", "phase", ["release", "phase"]),
            ("state", "noted", ["release"]),
            ("state", "passed", ["release", "phase"]),
            ("state", "closed", ["release", "verdict"]),
        ],
        supports_check_mode=True,
    )
    try:
        result = keep(module.params, module.run_command, module.get_bin_path, module.check_mode)
    except (ReleaseError, NotYet) as error:
        module.fail_json(msg=str(error))
    except Lost as error:
        module.fail_json(msg=str(error), **error.result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
