#!/usr/bin/python
# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""Make a backup of a PostgreSQL database that is known to restore."""

from __future__ import annotations

DOCUMENTATION = r"""
module: pg_backup
short_description: Back up a PostgreSQL database, restore it on trial and compare
extends_documentation_fragment: [fence]
description:
  - Dumps one database in the snapshot of a manifest (rows and an order-independent checksum of each table,
    sequences,
    objects, extensions), checksums every file, restores the dump into a database of its own, compares that
    table by table with the manifest and drops it. Only a backup that passed all of it is called verified.
  - A backup is a directory C(<dir>/<id>) with C(dump/) (pg_dump's directory format), C(globals.sql) (roles
    without
    passwords), C(manifest.json), C(files/), C(SHA256SUMS) and C(status.json). Unfinished ones have other
    names.
  - Safe to interrupt; the next run removes what one that died has left, its trial database included. A verified
    backup of the same id is not made again. Nothing is pruned unless the new backup is verified.
  - Run it on the host that is to hold the backup, as root.
options:
  id:
    description: Names the backup; a release's id.
    type: str
    required: true
  dir:
    description: The directory of this system's backups. Only root may read it.
    type: path
    required: true
  login_host:
    description: Address of the server.
    type: str
    default: 127.0.0.1
  login_port:
    description: Port of the server.
    type: int
    default: 5432
  login_user:
    description: A role that may read everything and create databases; owners and grants are only restored
      on trial when it is a superuser.
    type: str
    default: postgres
  login_password:
    description: Its password. Reaches the client programs in a file only root can read.
    type: str
  login_db:
    description: The database.
    type: str
    required: true
  client_image:
    description:
      - Image whose pg_dump, pg_dumpall and pg_restore are used, in one-shot containers on the host's network.
      - V(auto) is the image of the container that publishes O(login_port) on this host, so that versions
        always match; where there is no such container, the host's own programs are used.
      - If it is empty, the host's own programs are used.
    type: str
    default: auto
  keep:
    description: How many verified backups stay, the new one included. The newest is never removed.
    type: int
    default: 7
  files:
    description: Files and directories to keep beside the dump (environment, Compose file, edge
      configuration).
    type: list
    elements: path
    default: []
requirements:
  - psycopg >= 3.1 (C(python3-psycopg))
  - PostgreSQL 13 or later
attributes:
  check_mode:
    support: full
    description: Looks at server, programs and free space, and says whether a backup would be made.
  diff_mode:
    support: full
    description: Which backups there are, and whether they are verified.
author: slipway contributors
"""

EXAMPLES = r"""
- name: Back up the database before the release
  pg_backup:
    id: 20261121T210000Z-1a2b3c4
    dir: /var/lib/slipway/shop/backups
    login_host: 10.0.0.4
    login_user: shop
    login_password: "{{ vault_shop_db_password }}"
    login_db: shop
    keep: 5
    files: [/etc/slipway/shop/environment]
"""

RETURN = r"""
path:
  description: Where the backup is.
  type: str
  returned: always
verified:
  description: Whether the backup was restored and found equal.
  type: bool
  returned: always
size_bytes:
  description: Size of the backup in bytes.
  type: int
  returned: when there is a backup
duration_s:
  description: Seconds the backup and its trial restore took when they were made.
  type: float
  returned: when there is a backup
tables:
  description: Number of tables compared.
  type: int
  returned: when there is a backup
rows:
  description: Number of rows compared.
  type: int
  returned: when there is a backup
gates:
  description: What was checked, each with value, limit and verdict.
  type: list
  elements: dict
  returned: always
report:
  description: The section C(backup) of the release's report.
  type: dict
  returned: when there is a backup
lost:
  description: Who has the system now.
  returned: when this run has lost it
  type: dict
"""

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible.module_utils.slipway.backup.programs import ProgramError
from ansible.module_utils.slipway.backup.run import BackupError, back_up
from ansible.module_utils.slipway.backup.store import StoreError
from ansible.module_utils.slipway.host.fence import OPTION, Lost, see
from ansible.module_utils.slipway.postgres.login import LOGIN_SPEC, PSYCOPG_IMPORT_ERROR


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **LOGIN_SPEC,
            "login_db": {"type": "str", "required": True},
            "id": {"type": "str", "required": True},
            "dir": {"type": "path", "required": True},
            "client_image": {"type": "str", "default": "auto"},
            "keep": {"type": "int", "default": 7},
            "files": {"type": "list", "elements": "path", "default": []},
            "fence": OPTION,
        },
        supports_check_mode=True,
    )
    if PSYCOPG_IMPORT_ERROR and not module.check_mode:
        module.fail_json(msg=missing_required_lib("psycopg >= 3.1"), exception=PSYCOPG_IMPORT_ERROR)
    try:
        see(None if module.check_mode else module.params["fence"])
        result = back_up(module.params, module.check_mode)
    except (BackupError, StoreError, ProgramError) as error:
        module.fail_json(msg=str(error), gates=getattr(error, "gates", []))
    except Lost as error:
        module.fail_json(msg=str(error), gates=[], **error.result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
