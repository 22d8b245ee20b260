#!/usr/bin/python
# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""Apply, look at or take back an application's database migrations."""

from __future__ import annotations

DOCUMENTATION = r"""
module: migrations
short_description: Run an application's database migrations once, and put the schema back where that is safe
extends_documentation_fragment: [fence]
description:
  - Runs the application's own migration tool in a one-shot container of a Compose service, with lock and
    statement timeouts for the server, by one runner at a time.
  - Records revision and schema before and after. A failure says in words what is different from before;
    O(state=reverted) runs the tool's downgrade to the recorded revision and says what, if anything, stays
    different.
  - Pending migrations are linted on the controller (squawk and a few rules of our own) before anything is
    applied.
options:
  compose:
    description: The Compose project.
    type: dict
    required: true
    suboptions:
      project:
        description: Its name.
        type: str
        required: true
      project_directory:
        description: Directory relative paths are relative to.
        type: path
      files:
        description: Its Compose files.
        type: list
        elements: path
        default: []
      env_files:
        description: Files with values for the variables in the Compose files.
        type: list
        elements: path
        default: []
      profiles:
        description: Profiles to turn on.
        type: list
        elements: str
        default: []
  service:
    description: The service whose image and environment the migrations run with.
    type: str
    required: true
  tool:
    description: The migration tool; V(command) runs the O(commands) given.
    type: str
    choices: [alembic, flask, django, prisma, command]
    required: true
  commands:
    description:
      - Commands instead of the tool's own, each a list of words. C({target}), C({current}) and C({revision})
        are filled in.
    type: dict
    default: {}
    suboptions:
      info:
        description: Prints what is applied and pending, as the tool does; for V(command) one pending name on
          each line.
        type: list
        elements: str
      upgrade:
        description: Applies what is pending.
        type: list
        elements: str
      downgrade:
        description: Goes back to C({revision}).
        type: list
        elements: str
      sql:
        description: Prints the pending migrations as SQL.
        type: list
        elements: str
  state:
    description: V(info) only looks, V(upgraded) applies, V(reverted) goes back to what O(record) holds.
    type: str
    choices: [info, upgraded, reverted]
    default: info
  target:
    description: The revision to go to, when it is not the newest.
    type: str
    default: ""
  record:
    description: File on the host that keeps revision and schema from before; needed for V(reverted).
    type: path
  lock_timeout:
    description: How long a statement may wait for a lock, as PostgreSQL writes it. Reaches the server by
      PGOPTIONS.
    type: str
    default: 2s
  statement_timeout:
    description: How long a statement may run, as PostgreSQL writes it.
    type: str
    default: 1h
  retries:
    description: How often to try again when a lock could not be had and nothing had changed. Needs
      O(login_db).
    type: int
    default: 3
  lock_wait:
    description: Seconds to wait for another run on the same database.
    type: int
    default: 60
  source:
    description:
      - The application's source on the controller. In check mode, where there is no image to ask yet, the pending
        migrations of alembic, flask, django and prisma are read from its files (the action plugin does).
    type: path
  revisions:
    description: The revisions of O(source), parents first; the action plugin fills it in.
    type: list
    elements: dict
  first:
    description: In check mode, whether nothing has been released yet. A database that does not answer then counts as one to come.
    type: bool
    default: false
  login_host:
    description: Address of the server, as seen from the host the module runs on.
    type: str
    default: 127.0.0.1
  login_port:
    description: Port of the server.
    type: int
    default: 5432
  login_user:
    description: A role that sees the catalogs.
    type: str
    default: postgres
  login_password:
    description: Its password.
    type: str
  login_db:
    description: The database. Without it the schema is not compared, and only containers guard against a
      second run.
    type: str
  with_sql:
    description: Return the pending SQL, for the lint.
    type: bool
    default: false
  lint:
    description: Lint pending migrations first. Handled on the controller.
    type: bool
    default: true
  contract:
    description: Revisions that may drop, rename or forbid what an older release uses. Handled on the
      controller.
    type: list
    elements: str
    default: []
  lint_grades:
    description: Grades of rules by name, V(fail), V(warn), V(contract) or V(off), instead of those they have.
      Handled on the controller.
    type: dict
    default: {}
requirements:
  - Docker with Compose v2 on the host
  - psycopg >= 3.1 (C(python3-psycopg)) when O(login_db) is given
attributes:
  check_mode:
    support: full
    description: Says what is pending, applies nothing.
  diff_mode:
    support: none
author: slipway contributors
"""

EXAMPLES = r"""
- name: Apply what is pending
  migrations:
    compose: {project: shop-green, files: [/opt/shop/compose.yml], env_files: [/etc/slipway/shop/environment]}
    service: web
    tool: alembic
    state: upgraded
    record: /var/lib/slipway/shop/migrations/20261121T210000Z-1a2b3c4.json
    login_host: 10.0.0.4
    login_user: shop
    login_password: "{{ vault_shop_db_password }}"
    login_db: shop

- name: Go back
  migrations:
    compose: {project: shop-green, files: [/opt/shop/compose.yml], env_files: [/etc/slipway/shop/environment]}
    service: web
    tool: alembic
    state: reverted
    record: /var/lib/slipway/shop/migrations/20261121T210000Z-1a2b3c4.json
"""

