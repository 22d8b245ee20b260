#!/usr/bin/python
# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

DOCUMENTATION = r"""
module: edge_site
short_description: Give nginx a configuration it accepts, or leave the one it has
description:
  - Has nginx run, writes configuration files for it, has C(nginx -t) judge the whole, and reloads it where something changed.
    Where nginx refuses them, the files are put back as they were and the module fails with what nginx said.
options:
  files:
    description: The files.
    type: list
    elements: dict
    required: true
    suboptions:
      path:
        description: Where.
        type: path
        required: true
      content:
        description: What is in it.
        type: str
        required: true
  worker_connections:
    description:
      - Connections one worker of nginx may have open, in C(/etc/nginx/nginx.conf). Debian's 768 are used up by 400 clients,
        since each needs a second one to the application.
    type: int
    default: 8192
attributes:
  check_mode: {support: full}
  diff_mode: {support: full}
"""

EXAMPLES = r"""
- name: Serve the system
  edge_site:
    files:
      - path: /etc/nginx/conf.d/reviews.conf
        content: "{{ lookup('ansible.builtin.template', 'site.conf.j2') }}"
"""

RETURN = r"""
written:
  description: Paths of the files that changed.
  returned: always
  type: list
"""

import re
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.slipway.edge.ask import for_nginx
from ansible.module_utils.slipway.model.durable import write_atomically


def with_connections(path: Path, connections: int) -> dict[Path, str]:
    """Return nginx's own configuration with room for more connections, and the file descriptors they take."""
    if not path.exists():
        return {}
    text = re.sub(r"worker_connections\s+\d+;", f"worker_connections {connections};", path.read_text())
    if "worker_rlimit_nofile" not in text:
        text = re.sub(
            r"^events\b",
            f"worker_rlimit_nofile {4 * connections};\nevents",
            text,
            count=1,
            flags=re.MULTILINE,
        )
    return {path: text}


def ensure_running(module: AnsibleModule) -> bool:
    """Have nginx run, now and after the next boot; True where it did not."""
    states = [
        module.run_command(["systemctl", what, "--quiet", "nginx"])[0] for what in ("is-active", "is-enabled")
    ]
    if not any(states):
        return False
    code, _output, error = module.run_command(["systemctl", "enable", "--now", "nginx"])
    if code:
        module.fail_json(
            msg=f"nginx does not start: {error.strip()}\nLook at it: journalctl -u nginx -n 20", rc=code
        )
    return True


def main() -> None:
    one = {"path": {"type": "path", "required": True}, "content": {"type": "str", "required": True}}
    module = AnsibleModule(
        argument_spec={
            "files": {"type": "list", "elements": "dict", "required": True, "options": one},
            "worker_connections": {"type": "int", "default": 8192},
        },
        supports_check_mode=True,
    )
    # In a plan for a new host nginx is not there yet.
    version = module.run_command(["nginx", "-v"])[2] if module.get_bin_path("nginx") else ""
    wanted: dict[Path, str] = {
        Path(file["path"]): for_nginx(file["content"], version) for file in module.params["files"]
    }
    wanted.update(with_connections(Path("/etc/nginx/nginx.conf"), module.params["worker_connections"]))
    before = {path: path.read_text() if path.exists() else None for path in wanted}
    written = [path for path in wanted if before[path] != wanted[path]]
    result: dict[str, Any] = {
        "changed": bool(written),
        "written": [str(path) for path in written],
        "diff": [
            {
                "before_header": str(path),
                "after_header": str(path),
                "before": before[path] or "",
                "after": wanted[path],
            }
            for path in written
        ],
    }
    if module.check_mode:
        module.exit_json(**result)
    result["changed"] |= ensure_running(module)
    if not written:
        module.exit_json(**result)
    for path in written:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, wanted[path], 0o644)
    code, output, error = module.run_command(["nginx", "-t", "-q"])
    if code:
        for path in written:
            if before[path] is None:
                path.unlink()
            else:
                write_atomically(path, before[path] or "", 0o644)
        module.fail_json(
            msg=f"nginx refuses the configuration, so it was left as it was:\n{(output + error).strip()}",
            rc=code,
        )
    code, output, error = module.run_command(["systemctl", "reload", "nginx"])
    if code:
        module.fail_json(
            msg=f"nginx did not take its new configuration: {error.strip()}\nLook at it: journalctl -u nginx -n 20",
            rc=code,
        )
    module.exit_json(**result)


if __name__ == "__main__":
    main()
