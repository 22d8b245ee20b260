#!/usr/bin/python
# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

DOCUMENTATION = r"""
module: smoke_flow
short_description: Walk through a service as a user would, and look at what comes back
description:
  - Runs O(steps) one after the other. The first that does not see what it expects ends the flow; O(always)
    steps run in any case, and when they fail it is a warning.
  - Everything is checked before the first request is sent. Unknown keys, empty expectations and values that
    no earlier step saves are errors.
  - A failure shows request, status, the first 500 bytes of the body and every expectation that did not hold.
    Values saved with C(secret), cookies, and what is named like a secret in the declaration are masked
    everywhere.
attributes:
  check_mode:
    description: Steps that only read run as usual. Those that change something, and those that need what they
      would have saved, are not run, and their gates are C(inconclusive).
    support: full
  diff_mode:
    description: There is nothing to compare.
    support: none
options:
  flow:
    description: Name of the journey, in gates and in the report.
    type: str
    required: true
  base:
    description: URL that paths in steps are below of.
    type: str
    required: true
  connect_to:
    description: Address (V(host:port)) to connect to instead of the base URL's; SNI, Host and certificate
      checks stay with the URL.
    type: str
  ca_file:
    description: Certificate authorities to trust instead of the system's.
    type: path
  validate_certs:
    description: Whether certificates are verified.
    type: bool
    default: true
  deadline:
    description: How long all O(steps) together may take. O(always) steps have 15 s of their own.
    type: str
    default: 60s
  defaults:
    description: "For every request: C(timeout) (5s), C(headers), C(cookies) (kept as a browser would unless
      false), C(retry) (C(for), C(every), C(on), C(methods); nothing is sent again unless this is given, and
      then only GET and HEAD unless C(methods) says otherwise)."
    type: dict
    default: {}
  steps:
    description:
      - Each has one action and a C(name). C(${name}) stands for a value an earlier step saved; C(${uuid}) and
        C(${now}) are always there.
      - "A request: C(get), C(post), C(put), C(patch), C(delete), C(head) or C(options) with a path,
        C(headers), C(json), C(body) or C(form), C(expect) (C(status), C(header), C(body), C(json),
        C(latency), C(redirect), C(version)), C(save) (from C(json), C(header), C(cookie), C(body) or
        C(status); C(secret)), C(within) (try until it holds), C(effect) (a request whose expectations must
        then hold), C(sign) and C(replay)."
      - "C(sign): C(scheme) (C(hex), C(base64), C(github), C(stripe), C(standard-webhooks), C(custom)),
        C(secret), and to adapt them C(payload), C(headers), C(encoding), C(algorithm), C(timestamp).
        C(replay): a list of C(same_id), C(same_signature), C(stale), C(tampered_body), C(no_signature),
        C(wrong_secret)."
      - "C(sse): a path, with C(read) (C(events), C(first_within), C(idle), C(within)), C(expect) (C(event),
        C(data), C(json), C(count), C(spread), C(buffered)) and C(resume)."
      - "C(burst): a request with C(requests) and C(concurrency), C(expect) (C(only), C(count),
        C(recovers_within))."
      - "C(cache): C(get) and C(by) (C(header) or C(json) with C(hit) and C(miss), or C(time_ratio)),
        C(expect) (a list of C(miss), C(hit)), C(invalidate) (a request) and C(then)."
      - "C(connections): C(sse) or C(get) with C(allowed), C(expect) (C(refused), C(again_within))."
    type: list
    elements: dict
    required: true
  always:
    description: Steps that clean up. C(when_saved) runs one only if that value was saved.
    type: list
    elements: dict
    default: []
  moment:
    description: When this is, in the release; names the results in the report.
    type: str
    default: on demand
  secrets:
    description: Further values to mask in all output.
    type: list
    elements: str
    default: []
requirements:
  - jmespath (for JSON assertions beyond a dotted path)
author:
  - slipway contributors
"""

