#!/usr/bin/python
# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

DOCUMENTATION = r"""
module: load_probe
short_description: Put a load on a service and hold it against budgets
description:
  - Sends O(requests), or for O(duration), at a O(concurrency) (closed loop) or a O(rate) (open loop). In an
    open loop a latency counts from the moment the request was meant to start, so a server that stalls cannot
    hide it.
  - Measures its own overhead first, against a server that does nothing, with the same load. A breach that
    could be its own doing is C(inconclusive), as is a percentile of too few answers and a relative budget
    without a baseline. C(inconclusive) fails the task unless O(inconclusive=warn).
attributes:
  check_mode:
    description: No load is applied and nothing is judged; the declaration is checked.
    support: full
  diff_mode:
    description: Nothing is changed, so there is nothing to compare.
    support: none
options:
  routes:
    description:
      - What is sent, mixed by weight. Each is a path below O(base_url) or a mapping with C(path) or C(url),
        C(name), C(method), C(headers), C(body) or C(json), C(weight) (1), C(connections), C(timeout) and
        C(status) (what counts as answered, C([2xx, 3xx])).
      - Values of keys named like secrets are masked in all output.
    type: list
    elements: raw
    required: true
  base_url:
    description: What paths are below of.
    type: str
  connect_to:
    description: Address (V(host:port)) to connect to instead of the URL's; SNI and Host stay.
    type: str
  ca_file:
    description: Certificate authorities to trust instead of the system's.
    type: path
  validate_certs:
    description: Whether certificates are verified.
    type: bool
    default: true
  requests:
    description: How many requests are sent. Either this or O(duration).
    type: int
  duration:
    description: How long requests are sent, V(30s).
    type: str
  concurrency:
    description: How many requests are in flight at the same time, without O(rate).
    type: int
    default: 10
  rate:
    description: How many requests start each second, whether or not earlier ones were answered.
    type: float
  connections:
    description: Whether connections are kept or each request has its own; routes may differ.
    type: str
    choices: [keep-alive, fresh]
    default: keep-alive
  timeout:
    description: When a request has failed for lack of an answer.
    type: str
    default: 10s
  warm_up:
    description: Requests that are sent first and not judged.
    type: int
    default: 0
  budgets:
    description:
      - "C(errors) (percent), C(rps) (at least), C(mean), C(p50), C(p90), C(p95), C(p99), C(max) (at most)."
      - A limit may be relative, V(2x baseline) or V(2x baseline or +50ms); a time then may also rise by that
        much (10 ms when not given) whatever the factor says.
    type: dict
    required: true
  baseline:
    description: Figures of an earlier run (RV(load)) for relative budgets.
    type: dict
  release_header:
    description: Response header that names the release; answers are then counted by release.
    type: str
  inconclusive:
    description: What an inconclusive budget means for the task.
    type: str
    choices: [fail, warn]
    default: fail
  name:
    description: Names the load in gates and in the report.
    type: str
    default: load
  moment:
    description: When this is, in the release; names the results in the report.
    type: str
    default: on demand
author:
  - slipway contributors
"""

EXAMPLES = r"""
- name: A thousand requests, ten at a time
  load_probe:
    base_url: https://shop.example.com
    routes: [/api/reviews]
    requests: 1000
    concurrency: 10
    budgets: {errors: 0%, rps: 100, mean: 100ms}

- name: Hold a mix against what the old release did
  load_probe:
    base_url: https://shop.example.com
    connect_to: 10.0.0.10:443
    routes:
      - {path: /api/menu, weight: 8}
      - {path: /api/orders, json: {dry_run: true}, weight: 1, connections: fresh}
    rate: 50
    duration: 20s
    baseline: "{{ before.load }}"
    budgets: {errors: 0.1%, p95: 2x baseline or +50ms}
"""

