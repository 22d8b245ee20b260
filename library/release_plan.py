#!/usr/bin/python
# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

DOCUMENTATION = r"""
module: release_plan
short_description: Decide what a run is going to do
description:
  - Compares what the inventory asks for with the release that is live, and returns the release that is to be made, its
    colour and what it is made from. Where nothing has changed, that is the live one, with C(needed) false.
  - Runs on the controller, and touches nothing.
options:
  root:
    description: Directory of the system on the hosts.
    type: path
    required: true
  kind:
    description: A V(rollback) takes everything from the record of the release that is gone back to.
    choices: [deploy, rollback]
    default: deploy
    type: str
  records:
    description: The release records of the host that leads.
    type: list
    elements: dict
    required: true
  edge:
    description: The colour the edge points at.
    type: str
    required: true
  wanted:
    description: Id of the release to go back to; empty means the one that was live before.
    type: str
  force:
    description: Release even where nothing has changed.
    type: bool
    default: false
  database:
    description: >
      Address of the database. What is done with it is done on the host that has this address, C(database_host) of the
      release, else on the first data host, else on the first app host.
    type: str
    default: ""
  moved:
    description: Stateful services that may run on another host than they do, as their data has been brought there.
    type: list
    elements: str
    default: []
  variables:
    description: The inventory's C(app_*) and C(environment_*) variables.
    type: dict
  source:
    description: Where the source is on the controller (C(dir)), its Compose files (C(compose)), C(version) and C(revision).
    type: dict
  edge_settings:
    description: Settings of the edge that belong to the release.
    type: dict
    default: {}
attributes:
  check_mode: {support: full}
  diff_mode: {support: none}
"""

EXAMPLES = r"""
- name: What is there to do?
  release_plan:
    root: /var/lib/slipway/reviews
    kind: rollback
    records: "{{ history.records }}"
    edge: blue
"""

RETURN = r"""
release:
  description: The release, as its record will have it.
  returned: always
  type: dict
"""