RETURN = r"""
before:
  description: C(revision) and schema C(fingerprint) before.
  type: dict
  returned: when known
after:
  description: The same afterwards.
  type: dict
  returned: when something was run
pending:
  description: What was pending, in order, each with C(revision) and C(message); null where there is no C(info) command to tell.
  type: list
  elements: dict
  returned: for info and upgraded
awaited:
  description: A plan, and migrations are pending, or nobody can tell that none are; tables may be still to come.
  type: bool
  returned: in check mode
applied:
  description: The revisions applied; null where it was not known what was pending.
  type: list
  elements: str
  returned: for upgraded
changes:
  description: What is different in the schema, in words.
  type: list
  elements: str
  returned: for upgraded
restored:
  description: Whether revision and schema are as before and no data was lost.
  type: bool
  returned: for reverted
left:
  description: What is still different from before.
  type: list
  elements: str
  returned: for reverted
lost:
  description: Tables and columns that had been dropped; their contents are in the backup alone.
  type: list
  elements: str
  returned: for reverted
output:
  description: The last lines the tool printed, without secrets.
  type: str
  returned: on failure
gates:
  description: What was checked, each with value, limit and verdict.
  type: list
  elements: dict
  returned: always
report:
  description: The section C(migrations) of the release's report.
  type: dict
  returned: always
lost:
  description: Who has the system now.
  returned: when this run has lost it
  type: dict
"""

import re
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible.module_utils.slipway.compose.oneshot import Compose, ComposeError
from ansible.module_utils.slipway.host.fence import OPTION, Lost, see
from ansible.module_utils.slipway.migrate.look import looked, planned, report
from ansible.module_utils.slipway.migrate.run import MigrationError, Migrations, Options
from ansible.module_utils.slipway.migrate.tools import TOOLS, choose
from ansible.module_utils.slipway.postgres.login import LOGIN_SPEC, PSYCOPG_IMPORT_ERROR, Login

DURATION = re.compile(r"\d+(us|ms|s|min|h|d)?\Z")
PATHS: dict[str, Any] = {"type": "list", "elements": "path", "default": []}
WORDS: dict[str, Any] = {"type": "list", "elements": "str"}
SPEC: dict[str, Any] = {
    **LOGIN_SPEC,
    "compose": {
        "type": "dict",
        "required": True,
        "options": {
            "project": {"type": "str", "required": True},
            "project_directory": {"type": "path"},
            "files": PATHS,
            "env_files": PATHS,
            "profiles": {**WORDS, "default": []},
        },
    },
    "service": {"type": "str", "required": True},
    "tool": {"type": "str", "required": True, "choices": [*TOOLS]},
    "commands": {
        "type": "dict",
        "default": {},
        "options": dict.fromkeys(("info", "upgrade", "downgrade", "sql"), WORDS),
    },
    "state": {"type": "str", "choices": ["info", "upgraded", "reverted"], "default": "info"},
    "target": {"type": "str", "default": ""},
    "record": {"type": "path"},
    "lock_timeout": {"type": "str", "default": "2s"},
    "statement_timeout": {"type": "str", "default": "1h"},
    "retries": {"type": "int", "default": 3},
    "fence": OPTION,
    "lock_wait": {"type": "int", "default": 60},
    "with_sql": {"type": "bool", "default": False},
    "revisions": {"type": "list", "elements": "dict"},
    "first": {"type": "bool", "default": False},
}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec=SPEC, required_if=[("state", "reverted", ["record"])], supports_check_mode=True
    )
    params = module.params
    if params["login_db"] and PSYCOPG_IMPORT_ERROR and not module.check_mode:
        module.fail_json(msg=missing_required_lib("psycopg >= 3.1"), exception=PSYCOPG_IMPORT_ERROR)
    for name in ("lock_timeout", "statement_timeout"):
        if not DURATION.match(params[name]):
            module.fail_json(msg=f"{name} is {params[name]!r}; write it as PostgreSQL does: 2s, 500ms, 15min")
    commands = {name: words for name, words in params["commands"].items() if words}
    if params["tool"] == "command" and "upgrade" not in commands:
        module.fail_json(msg="tool is command, so commands.upgrade must say what to run")
    migrations = Migrations(
        Options(
            compose=Compose(params["compose"], params["service"]),
            tool=choose(params["tool"], commands),
            login=Login.from_params(params) if params["login_db"] and not PSYCOPG_IMPORT_ERROR else None,
            target=params["target"],
            record=Path(params["record"]) if params["record"] else None,
            lock_timeout=params["lock_timeout"],
            statement_timeout=params["statement_timeout"],
            retries=params["retries"],
            lock_wait=params["lock_wait"],
        )
    )
    result: dict[str, Any] = {}
    try:
        with migrations.alone():
            # Whoever was waited for here may have been the run that has it now.
            see(None if module.check_mode else params["fence"])
            if params["state"] == "info" or module.check_mode:
                result = looked(migrations, params)
            else:
                result = migrations.upgrade() if params["state"] == "upgraded" else migrations.revert()
    except Lost as error:
        module.fail_json(msg=str(error), gates=[], **error.result)
    except (MigrationError, ComposeError) as error:
        if module.check_mode:
            # In a plan the new image need not be there yet, nor, the first time, the server.
            module.exit_json(**planned(migrations, params, str(error)))
        result = {"gates": [], **getattr(error, "result", {})}
        module.fail_json(msg=str(error), report=report(params, result), **result)
    module.exit_json(**result, report=report(params, result))


if __name__ == "__main__":
    main()