RETURN = r"""
load:
  description: All figures; times in milliseconds, C(errors) in percent, C(seconds) since the load began.
  returned: when a load was applied
  type: dict
  sample: {requests: 1000, failed: 0, errors: 0.0, rps: 812.4, mean: 11.9, p50: 11.2, p95: 18.0, p99: 22.4,
    max: 31.5, statuses: {"200": 1000}, failures: {}, longest_gap_ms: 12.1, histogram: [], time_line: []}
overhead:
  description: The same figures of the generator itself, against a server that does nothing.
  returned: when a load was applied
  type: dict
gates:
  description: What was seen beside its limit, one for each budget.
  returned: when a load was applied
  type: list
  elements: dict
report:
  description: The same for the release's report, under C(load).
  returned: when a load was applied
  type: dict
"""

import asyncio

from ansible.module_utils.slipway.load import Shape, apply, check_shape, overhead
from ansible.module_utils.slipway.load_budget import judge, parse_budgets
from ansible.module_utils.slipway.load_routes import parse_routes
from ansible.module_utils.slipway.predicates import SpecError, seconds
from ansible.module_utils.slipway.verification import SecretiveModule


def main() -> None:
    module = SecretiveModule(
        argument_spec={
            "routes": {"type": "list", "elements": "raw", "required": True},
            "base_url": {"type": "str"},
            "connect_to": {"type": "str"},
            "ca_file": {"type": "path"},
            "validate_certs": {"type": "bool", "default": True},
            "requests": {"type": "int"},
            "duration": {"type": "str"},
            "concurrency": {"type": "int", "default": 10},
            "rate": {"type": "float"},
            "connections": {"type": "str", "default": "keep-alive", "choices": ["keep-alive", "fresh"]},
            "timeout": {"type": "str", "default": "10s"},
            "warm_up": {"type": "int", "default": 0},
            "budgets": {"type": "dict", "required": True},
            "baseline": {"type": "dict"},
            "release_header": {"type": "str"},
            "inconclusive": {"type": "str", "default": "fail", "choices": ["fail", "warn"]},
            "name": {"type": "str", "default": "load"},
            "moment": {"type": "str", "default": "on demand"},
        }
    )
    params = module.params
    try:
        duration = seconds(params["duration"]) if params["duration"] is not None else None
        shape = Shape(params["requests"], duration, params["concurrency"], params["rate"])
        check_shape(shape)
        budgets = parse_budgets(params["budgets"])
        routes = parse_routes(
            params["routes"],
            params["base_url"],
            params["connect_to"],
            params["ca_file"],
            params["validate_certs"],
            params["connections"],
            seconds(params["timeout"]),
        )
    except SpecError as error:
        module.fail_spec(error)
    if module.check_mode:
        module.exit_json(changed=False, skipped=True, msg="the declaration is sound; no load in check mode")
    own = overhead(shape, all(route.fresh for route in routes))
    mask = module.redactor.text
    statistics = asyncio.run(apply(shape, routes, params["release_header"], params["warm_up"], mask))
    load = module.redactor.data(statistics.summary())
    gates = judge(budgets, statistics.figures(), own, params["baseline"])
    for gate in gates:
        gate["name"] = gate["name"].replace("load", params["name"], 1)
    bad = [gate for gate in gates if gate["verdict"] == "fail"]
    unsure = [gate for gate in gates if gate["verdict"] == "inconclusive"]
    lines = [f"{params['name']}: {load['requests']} requests, {load['failed']} failed, {load['rps']}/s"]
    lines += [
        f"- {g['name']}: saw {g['value']}, expected {g['limit']}; {g.get('detail', '')}" for g in bad + unsure
    ]
    lines += [f"- {count} failed: {kind}" for kind, count in load["failures"].items()]
    lines += [f"  first: {detail['route']}: {detail['detail']}" for detail in load["failure_details"][:1]]
    result = {
        "msg": "\n".join(lines),
        "load": load,
        "overhead": own,
        "gates": gates,
        "report": {"load": {params["moment"]: {params["name"]: {**load, "overhead": own, "gates": gates}}}},
    }
    if bad or (unsure and params["inconclusive"] == "fail"):
        module.fail_json(**result)
    for gate in unsure:
        module.warn(f"{gate['name']} is inconclusive: {gate['detail']}")
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