EXAMPLES = r"""
- name: Sign in and pay
  smoke_flow:
    flow: checkout
    base: https://shop.example.com
    steps:
      - name: sign in
        post: /api/login
        json: {user: smoke, password: "{{ smoke_password }}"}
        expect: {status: 200, json: {"user.role": customer}, latency: 800ms}
        save: {token: {json: access_token, secret: true}}
      - name: order
        post: /api/orders
        headers: {Authorization: "Bearer ${token}"}
        json: {sku: "1", reference: "${uuid}"}
        expect: {status: 201}
        save: {order: {json: id}}
      - name: payment webhook
        post: /hooks/pay
        body: '{"id": "${uuid}", "order": "${order}"}'
        sign: {scheme: standard-webhooks, secret: "{{ hook_secret }}"}
        effect: {get: "/api/orders/${order}", expect: {json: {payments: 1}}, within: 5s}
        replay:
          - {case: same_id, expect: {status: [200, 409], effect: once}}
          - {case: stale, age: 10m}
          - tampered_body
          - no_signature
    always:
      - {delete: "/api/orders/${order}", when_saved: order, expect: {status: [204, 404]}}
"""

RETURN = r"""
steps:
  description: What became of each step.
  returned: always
  type: list
  elements: dict
  contains:
    name: {description: Its name., type: str, returned: always}
    verdict: {description: pass, fail, warn or inconclusive (not run)., type: str, returned: always}
    seen: {description: What was seen, in a line., type: str, returned: always}
    ms: {description: How long it took., type: float, returned: always}
    problems: {description: What was wrong, with the request and the answer., type: list, returned: always}
failed_step:
  description: Name of the step that failed.
  returned: when one did
  type: str
gates:
  description: One for each step.
  returned: always
  type: list
  elements: dict
report:
  description: The same for the release's report, under C(verification).
  returned: always
  type: dict
"""

import asyncio

from ansible.module_utils.slipway.flow import parse_flow, run_flow
from ansible.module_utils.slipway.flow_context import Context
from ansible.module_utils.slipway.predicates import SpecError, seconds
from ansible.module_utils.slipway.verification import SecretiveModule


def main() -> None:
    module = SecretiveModule(
        argument_spec={
            "flow": {"type": "str", "required": True},
            "base": {"type": "str", "required": True},
            "connect_to": {"type": "str"},
            "ca_file": {"type": "path"},
            "validate_certs": {"type": "bool", "default": True},
            "deadline": {"type": "str", "default": "60s"},
            "defaults": {"type": "dict", "default": {}},
            "steps": {"type": "list", "elements": "dict", "required": True},
            "always": {"type": "list", "elements": "dict", "default": []},
            "moment": {"type": "str", "default": "on demand"},
            "secrets": {"type": "list", "elements": "str", "default": [], "no_log": True},
        }
    )
    params = module.params
    name = params["flow"]
    try:
        context = Context(
            params["base"],
            module.redactor,
            params["connect_to"],
            params["ca_file"],
            params["validate_certs"],
            params["defaults"],
        )
        flow = parse_flow(context, params["steps"], params["always"])
        deadline = seconds(params["deadline"])
    except SpecError as error:
        module.fail_spec(error)
    done = asyncio.run(run_flow(context, flow, deadline, module.check_mode))
    # What was saved as a secret on the way is masked by Ansible too, in whatever it prints of this result.
    module.no_log_values.update(module.redactor.values)
    steps = [
        {"name": step.name, "verdict": step.verdict, "seen": step.seen, "ms": step.ms, "problems": step.lines}
        for step in done
    ]
    gates = [
        {
            "name": f"{name}: {step.name}",
            "value": step.seen or (step.lines or ["nothing"])[0],
            "limit": "as declared",
            "verdict": step.verdict,
            **({"detail": "\n".join(step.lines)} if step.lines else {}),
        }
        for step in done
    ]
    for step in done:
        if step.verdict == "warn":
            module.warn(f"{name}: cleaning up failed at {step.name!r}: {'; '.join(step.lines)}")
    result = {
        "steps": steps,
        "gates": gates,
        "report": {"verification": {params["moment"]: {"flows": {name: steps}}}},
    }
    failed = next((step for step in done if step.verdict == "fail"), None)
    if failed:
        place = f"step {done.index(failed) + 1} of {len(flow.steps)}"
        lines = "\n".join(f"  {line}" for line in failed.lines)
        message = f"{name} failed at {place}, {failed.name!r}:\n{lines}"
        module.fail_json(msg=message, failed_step=failed.name, **result)
    passed = sum(step.verdict == "pass" for step in done)
    # What a flow leaves in the application is the application's business: a host is as it was.
    module.exit_json(changed=False, msg=f"{name}: {passed} of {len(done)} steps passed", **result)


if __name__ == "__main__":
    main()
