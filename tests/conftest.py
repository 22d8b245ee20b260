"""Make our plugins importable the way Ansible does: `ansible.module_utils.slipway` is module_utils/slipway."""

from __future__ import annotations

import sys
from pathlib import Path

import ansible.module_utils
import hypothesis

ROOT = Path(__file__).resolve().parent.parent
ansible.module_utils.__path__.append(str(ROOT / "module_utils"))
sys.path.insert(0, str(ROOT / "library"))

# How long an example takes says how busy the machine is, and no test is about that.
hypothesis.settings.register_profile("slipway", deadline=None)
hypothesis.settings.load_profile("slipway")
