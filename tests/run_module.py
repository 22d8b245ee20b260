"""Run one of our modules as a process of its own: ``run_module.py <name> [--check] < arguments.json``.

Real processes can be killed and looked at with ps; arguments come on stdin, as with Ansible's pipelining.
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import conftest  # noqa: F401  (makes library and module_utils importable)
from ansible.module_utils.testing import patch_module_args

arguments = json.load(sys.stdin)
if "--check" in sys.argv:
    arguments["_ansible_check_mode"] = True
with patch_module_args(arguments):
    importlib.import_module(sys.argv[1]).main()
