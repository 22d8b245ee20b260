# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""The fence of a run, as host/fence.py declares it."""

from __future__ import annotations


class ModuleDocFragment:
    """Documentation that modules take over with extends_documentation_fragment."""

    DOCUMENTATION = r"""
options:
  fence:
    description:
      - The number of this run. Where the host has seen a higher one, somebody else has the system by now, and the module
        changes nothing and fails, with C(lost) saying who.
      - Handed by the action plugin of the module once the run has taken the lock; without it nothing is refused.
    type: dict
    suboptions:
      root:
        description: Directory of the system on the host, where C(fence.json) lies.
        type: path
        required: true
      generation:
        description: One higher than any host knew when the lock was taken.
        type: int
        required: true
      token:
        description: Names the run.
        type: str
        required: true
        no_log: false
      owner:
        description: Who runs it.
        type: str
      controller:
        description: The machine it is run from.
        type: str
      command:
        description: The playbook that is run.
        type: str
"""
