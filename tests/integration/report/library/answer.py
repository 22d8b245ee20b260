#!/usr/bin/python
# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""A module that answers what the test tells it to."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule


def main() -> None:
    """Fail or exit with `result`."""
    module = AnsibleModule(
        {"result": {"type": "dict", "default": {}}, "fail": {"type": "bool", "default": False}},
        supports_check_mode=True,
    )
    for text in module.params["result"].pop("deprecate", []):
        module.deprecate(text, version="9.9", collection_name="community.general")
    if module.params["fail"]:
        module.fail_json(**module.params["result"])
    module.exit_json(**module.params["result"])


if __name__ == "__main__":
    main()
