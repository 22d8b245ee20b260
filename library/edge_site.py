#!/usr/bin/python
# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

DOCUMENTATION = r"""
module: edge_site
short_description: Give nginx a configuration it accepts, or leave the one it has
extends_documentation_fragment: [fence]
description:
  - Starts nginx where it does not run, writes configuration files for it, has C(nginx -t) judge the whole, and reloads nginx
    where something changed. Where nginx refuses the files, they are put back as they were and the module fails with its words.
options:
  files:
    description: The files.
    type: list
    elements: dict
    required: true
    suboptions:
      path:
        description: Where it is written.
        type: path
        required: true
      content:
        description: Its content.
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
lost:
  description: Who has the system now.
  returned: when this run has lost it
  type: dict
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.slipway.edge.site import SiteError, serve
from ansible.module_utils.slipway.host.fence import OPTION, Lost, see


def main() -> None:
    one = {"path": {"type": "path", "required": True}, "content": {"type": "str", "required": True}}
    module = AnsibleModule(
        argument_spec={
            "files": {"type": "list", "elements": "dict", "required": True, "options": one},
            "worker_connections": {"type": "int", "default": 8192},
            "fence": OPTION,
        },
        supports_check_mode=True,
    )
    try:
        see(None if module.check_mode else module.params["fence"])
        result = serve(module.run_command, module.get_bin_path, module.params, module.check_mode)
    except SiteError as error:
        module.fail_json(msg=str(error), rc=error.code)
    except Lost as error:
        module.fail_json(msg=str(error), **error.result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
