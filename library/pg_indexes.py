#!/usr/bin/python
# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""Ansible module pg_indexes: the indexes of a PostgreSQL database as declared state."""

from __future__ import annotations

DOCUMENTATION = r"""
module: pg_indexes
short_description: Bring the indexes of a PostgreSQL database to their declared state, without locking anybody out
description:
  - Takes the whole list of indexes in one call and brings the database to that state.
  - What exists is compared with what is declared by PostgreSQL itself, on an empty temporary clone of the
    table, so that neither the wording of a predicate nor the order of parameters makes a difference where
    there is none.
  - Missing indexes are built with C(CREATE INDEX CONCURRENTLY), INVALID ones are repaired, different ones are
    replaced by building the new one first. A build that is under way, whoever started it, is waited for.
  - Long transactions that would hold up a build are named before it starts.
  - With the action plugin of the same name, progress is shown while a build runs, and a build survives the
    controller; a later run waits for it and reports its result.
extends_documentation_fragment: [pg_connection, fence]
options:
  indexes:
    description:
      - The declared indexes. The whole list is checked before anything is done.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Name of the index, unquoted, at most 63 bytes.
        type: str
        required: true
      schema:
        description: Schema of the table (an index lives in its table's schema).
        type: str
        default: public
      table:
        description: Table, partitioned table or materialised view, unquoted. Needed unless
          O(indexes[].state=absent).
        type: str
      columns:
        description:
          - SQL index elements, such as V(status DESC NULLS LAST), V(lower(email)) or V(embedding
            vector_cosine_ops).
          - Names that need double quotes are written with them. Expressions other than a function call need
            brackets.
        type: list
        elements: str
      unique:
        description: Whether the index is unique.
        type: bool
        default: false
      method:
        description: Access method, for example V(btree), V(gin) or V(hnsw).
        type: str
        default: btree
      include:
        description: Columns that the index carries beside its key.
        type: list
        elements: str
      where:
        description: Predicate of a partial index.
        type: str
      with:
        description: "Storage parameters, for example V({m: 16, ef_construction: 64})."
        type: dict
      tablespace:
        description: Tablespace. It is compared only when it is given.
        type: str
      nulls_distinct:
        description: False makes a unique index treat NULLs as equal (PostgreSQL 15 and later).
        type: bool
        default: true
      tier:
        description: Group of the index; see O(tiers).
        type: int
        default: 1
      state:
        description: Whether the index should be there.
        type: str
        choices: [present, absent]
        default: present
  tiers:
    description: Act on indexes of these tiers only. Without it, on all.
    type: list
    elements: int
  on_drift:
    description: What to do with an index whose definition differs.
    type: str
    choices: [replace, report, fail]
    default: replace
  on_invalid:
    description: What to do with an INVALID index that nobody is building.
    type: str
    choices: [rebuild, fail]
    default: rebuild
  adopt:
    description: Rename an index of the same definition under another name instead of building a twin.
    type: bool
    default: true
  long_transaction_after:
    description: >-
      Seconds after which a transaction in the way of a build counts as long. Somebody else's build or VACUUM
      never does: it is waited for.
    type: int
    default: 300
  on_long_transaction:
    description: >-
      With a long transaction in the way, fail before building, wait for it up to O(max_wait), or cancel it
      (disconnect it when it is idle).
    type: str
    choices: [fail, wait, cancel]
    default: fail
  max_wait:
    description:
      - Total seconds one index may wait for locks, older snapshots and other builds. Building itself is not
        limited.
      - Waiting for somebody else's build does not count while that build makes progress.
    type: int
    default: 600
  concurrently:
    description: Build and drop without locking out writers. False is for databases nobody uses yet.
    type: bool
    default: true
  retries:
    description: How many times a build is tried again after a deadlock, a lock timeout or a lost connection.
    type: int
    default: 1
  parallel:
    description: How many builds on different tables may run at the same time. Partial and expression indexes
      come last, one by one.
    type: int
    default: 2
  settings:
    description: "Settings of the building session, for example V({maintenance_work_mem: 1GB})."
    type: dict
    default: {}
  release:
    description: Release to record what was done for, with O(record).
    type: str
  record:
    description: File on the host that records what each release created and since when each tier is complete.
    type: path
  progress_file:
    description: File on the host to append progress to as JSON lines. The action plugin sets it.
    type: str
  defer:
    description: >-
      Do nothing and return RV(pending) when there is something to do. The action plugin uses it, to start
      long work detached from the controller.
    type: bool
    default: false
  awaits_migration:
    description:
      - In check mode, take a table or column that does not exist for one that a pending migration is going to make. Its
        index then counts as one that would be created.
      - Without check mode it has no effect. Whatever does not exist is a failure.
    type: bool
    default: false
attributes:
  check_mode:
    support: full
    description: Says exactly what would be done. A temporary clone of each table is created and rolled back.
  diff_mode:
    support: full
    description: Shows definitions before and after.
seealso:
  - module: pg_indexes_info
author:
  - slipway contributors
"""

EXAMPLES = r"""
- name: The indexes the orders page needs
  pg_indexes:
    login_host: 10.0.0.5
    login_user: shop
    login_password: "{{ vault_shop_db_password }}"
    login_db: shop
    indexes:
      - name: idx_order_branch_status_updated
        table: Order
        columns: ['"branchId"', status, '"updatedAt" DESC']
        where: status = 'CLOSED'
      - name: idx_customer_email
        table: customer
        columns: [lower(email)]
        unique: true
      - name: idx_document_embedding
        table: document
        method: hnsw
        columns: [embedding vector_cosine_ops]
        with: {m: 16, ef_construction: 64}
        tier: 2
    tiers: [1]

- name: See what would change, without changing it
  pg_indexes:
    login_db: shop
    indexes: "{{ declared_indexes }}"
  check_mode: true
  diff: true

- name: Take an index away
  pg_indexes:
    login_db: shop
    indexes:
      - {name: idx_old, schema: public, state: absent}
"""

