# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""Walks declared journeys at a moment of a release, each on every place it is for: what the module smoke_flow does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...masking.redactor import Redactor
from ..deadline import GRACE, finished
from ..moments import declared, parse_places
from .run import ALWAYS_SECONDS, Flow, failure, gate, parse_flows, run_flow, step_data


def walk(
    params: dict[str, Any], redactor: Redactor, warn: Callable[[str], None], check_mode: bool = False
) -> dict[str, Any]:
    """Walk the flows in `params`, the options of the module smoke_flow; return the module's result.

    In it, `failed` says whether one failed; `warn` is called where cleaning up did. What is saved as a secret on the way is added
    to `redactor`. Raises SpecError where the declaration is wrong, StillBusy where a flow does not end.
    """
    places = parse_places(params["base_url"], params["connect_to"], params["ca_file"], params["targets"])

    def parse(entries: list[Any]) -> list[Flow]:
        return parse_flows(entries, places, redactor, params["validate_certs"])

    flows = declared(params, "flows", params["moment"], parse)
    if not flows or params["parse_only"]:
        message = f"{len(flows)} flows declared for the moment {params['moment']}, none walked"
        return {"failed": False, "msg": message, "flows": {}, "failed_flows": [], "gates": []}
    gates, walked, failures = [], {}, {}
    for flow in flows:
        done = finished(run_flow(flow, check_mode), flow.deadline + ALWAYS_SECONDS + GRACE)
        gates += [gate(flow, step) for step in done]
        walked[flow.name] = [step_data(step) for step in done]
        lines = failure(flow, done)
        if lines:
            failures[flow.name] = lines
        for step in done:
            if step.verdict == "warn":
                warn(f"{flow.name}: cleaning up failed at {step.name!r}: {'; '.join(step.lines)}")
    return {
        "failed": bool(failures),
        "msg": "\n".join(failures.values()) or f"{len(flows)} flows passed",
        "flows": walked,
        "failed_flows": list(failures),
        "gates": gates,
        "report": {"verification": {f"{params['moment']}: {name}": steps for name, steps in walked.items()}},
    }
