#!/usr/bin/python
# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

DOCUMENTATION = r"""
module: source_export
short_description: Export one revision of an application's source into a directory of its own
description:
  - Resolves a branch, tag or commit and exports it below O(dest), in a directory named by the full commit.
    Files that are not committed are never part of it.
  - A plain directory without git is copied, and named by a hash of its files' names, contents and executable
    bits.
  - Runs on the controller.
  - Submodules and files kept in Git LFS are not fetched; the result warns about submodules.
options:
  repo:
    description: >
      A repository, by address (C(https://), C(ssh://), C(git@host:path)) or by path on the controller.
      An address must not contain a password.
    type: str
  version:
    description: Branch, tag or commit of O(repo).
    type: str
    default: HEAD
  path:
    description: A directory on the controller that is not a repository, or that is shipped as it is, with uncommitted changes.
    type: path
  exclude:
    description: Names of files and directories that are left out of O(path), at any depth.
    type: list
    elements: str
    default: [.git, .venv, __pycache__, node_modules]
  relative_to:
    description: Directory where a relative O(repo) or O(path) starts.
    type: path
    default: .
  dest:
    description: Directory on the controller for exports and mirrors, used by this module alone.
    type: path
    required: true
attributes:
  check_mode:
    support: full
    description: The export is made in check mode too; it only fills the cache in O(dest).
  diff_mode:
    support: none
author: [slipway contributors]
"""

EXAMPLES = r"""
- name: Export the release's source
  source_export:
    repo: git@git.example.com:shop.git
    version: v2.4.0
    dest: var/cache/source
  delegate_to: localhost
  register: source

- name: Export a directory that is not in git
  source_export:
    path: examples/shop
    dest: var/cache/source
  delegate_to: localhost
"""

RETURN = r"""
revision:
  description: The full commit, or C(tree-) and a hash for a plain directory.
  returned: success
  type: str
short:
  description: The first 12 digits of it, fit for a tag.
  returned: success
  type: str
path:
  description: The exported directory.
  returned: success
  type: str
subject:
  description: First line of the commit's message.
  returned: success
  type: str
date:
  description: The author's date (ISO 8601); for a plain directory the time of its newest file.
  returned: success
  type: str
dirty:
  description: Whether a repository given by its path has changes that are not committed, and so not exported.
  returned: success
  type: bool
report:
  description: The same for the release's report, section C(source).
  returned: success
  type: dict
"""

import os

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.slipway.images.source import SourceError, export


def main() -> None:
    kept_out = [".git", ".venv", "__pycache__", "node_modules"]
    module = AnsibleModule(
        argument_spec={
            "repo": {"type": "str"},
            "version": {"type": "str", "default": "HEAD"},
            "path": {"type": "path"},
            "exclude": {"type": "list", "elements": "str", "default": kept_out},
            "relative_to": {"type": "path", "default": "."},
            "dest": {"type": "path", "required": True},
        },
        mutually_exclusive=[("repo", "path")],
        required_one_of=[("repo", "path")],
        supports_check_mode=True,
    )
    # A deploy must not wait for somebody to type a password or to accept a host key.
    module.run_command_environ_update = {
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_SSH_COMMAND": os.environ.get("GIT_SSH_COMMAND", "ssh -o BatchMode=yes"),
        "LC_ALL": "C.UTF-8",
    }
    try:
        result, warnings = export(module.run_command, module.get_bin_path, module.params)
    except (SourceError, OSError) as error:
        module.fail_json(msg=str(error))
    for warning in warnings:
        module.warn(warning)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
