# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""The options that all verification modules have, as verify/module.py declares them (COMMON)."""

from __future__ import annotations


class ModuleDocFragment:
    """Documentation that modules take over with extends_documentation_fragment."""

    DOCUMENTATION = r"""
options:
  base_url:
    description: What paths are below of.
    type: str
  connect_to:
    description: Address (V(host:port)) to connect to instead of the URL's; SNI, Host and certificate checks stay with the
      URL.
    type: str
  ca_file:
    description: Certificate authorities to trust instead of the system's.
    type: path
  targets:
    description: Replicas. What names a path is done at the address of each, one after the other.
    type: list
    elements: dict
    suboptions:
      name: {description: What to call it., type: str}
      address: {description: Its address., type: str, required: true}
      port: {description: Its port., type: int, required: true}
      route:
        description: What the paths of its service begin with. Where targets differ in this, each is asked only for paths
          that lead to it.
        type: str
      health: {description: Where its service tells its health; asked for where no other path leads to it., type: str}
  moment:
    description: When this is, in the release. What has C(at) is done only at the moments that lists.
    type: str
    choices: [dark, public, demand]
    default: demand
  parse_only:
    description: Find mistakes in the declaration, whatever moments its entries are for, and send nothing.
    type: bool
    default: false
  secrets:
    description: Further values to mask in all output.
    type: list
    elements: str
    default: []
"""
