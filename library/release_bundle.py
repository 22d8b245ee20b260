#!/usr/bin/python
# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

DOCUMENTATION = r"""
module: release_bundle
short_description: Give a host the files that a release runs from
description:
  - Writes the application's Compose files as they are, what they need beside them, the environment file, and slipway's own
    second Compose file for each colour, to C(releases/<id>) below O(root). A host with stateful services gets theirs in
    C(stateful).
options:
  root:
    description: Directory of the system on the host.
    type: path
    required: true
  host:
    description: Inventory name of the host.
    type: str
    required: true
  release:
    description: The release as M(release_plan) returns it, with the images pinned.
    type: dict
    required: true
  variables:
    description: The inventory's C(app_*) and C(environment_*) variables.
    type: dict
    required: true
  source:
    description: Where the source is on the controller (C(dir)) and its Compose files (C(compose)).
    type: dict
    required: true
attributes:
  check_mode: {support: full}
  diff_mode: {support: full, details: Never the environment file.}
"""

EXAMPLES = r"""
- name: Hand out the release's files
  release_bundle:
    root: /var/lib/slipway/reviews
    host: "{{ inventory_hostname }}"
    release: "{{ plan.release }}"
    variables: "{{ declared }}"
    source: {dir: /tmp/source, compose: [compose.yaml]}
"""

RETURN = r"""
written:
  description: Paths that changed.
  returned: always
  type: list
"""
