#!/usr/bin/python
# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

DOCUMENTATION = r"""
module: health_check
short_description: Run many health checks at once against one deadline
description:
  - Runs all checks concurrently, and repeats each until it was good C(consecutive) times in a row.
  - A check that hangs or crashes neither delays nor hides the others, and never runs beyond O(deadline).
  - Checks only read. Every result is returned, and the message lists every failure.
extends_documentation_fragment: [verification]
attributes:
  check_mode:
    description: Read-only checks run as usual; an C(http) check with another method than GET, HEAD or
      OPTIONS is skipped and its gate is C(inconclusive).
    support: full
  diff_mode:
    description: Nothing is changed, so there is nothing to compare.
    support: none
options:
  checks:
    description:
      - Each has a C(name), exactly one kind with its parameters, and optionally C(expect), C(severity)
        (C(critical) or C(warning)), C(timeout) for one attempt (5s), C(interval) and C(consecutive).
      - "Kinds: C(http), C(tcp), C(dns), C(tls), C(postgres), C(redis), C(container), C(systemd), C(disk),
        C(amqp), C(mongodb), C(clickhouse), C(prometheus). docs/verification.md lists the parameters and
        expectations of each."
      - An expectation is a plain value (equals) or a mapping of operators (C(eq), C(ne), C(lt), C(lte),
        C(gt), C(gte), C(in), C(not_in), C(contains), C(not_contains), C(starts_with), C(ends_with),
        C(matches), C(type), C(exists), C(length)).
      - An unknown key, an empty list and an empty expectation are errors; nothing runs then.
      - Values of keys named like secrets (password, token, authorization, ...; the same as in reports) and
        passwords in URLs are masked in all output.
    type: list
    elements: dict
    required: true
  deadline:
    description: Time until every check must be good, as a duration (V(90s), V(2m)) or in seconds.
    type: str
    default: 60s
  interval:
    description: Time between two attempts of a check.
    type: str
    default: 1s
  consecutive:
    description: How many good answers in a row make a check good.
    type: int
    default: 3
  concurrency:
    description: How many attempts run at the same time.
    type: int
    default: 50
requirements:
  - psycopg (for C(postgres))
  - jmespath (for JSON assertions beyond a dotted path)
author:
  - slipway contributors
"""

EXAMPLES = r"""
- name: Check each replica of the new colour before it has traffic
  health_check:
    deadline: 90s
    base_url: http://shop.example.com
    targets:
      - {name: web-1, address: 10.0.0.11, port: 8101}
      - {name: web-2, address: 10.0.0.11, port: 8102}
    checks:
      - name: api health
        http:
          path: /health
        expect:
          status: 200
          json: {status: healthy, "length(workers)": {gte: 1}}
          latency: 500ms
          version: 1.4.2
      - name: database
        postgres: {host: 10.0.0.20, user: app, password: "{{ db_password }}", dbname: shop}
        expect: {version: {gte: 17}, extensions: [vector], connections_free: {gte: 20%}}
      - name: cache
        redis: {address: "10.0.0.20:6379", password: "{{ redis_password }}"}
        expect: {auth_required: true, memory_used: {lt: 90%}}
      - name: disk
        disk: /var/lib/docker
        severity: warning

- name: Nothing answers where nothing should
  health_check:
    checks:
      - {name: database is private, tcp: "203.0.113.7:5432", expect: {open: false}}
"""

RETURN = r"""
checks:
  description: Every check by name.
  returned: always
  type: dict
  contains:
    ok: {description: Whether it was good often enough in a row., type: bool, returned: always}
    kind: {description: Its kind., type: str, returned: always}
    subject: {description: What was looked at., type: str, returned: always}
    observed: {description: What was seen at the last attempt, by expectation., type: dict, returned: always}
    expected: {description: What was expected, in words., type: dict, returned: always}
    reason: {description: Why it is not good; empty when it is., type: str, returned: always}
    attempts: {description: How often it was tried., type: int, returned: always}
    ms: {description: How long the last attempt took., type: float, returned: always}
    phases_ms: {description: What the last attempt spent its time on., type: dict, returned: always}
failed_checks:
  description: Names of critical checks that failed.
  returned: always
  type: list
  elements: str
warnings:
  description: One sentence for each check of severity C(warning) that failed.
  returned: when there are any
  type: list
  elements: str
gates:
  description: What was seen beside its limit, one for each check.
  returned: always
  type: list
  elements: dict
report:
  description: The same for the release's report, under C(verification).
  returned: always
  type: dict
"""

from ansible.module_utils.slipway.verify.checks.health import check
from ansible.module_utils.slipway.verify.module import COMMON, SecretiveModule


def main() -> None:
    module = SecretiveModule(
        argument_spec={
            **COMMON,
            "checks": {"type": "list", "elements": "dict", "required": True},
            "deadline": {"type": "str", "default": "60s"},
            "interval": {"type": "str", "default": "1s"},
            "consecutive": {"type": "int", "default": 3},
            "concurrency": {"type": "int", "default": 50},
        }
    )
    module.answer(lambda: check(module.params, module.redactor, module.check_mode))


if __name__ == "__main__":
    main()