RETURN = r"""
indexes:
  description: One entry for each declared index that was acted on.
  returned: always
  type: list
  elements: dict
  contains:
    name: {description: Name., type: str}
    schema: {description: Schema., type: str}
    table: {description: Table., type: str}
    tier: {description: Tier., type: int}
    wanted: {description: Declared state, type: str}
    state:
      description:
        - State now (in check mode, before anything is done), one of V(valid), V(invalid), V(missing),
          V(drifted), V(absent), V(unknown).
        - V(unknown) means that it could not be compared; it is never called valid then.
      type: str
    action:
      description: >-
        What was done (in check mode, would be done), one of V(none), V(created), V(rebuilt), V(replaced),
        V(adopted), V(dropped), V(reported), V(skipped).
      type: str
    definition: {description: Definition as PostgreSQL writes it, type: str}
    definition_before: {description: Definition before the run, type: str}
    differences:
      description: What differs from the declaration, or differed before it was replaced.
      type: list
      elements: str
    cleaned: {description: Leftovers of failed builds that were dropped, type: list, elements: str}
    size_bytes: {description: Size., type: int}
    duration_s: {description: Seconds spent on it, type: float}
    reason: {description: Why this state or action, type: str}
failed_indexes:
  description: Those of RV(indexes) that are not as declared.
  returned: always
  type: list
  elements: dict
blockers:
  description: Transactions that stood in the way.
  returned: always
  type: list
  elements: dict
  contains:
    pid: {description: Server process, type: int}
    user: {description: Role., type: str}
    application: {description: Application name, type: str}
    age_s: {description: Seconds the transaction is open; none when this role may not see it, type: float}
    query: {description: Start of its last query, type: str}
    reason: {description: How it holds up the work, type: str}
    blocks: {description: Index it holds up, type: str}
    occupies: {description: "It builds an index or vacuums: waited for, never cancelled", type: bool}
pending:
  description: There is work to do, and O(defer) asked not to do it.
  returned: with O(defer), when there is something to do
  type: bool
gates:
  description: What was seen beside what was expected.
  returned: always
  type: list
  elements: dict
report:
  description: The section C(indexes) of the release report.
  returned: always
  type: dict
lost:
  description: Who has the system now.
  returned: when this run has lost it
  type: dict
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible.module_utils.slipway.host.fence import OPTION, Lost, see
from ansible.module_utils.slipway.indexes.ensure import ensure, unseen
from ansible.module_utils.slipway.postgres.connect import PSYCOPG_ERROR, connection_arguments
from ansible.module_utils.slipway.postgres.sql import Refused

INDEX = {
    "name": {"type": "str", "required": True},
    "schema": {"type": "str", "default": "public"},
    "table": {"type": "str"},
    "columns": {"type": "list", "elements": "str"},
    "unique": {"type": "bool", "default": False},
    "method": {"type": "str", "default": "btree"},
    "include": {"type": "list", "elements": "str"},
    "where": {"type": "str"},
    "with": {"type": "dict"},
    "tablespace": {"type": "str"},
    "nulls_distinct": {"type": "bool", "default": True},
    "tier": {"type": "int", "default": 1},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
}
ARGUMENTS: dict[str, Any] = {
    **connection_arguments(),
    "indexes": {"type": "list", "elements": "dict", "required": True, "options": INDEX},
    "tiers": {"type": "list", "elements": "int"},
    "on_drift": {"type": "str", "choices": ["replace", "report", "fail"], "default": "replace"},
    "on_invalid": {"type": "str", "choices": ["rebuild", "fail"], "default": "rebuild"},
    "adopt": {"type": "bool", "default": True},
    "long_transaction_after": {"type": "int", "default": 300},
    "on_long_transaction": {"type": "str", "choices": ["fail", "wait", "cancel"], "default": "fail"},
    "max_wait": {"type": "int", "default": 600},
    "concurrently": {"type": "bool", "default": True},
    "retries": {"type": "int", "default": 1},
    "fence": OPTION,
    "parallel": {"type": "int", "default": 2},
    "settings": {"type": "dict", "default": {}},
    "release": {"type": "str"},
    "record": {"type": "path"},
    "progress_file": {"type": "str"},
    "defer": {"type": "bool", "default": False},
    "awaits_migration": {"type": "bool", "default": False},
}


def main() -> None:
    """Entry point."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    if PSYCOPG_ERROR and module.check_mode:
        module.exit_json(changed=True, indexes=[], failed_indexes=[], blockers=[], gates=[unseen()])
    if PSYCOPG_ERROR:
        reason = "(version 3; Debian: python3-psycopg)"
        module.fail_json(msg=missing_required_lib("psycopg", reason=reason), exception=PSYCOPG_ERROR)
    try:
        see(None if module.check_mode else module.params["fence"])
        result = ensure(module.params, module.check_mode)
    except Refused as error:
        module.fail_json(msg=str(error), indexes=[], failed_indexes=[], blockers=[], gates=[])
    except Lost as error:
        module.fail_json(msg=str(error), indexes=[], failed_indexes=[], blockers=[], gates=[], **error.result)
    for warning in result.pop("warnings"):
        module.warn(warning)
    if result["failed_indexes"]:
        module.fail_json(**result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
