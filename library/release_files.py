#!/usr/bin/python
# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

DOCUMENTATION = r"""
module: release_files
short_description: Write the files of a release in one call
description:
  - Makes directories and writes files, each in full and renamed into place. Files that are right already are left alone.
  - Contents appear in no result; C(--diff) shows those of O(files), never those of O(secret_files).
options:
  directories:
    description: Directories that must be there.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: Where.
        type: path
        required: true
      mode:
        description: Permissions in octal, such as V('0711').
        type: str
        required: true
  directory:
    description: Where O(files) go.
    type: path
  files:
    description: Content by path in O(directory).
    type: dict
    default: {}
  secret_files:
    description: The same for files that only root may read and nothing shows.
    type: dict
    default: {}
  base64:
    description: Names in O(files) whose content is base64.
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
"""

import base64
import os
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule


def write(path: Path, content: bytes, mode: int) -> None:
    """Write a file such that a reader sees the old content or the new."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.new")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as stream:
        stream.write(content)
    fresh.chmod(mode)
    fresh.rename(path)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "directories": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "path": {"type": "path", "required": True},
                    "mode": {"type": "str", "required": True},
                },
            },
            "directory": {"type": "path"},
            "files": {"type": "dict", "default": {}},
            "secret_files": {"type": "dict", "default": {}, "no_log": True},
            "base64": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    arguments = module.params
    written: list[str] = []
    diff: list[dict[str, str]] = []
    for wanted in arguments["directories"]:
        directory, bits = Path(wanted["path"]), int(wanted["mode"], 8)
        if directory.is_dir() and directory.stat().st_mode & 0o7777 == bits:
            continue
        written.append(str(directory))
        if not module.check_mode:
            directory.mkdir(parents=True, exist_ok=True)
            directory.chmod(bits)
    secret = arguments["secret_files"]
    for name, text in sorted({**arguments["files"], **secret}.items()):
        path = Path(arguments["directory"]) / name
        content = base64.b64decode(text) if name in arguments["base64"] else str(text).encode()
        mode = 0o600 if name in secret else 0o644
        before = path.read_bytes() if path.exists() else b""
        if path.exists() and before == content and path.stat().st_mode & 0o7777 == mode:
            continue
        written.append(str(path))
        if name not in secret and name not in arguments["base64"]:
            diff.append(
                {
                    "before_header": str(path),
                    "after_header": str(path),
                    "before": before.decode(errors="replace"),
                    "after": content.decode(),
                }
            )
        if not module.check_mode:
            write(path, content, mode)
    # Annotated: what Ansible passes through is not typed.
    result: dict[str, Any] = {"changed": bool(written), "written": written, "diff": diff}
    module.exit_json(**result)


if __name__ == "__main__":
    main()
