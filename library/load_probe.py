#!/usr/bin/python
# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

DOCUMENTATION = r"""
module: load_probe
short_description: Put a load on a service and compare what is measured with budgets
description:
  - Applies each load, in a closed or an open loop. In an open loop a latency counts from the moment the
    request was meant to start, so a server that stalls cannot hide it.
  - Measures its own overhead first, against a server that does nothing, with the same load. A budget that the
    overhead alone could have broken is C(inconclusive), and so are a percentile of too few answers and a relative
    budget without a baseline. C(inconclusive) fails the task unless O(inconclusive=warn).
extends_documentation_fragment: [verification]
attributes:
  check_mode:
    description: No load is applied and nothing is judged; the declaration is checked.
    support: full
  diff_mode:
    description: Nothing is changed, so there is nothing to compare.
    support: none
options:
  loads:
    description:
      - "Each has a C(name), C(routes), C(requests) or C(duration), C(concurrency) (10; closed loop) or
        C(rate) (open
        loop: so many start each second, whether or not earlier ones were answered), and optionally
          C(budgets),
        C(connections) (C(keep-alive) or C(fresh)), C(timeout) (10s), C(warm_up) (requests that are sent
        first and not judged), C(deadline) (what all of that may take; 5 minutes more than its C(duration), or
        than its C(requests) take at its C(rate); a load that is not done by then is ended and has failed),
        C(release_header) (response header that names the release; answers are
        counted by it) and C(at) (the moments it is for; C([public, demand]))."
      - "C(routes): what is sent, mixed by weight. Each is a path or a mapping with C(path) or C(url),
        C(name), C(method), C(headers), C(body) or C(json), C(weight) (1), C(connections), C(timeout) and
        C(status) (what counts as answered, C([2xx, 3xx]))."
      - "C(budgets): C(errors) (percent), C(rps) (at least), C(mean), C(p50), C(p90), C(p95), C(p99), C(max)
        (at most). A limit may be relative, C(2x baseline) or C(2x baseline or +50ms); a time then may also
        rise by that much (10 ms when not given) whatever the factor says. Without budgets a load is only
        measured; with some but none for C(errors), none may fail: a request that failed has no time."
      - Values of keys named like secrets are masked in all output.
    type: list
    elements: dict
    required: true
  validate_certs:
    description: Whether certificates are verified.
    type: bool
    default: true
  baseline:
    description: RV(loads) of an earlier run, for relative budgets.
    type: dict
    default: {}
  inconclusive:
    description: What an inconclusive budget means for the task.
    type: str
    choices: [fail, warn]
    default: fail
  moment:
    description: At which moment of a release this is. At V(baseline) every load is measured and none is judged.
    type: str
    choices: [baseline, dark, public, demand]
    default: demand
author:
  - slipway contributors
"""

EXAMPLES = r"""
- name: A thousand requests, ten at a time
  load_probe:
    base_url: https://shop.example.com
    loads:
      - name: browse
        routes: [/api/reviews]
        requests: 1000
        concurrency: 10
        budgets: {errors: 0%, rps: 100, mean: 100ms}

- name: Compare a mix with what the old release did
  load_probe:
    base_url: https://shop.example.com
    connect_to: 10.0.0.10:443
    baseline: "{{ before.loads }}"
    loads:
      - name: mixed
        routes:
          - {path: /api/menu, weight: 8}
          - {path: /api/orders, json: {dry_run: true}, weight: 1, connections: fresh}
        rate: 50
        duration: 20s
        budgets: {errors: 0.1%, p95: 2x baseline or +50ms}
"""

RETURN = r"""
loads:
  description: Figures by load (and replica); times in milliseconds, C(errors) in percent, C(seconds) since
    it began. C(overhead) holds the same figures of the generator itself, against a server that does nothing.
  returned: when loads were applied
  type: dict
  sample:
    browse: {requests: 1000, failed: 0, errors: 0.0, rps: 812.4, mean: 11.9, p50: 11.2, p95: 18.0, p99: 22.4,
      max: 31.5, statuses: {"200": 1000}, failures: {}, longest_gap_ms: 12.1, histogram: [], timeline: []}
failed_loads:
  description: Names of loads with a budget that failed, or is inconclusive where that fails.
  returned: when loads were applied
  type: list
  elements: str
gates:
  description: What was seen beside its limit, one for each budget.
  returned: when loads were applied
  type: list
  elements: dict
report:
  description: The same for the release's report, under C(load).
  returned: when loads were applied
  type: dict
"""

from ansible.module_utils.slipway.verify.loads.probe import probe
from ansible.module_utils.slipway.verify.module import COMMON, SecretiveModule
from ansible.module_utils.slipway.verify.moments import MOMENTS


def main() -> None:
    module = SecretiveModule(
        argument_spec={
            **COMMON,
            "loads": {"type": "list", "elements": "dict", "required": True},
            "validate_certs": {"type": "bool", "default": True},
            "baseline": {"type": "dict", "default": {}},
            "inconclusive": {"type": "str", "default": "fail", "choices": ["fail", "warn"]},
            "moment": {"type": "str", "default": "demand", "choices": ["baseline", *MOMENTS]},
        }
    )
    module.answer(lambda: probe(module.params, module.redactor, module.warn, module.check_mode))


if __name__ == "__main__":
    main()
