#!/usr/bin/python
# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""Ansible module pg_indexes_info: what the indexes of a PostgreSQL database are worth."""

from __future__ import annotations

DOCUMENTATION = r"""
module: pg_indexes_info
short_description: Audit the indexes of a PostgreSQL database
description:
  - Reads validity, size, use, overlap and cost of indexes, foreign keys without one, and INVALID leftovers.
  - Compares number and size with what is expected, and answers whether queries use their index and are fast
    enough.
  - Changes nothing. Queries run in a read-only transaction with a time limit.
extends_documentation_fragment: [pg_connection]
options:
  schemas:
    description: Schemas to look at. Without it, all but those of PostgreSQL itself.
    type: list
    elements: str
  low_scans:
    description: An index with fewer scans than this is C(LOW), one with none C(UNUSED).
    type: int
    default: 100
  min_stats_age:
    description: Hours for which use must have been counted before an index is reported as UNUSED.
    type: int
    default: 24
  replicas:
    description: Other servers (O(login_host), O(login_port)) that serve reads; their scans count as well.
    type: list
    elements: dict
    default: []
    suboptions:
      login_host: {description: Host of the replica, type: str, required: true}
      login_port: {description: Port of the replica; that of O(login_port) when it is left out, type: int}
  expect:
    description: How many VALID indexes are expected, and of what total size.
    type: list
    elements: dict
    default: []
    suboptions:
      name: {description: What these indexes are called in the report, type: str, required: true}
      schemas: {description: Only indexes of these schemas, type: list, elements: str}
      name_like: {description: Only indexes whose name matches this SQL LIKE pattern, type: str}
      count: {description: Exact number, type: int}
      count_min: {description: Lowest number, type: int}
      size_min: {description: "Total size at least, for example V(91MB)", type: str}
      size_max: {description: "Total size at most, for example V(168MB)", type: str}
  cache_hit_min:
    description: Percentage of block reads of the database that should come from memory.
    type: float
  hot_update_min:
    description: >-
      Percentage of updates that should not have to touch indexes (HOT), judged for each table with at least
      1000 updates.
    type: float
  queries:
    description: Query budgets.
    type: list
    elements: dict
    default: []
    suboptions:
      name: {description: What the query is called in the report, type: str, required: true}
      query:
        description: The query. With parameters, C(%s) stands for one and C(%%) for a percent sign.
        type: str
        required: true
      params: {description: Values of the parameters, type: list, elements: raw}
      must_use: {description: Index that the query must be able to use, type: str}
      max_ms: {description: Milliseconds it may take, type: float}
  indexes:
    description: Declared indexes, as for M(pg_indexes), to tell which tiers are due.
    type: list
    elements: dict
    default: []
  tier_hours:
    description: For each tier, how many hours the tier before it must have been complete. 24 unless given.
    type: dict
    default: {}
  record:
    description: The record that M(pg_indexes) keeps on the host.
    type: path
attributes:
  check_mode:
    support: full
    description: Changes nothing in any mode.
  diff_mode:
    support: none
    description: Changes nothing.
seealso:
  - module: pg_indexes
author:
  - slipway contributors
"""

EXAMPLES = r"""
- name: Are the forty-five performance indexes there, and does the orders page use its own?
  pg_indexes_info:
    login_host: 10.0.0.5
    login_user: shop
    login_password: "{{ vault_shop_db_password }}"
    login_db: shop
    expect:
      - {name: performance indexes, schemas: [core, feedback], name_like: 'idx_%', count: 45, size_max: 168MB}
    queries:
      - name: closed orders of a branch
        query: SELECT * FROM "Order" WHERE "branchId" = %s AND status = 'CLOSED' ORDER BY "updatedAt" DESC
          LIMIT 50
        params: [1]
        must_use: idx_order_branch_status_updated
        max_ms: 20
  register: audit

- name: Stop when something is wrong
  ansible.builtin.assert:
    that: audit.gates | selectattr('verdict', 'equalto', 'fail') | list | length == 0
"""

