# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""Put together the files a release runs from on one host, and have the module release_files write them there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import ansible.module_utils
from ansible.errors import AnsibleActionFail

# Ansible ships our module_utils to hosts, but does not put them where its own process finds them.
_OURS = str(Path(__file__).resolve().parents[2] / "module_utils")
if _OURS not in ansible.module_utils.__path__:
    ansible.module_utils.__path__.append(_OURS)

from ansible.module_utils.slipway.declaration import read as declared
from ansible.module_utils.slipway.lean.controller import LeanAction, prepared
from ansible.module_utils.slipway.release.bundle import BundleError, bundle

prepared("release_files")


class ActionModule(LeanAction):  # type: ignore[misc]
    """Renders on the controller, writes on the host."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the result of release_files."""
        # Ansible's own kinds of text and number are of no use to YAML and JSON writers.
        arguments = json.loads(json.dumps(self._task.args))
        found = declared.read(arguments, task_vars or {})
        try:
            options = bundle(found, arguments["release"], arguments["host"], arguments["root"])
        except BundleError as error:
            raise AnsibleActionFail(str(error)) from error
        result: dict[str, Any] = self.lean("release_files", options, task_vars or {})
        return result
