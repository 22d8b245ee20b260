#!/usr/bin/python
# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

DOCUMENTATION = r"""
module: smoke_flow
short_description: Use a service as a user would, and check what comes back
description:
  - Runs O(steps) one after the other. The first that does not see what it expects ends the flow; O(always)
    steps run in any case, and when they fail it is a warning.
  - Everything is checked before the first request is sent. Unknown keys, empty expectations and values that
    no earlier step saves are errors.
  - A failure shows request, status, the first 500 bytes of the body and every expectation that did not hold.
    Values saved with C(secret), cookies, and what is named like a secret in the declaration are masked
    everywhere.
extends_documentation_fragment: [verification]
attributes:
  check_mode:
    description: Steps that only read run as usual. Those that change something, and those that need what they
      would have saved, are not run, and their gates are C(inconclusive).
    support: full
  diff_mode:
    description: There is nothing to compare.
    support: none
options:
  flows:
    description:
      - "Each has C(flow) (its name), C(steps), and optionally C(always), C(deadline) (60s, for all steps
        together; C(always) steps have 15 s of their own), C(defaults) and C(at) (the moments it is for)."
      - "C(defaults), for every request of the flow: C(timeout) (5s), C(headers), C(cookies) (kept as a
        browser would unless false), C(retry) (C(for), C(every), C(on), C(methods); nothing is sent again
        unless this is given, and then only GET and HEAD unless C(methods) says otherwise)."
      - Each step has one action and a C(name). C(${name}) stands for a value an earlier step saved;
        C(${uuid}) and C(${now}) are always there.
      - "A request: C(get), C(post), C(put), C(patch), C(delete), C(head) or C(options) with a path,
        C(headers), C(json), C(body) or C(form), C(expect) (C(status), C(header), C(body), C(json),
        C(latency), C(redirect), C(version)), C(save) (from C(json), C(header), C(cookie), C(body) or
        C(status); C(secret)), C(within) (repeat until it holds), C(effect) (a request whose expectations must
        then hold, and after a forgery for all of its C(within)), C(sign) and C(replay)."
      - "C(sign): C(scheme) (C(hex), C(base64), C(github), C(stripe), C(standard-webhooks), C(custom)),
        C(secret), and to adapt them C(payload), C(headers), C(encoding), C(algorithm), C(timestamp).
        C(replay): a list of C(same_id), C(same_signature), C(stale), C(tampered_body), C(no_signature),
        C(wrong_secret)."
      - "C(sse): a path, with C(read) (C(events), C(first_within), C(idle), C(within)), C(expect) (C(event),
        C(data), C(json), C(count), C(spread), C(buffered)) and C(resume)."
      - "C(burst): a request (or C(sse), judged by its status) with C(requests) and C(concurrency), C(expect) (C(only), C(count),
        C(recovers_within))."
      - "C(cache): C(get) and C(by) (C(header) or C(json) with C(hit) and C(miss), or C(time_ratio)),
        C(expect) (a list of C(miss), C(hit)), C(invalidate) (a request) and C(then)."
      - "C(connections): C(sse) or C(get) with C(allowed), C(expect) (C(refused), C(again_within))."
      - Steps below C(always) clean up. C(when_saved) runs one only if that value was saved.
    type: list
    elements: dict
    required: true
  base_url:
    description: URL to which the paths of steps are added.
    type: str
    required: true
  validate_certs:
    description: Whether certificates are verified.
    type: bool
    default: true
requirements:
  - jmespath (for JSON assertions beyond a dotted path)
author:
  - slipway contributors
"""

EXAMPLES = r"""
- name: Sign in and pay
  smoke_flow:
    base_url: https://shop.example.com
    flows:
      - flow: checkout
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
flows:
  description: Steps by flow (and replica).
  returned: always
  type: dict
  sample:
    checkout:
      - {name: sign in, verdict: pass, seen: status 200 in 34 ms, expected: status 2xx, ms: 36.1,
          problems: []}
failed_flows:
  description: Names of flows that failed.
  returned: always
  type: list
  elements: str
gates:
  description: One for each step; pass, fail, warn (cleaning up failed) or inconclusive (not run).
  returned: always
  type: list
  elements: dict
report:
  description: The same for the release's report, under C(verification).
  returned: always
  type: dict
"""

from ansible.module_utils.slipway.verify.flows.smoke import walk
from ansible.module_utils.slipway.verify.module import COMMON, SecretiveModule


def main() -> None:
    module = SecretiveModule(
        argument_spec={
            **COMMON,
            "flows": {"type": "list", "elements": "dict", "required": True},
            "base_url": {"type": "str", "required": True},
            "validate_certs": {"type": "bool", "default": True},
        }
    )
    module.answer(lambda: walk(module.params, module.redactor, module.warn, module.check_mode))


if __name__ == "__main__":
    main()
