# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""Runs the module it is linked to by name lean: see module_utils/slipway/lean/controller.py."""

from __future__ import annotations

from pathlib import Path

import ansible.module_utils

# Ansible makes our module_utils known to modules, not to its own process.
_UTILS = str(Path(__file__).resolve().parents[1] / "module_utils")
if _UTILS not in ansible.module_utils.__path__:
    ansible.module_utils.__path__.append(_UTILS)

from ansible.module_utils.slipway.lean.controller import LeanAction, prepared

prepared(Path(__file__).stem)
ActionModule = LeanAction
