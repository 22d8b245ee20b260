#!/usr/bin/python
# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

DOCUMENTATION = r"""
module: release_files
short_description: Write the files of a release in one call
extends_documentation_fragment: [fence]
description:
  - Writes files, each in full and renamed into place. Files that are right already are left alone.
  - Contents appear in no result; C(--diff) shows those of O(files), never those of O(secret_files).
options:
  directory:
    description: Where O(files) go.
    type: path
    required: true
  files:
    description: Content by path in O(directory).
    type: dict
    default: {}
  secret_files:
    description: The same for files that only root may read and nothing shows.
    type: dict
    default: {}
  follows:
    description:
      - A directory of O(directory) that a new one stands for, such as that of the release before. The diff of a new file is
        then one from the file of that name there.
    type: dict
    suboptions:
      new: {description: The new directory., type: str, required: true}
      old: {description: The one it follows., type: str, required: true}
  base64:
    description: Names in O(files) whose content is base64.
    type: list
    elements: str
    default: []
  executable:
    description: Names in O(files) that are programs.
    type: list
    elements: str
    default: []
  hidden:
    description: Names in O(files) that are not shown in a diff.
    type: list
    elements: str
    default: []
attributes:
  check_mode: {support: full}
  diff_mode: {support: full}
"""

EXAMPLES = r"""
- name: Hand the release its files
  release_files:
    directory: /var/lib/slipway/reviews/releases/20261121T210000Z-1a2b3c4
    files:
      compose.yaml: "{{ lookup('ansible.builtin.file', 'compose.yaml') }}"
    secret_files:
      .env: "{{ rendered }}"
"""

RETURN = r"""
written:
  description: Paths that changed.
  returned: always
  type: list
lost:
  description: Who has the system now.
  returned: when this run has lost it
  type: dict
"""

import base64
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.slipway.host.fence import OPTION, Lost, see
from ansible.module_utils.slipway.model.durable import write_atomically


def predecessor(arguments: dict[str, Any], name: str) -> bytes:
    """Return the content of the file that a new file follows; nothing where there is none."""
    follows = arguments["follows"]
    if not follows or not name.startswith(f"{follows['new']}/"):
        return b""
    old = Path(arguments["directory"]) / follows["old"] / name.removeprefix(f"{follows['new']}/")
    return old.read_bytes() if old.is_file() else b""


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "directory": {"type": "path", "required": True},
            "files": {"type": "dict", "default": {}},
            "secret_files": {"type": "dict", "default": {}, "no_log": True},
            "follows": {
                "type": "dict",
                "options": {
                    "new": {"type": "str", "required": True},
                    "old": {"type": "str", "required": True},
                },
            },
            "base64": {"type": "list", "elements": "str", "default": []},
            "executable": {"type": "list", "elements": "str", "default": []},
            "hidden": {"type": "list", "elements": "str", "default": []},
            "fence": OPTION,
        },
        supports_check_mode=True,
    )
    arguments = module.params
    try:
        see(None if module.check_mode else arguments["fence"])
    except Lost as error:
        module.fail_json(msg=str(error), **error.result)
    written: list[str] = []
    diff: list[dict[str, str]] = []
    secret = arguments["secret_files"]
    for name, text in sorted({**arguments["files"], **secret}.items()):
        path = Path(arguments["directory"]) / name
        content = base64.b64decode(text) if name in arguments["base64"] else str(text).encode()
        mode = 0o600 if name in secret else 0o755 if name in arguments["executable"] else 0o644
        before = path.read_bytes() if path.exists() else b""
        if path.exists() and before == content and path.stat().st_mode & 0o7777 == mode:
            continue
        written.append(str(path))
        if name not in secret and name not in arguments["base64"] + arguments["hidden"]:
            diff.append(
                {
                    "before_header": str(path),
                    "after_header": str(path),
                    "before": (before or predecessor(arguments, name)).decode(errors="replace"),
                    "after": content.decode(),
                }
            )
        if not module.check_mode:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, content, mode)
    # Annotated: what Ansible passes through is not typed.
    result: dict[str, Any] = {"changed": bool(written), "written": written, "diff": diff}
    module.exit_json(**result)


if __name__ == "__main__":
    main()
