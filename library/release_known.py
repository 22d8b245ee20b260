#!/usr/bin/python
# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

DOCUMENTATION = r"""
module: release_known
short_description: Put together what all hosts know of a system's releases
description:
  - Runs on the controller. Reads the variable C(release_view) of each host of the play, a result of M(release_record).
  - Of each release the record that was written last counts, on whichever host it lies. Fails, before anything is touched,
    where these hosts can't know what is live.
options:
  coordinator:
    description: The host whose lock counts.
    type: str
    required: true
  token:
    description: Names this run, whose own lock does not keep it out.
    type: str
    default: ''
    no_log: false
  ttl:
    description: Seconds without a heartbeat after which the holder of a lock is taken to be gone.
    type: int
    default: 20
  lost:
    description: Hosts on record that are gone for good, and need not be asked.
    type: list
    elements: str
    default: []
  start_over:
    description: Allow a first release although containers or volumes of the system are there without a record.
    type: bool
    default: false
  takeover:
    description: Go on although another host has a lock that somebody keeps alive.
    type: bool
    default: false
  kind:
    description: What is going to be planned, as in M(release_plan).
    choices: [deploy, rollback, join]
    default: deploy
    type: str
  wanted:
    description: The release that a rollback is to go to. Fails where it never was live; empty is the one before.
    type: str
    default: ''
  alone:
    description: The phase or playbook that is run alone. Fails where it may not begin; empty for a whole run.
    type: str
    default: ''
  moved:
    description: Stateful services whose data was brought to a host that had none.
    type: list
    elements: str
    default: []
  give_up:
    description: A live release that does not answer, and is left for what the edges point at.
    type: str
    default: ''
attributes:
  check_mode: {support: full}
  diff_mode: {support: none}
"""

EXAMPLES = r"""
- name: What do the hosts know?
  release_record:
    root: /var/lib/slipway/reviews
  register: release_view

- name: What do they know together?
  release_known:
    coordinator: edge1
  run_once: true
  register: release_known
"""

RETURN = r"""
records:
  description: All records, oldest release first.
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
settlement:
  description: How the unfinished release is to be settled (C(abandon), C(switch_back), C(complete)), null where there is none.
  returned: always
  type: str
colour:
  description: The colour that a new release leaves alone (C(blue), C(green), C(none)).
  returned: always
  type: str
edges:
  description: The colour to which each edge points.
  returned: always
  type: dict
generation:
  description: The highest number that any host has seen.
  returned: always
  type: int
lacking:
  description: Hosts whose records are not those of all.
  returned: always
  type: list
misdirected:
  description: Edges that do not point at what is live, while no release is under way.
  returned: always
  type: list
bare:
  description: App hosts of the live release that have nothing of it any more, as after they were rebuilt.
  returned: always
  type: list
probes:
  description: What answers for the live release, as C(address) and C(path).
  returned: always
  type: list
"""