RETURN = r"""
indexes:
  description: One entry for each index.
  returned: always
  type: list
  elements: dict
  contains:
    schema: {description: Schema., type: str}
    name: {description: Name., type: str}
    table: {description: Table., type: str}
    valid: {description: Whether it is valid, type: bool}
    building: {description: Whether somebody is building it now; not counted as INVALID, type: bool}
    serves_foreign_key: {description: Whether a foreign key of its table needs it; never called unused, type: bool}
    part_of: {description: Partitioned index that it is a part of, type: str}
    leftover: {description: Whether it is what an interrupted build or REINDEX left, type: bool}
    definition: {description: Definition as PostgreSQL writes it, type: str}
    size_bytes: {description: Size., type: int}
    table_share_pct: {description: Size in percent of the table's, type: float}
    scans: {description: Scans on this server and the replicas, type: int}
    last_scan: {description: Time of the last scan (PostgreSQL 16 and later), type: str}
    usage: {description: "V(ACTIVE), V(LOW) or V(UNUSED)", type: str}
    usage_conclusive: {description: Whether use has been counted for O(min_stats_age) hours, type: bool}
    cache_hit_pct: {description: Share of its block reads that came from memory, type: float}
tables:
  description: One entry for each table, with write load, HOT share, cache hits, number and size of indexes.
  returned: always
  type: list
  elements: dict
invalid:
  description: INVALID indexes, those of TOAST tables included.
  returned: always
  type: list
  elements: dict
duplicates:
  description: Groups of indexes with one definition, and which of them could be dropped.
  returned: always
  type: list
  elements: dict
redundant:
  description: Indexes that another one can stand in for, V(certain) or V(possible).
  returned: always
  type: list
  elements: dict
foreign_keys:
  description: Foreign keys whose columns no index starts with.
  returned: always
  type: list
  elements: dict
queries:
  description: Answers to the query budgets, with C(usable), C(chosen), C(ms), C(verdict) and C(detail).
  returned: always
  type: list
  elements: dict
tiers:
  description: For each declared tier whether it is C(due), and why.
  returned: always
  type: list
  elements: dict
added:
  description: For each recorded release the indexes that it added and that are still its own.
  returned: always
  type: dict
totals:
  description: Number and size of all indexes looked at, the age of the statistics, the database's cache hit
    ratio.
  returned: always
  type: dict
gates:
  description: What was seen beside what was expected.
  returned: always
  type: list
  elements: dict
report:
  description: The section C(indexes) of the release report.
  returned: always
  type: dict
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible.module_utils.slipway.indexes.info import look
from ansible.module_utils.slipway.postgres.connect import PSYCOPG_ERROR, connection_arguments
from ansible.module_utils.slipway.postgres.sql import Refused

EXPECT = {
    "name": {"type": "str", "required": True},
    "schemas": {"type": "list", "elements": "str"},
    "name_like": {"type": "str"},
    "count": {"type": "int"},
    "count_min": {"type": "int"},
    "size_min": {"type": "str"},
    "size_max": {"type": "str"},
}
QUERY = {
    "name": {"type": "str", "required": True},
    "query": {"type": "str", "required": True},
    "params": {"type": "list", "elements": "raw"},
    "must_use": {"type": "str"},
    "max_ms": {"type": "float"},
}
REPLICA = {"login_host": {"type": "str", "required": True}, "login_port": {"type": "int"}}
ARGUMENTS: dict[str, Any] = {
    **connection_arguments(),
    "schemas": {"type": "list", "elements": "str"},
    "low_scans": {"type": "int", "default": 100},
    "min_stats_age": {"type": "int", "default": 24},
    "replicas": {"type": "list", "elements": "dict", "default": [], "options": REPLICA},
    "expect": {"type": "list", "elements": "dict", "default": [], "options": EXPECT},
    "cache_hit_min": {"type": "float"},
    "hot_update_min": {"type": "float"},
    "queries": {"type": "list", "elements": "dict", "default": [], "options": QUERY},
    "indexes": {"type": "list", "elements": "dict", "default": []},
    "tier_hours": {"type": "dict", "default": {}},
    "record": {"type": "path"},
}


def main() -> None:
    """Entry point."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    if PSYCOPG_ERROR:
        reason = "(version 3; Debian: python3-psycopg)"
        module.fail_json(msg=missing_required_lib("psycopg", reason=reason), exception=PSYCOPG_ERROR)
    try:
        result = look(module.params)
    except Refused as error:
        module.fail_json(msg=str(error))
    for warning in result.pop("warnings"):
        module.warn(warning)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
