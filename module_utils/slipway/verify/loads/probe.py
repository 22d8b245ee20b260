# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""Applies declared loads at a moment of a release and holds them against budgets: what the module load_probe does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...masking.redactor import Redactor
from ..moments import declared, parse_places
from .budget import gates_of, judge, told
from .run import Load, overhead, parse_loads, raise_descriptor_limit

# When a load applies that does not say: what replicas can carry says little about all of them together.
_UNSAID = ("public", "demand")


def probe(
    params: dict[str, Any], redactor: Redactor, warn: Callable[[str], None], check_mode: bool = False
) -> dict[str, Any]:
    """Apply the loads in `params`, the options of the module load_probe; return the module's result.

    In it, `failed` says whether a budget was not kept; `warn` is called where one is inconclusive and that is no failure.
    Raises SpecError where the declaration is wrong.
    """
    moment = params["moment"]
    places = parse_places(params["base_url"], params["connect_to"], params["ca_file"], params["targets"])

    def parse(entries: list[Any]) -> list[Load]:
        return parse_loads(entries, places, params["validate_certs"])

    # The release before is measured under every load that the new one will meet, and judged by none.
    loads = declared(params, "loads", "public" if moment == "baseline" else moment, parse, _UNSAID)
    if not loads or params["parse_only"] or check_mode:
        message = f"{len(loads)} loads declared for the moment {moment}, none applied"
        return {"failed": False, "msg": message, "loads": {}, "failed_loads": [], "gates": []}
    raise_descriptor_limit()
    stops = ("fail", "inconclusive") if params["inconclusive"] == "fail" else ("fail",)
    lines, gates, found, failed = [], [], {}, []
    for load in loads:
        own = overhead(load.shape, all(route.fresh for route in load.routes))
        statistics = load.run(redactor.body)
        figures = redactor.data({**statistics.summary(), "overhead": own})
        judged = judge(load.budgets, figures, own, params["baseline"].get(load.declared))
        if moment == "baseline":
            judged = []
        failed += [load.name] if any(gate["verdict"] in stops for gate in judged) else []
        for gate in judged:
            if gate["verdict"] == "inconclusive" and params["inconclusive"] == "warn":
                warn(f"{load.name}: {gate['name']} is inconclusive: {gate['detail']}")
        lines.append(told(load.name, figures, judged))
        gates += gates_of(load.name, judged, figures["timeline"])
        found[load.name] = figures
    return {
        "failed": bool(failed),
        "msg": "\n".join(lines),
        "loads": found,
        "failed_loads": failed,
        "gates": gates,
        "report": {"load": {f"{moment}: {name}": figures for name, figures in found.items()}},
    }
