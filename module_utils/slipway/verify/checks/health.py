# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""Runs declared checks for a moment of a release, each at every place it is for: what the module health_check does."""

from __future__ import annotations

from typing import Any

from ...masking.redactor import Redactor
from ..deadline import GRACE, finished
from ..moments import declared, parse_places, spread_checks
from ..predicates import SpecError, seconds
from .run import Check, parse_checks, run_checks, summary


def check(params: dict[str, Any], redactor: Redactor, check_mode: bool = False) -> dict[str, Any]:
    """Run the checks in `params`, the options of the module health_check; return the module's result.

    In it, `failed` says whether a critical one failed, `warned` has a sentence for each other one, and `lacking` the Python
    libraries that this host lacks. Raises SpecError where the declaration is wrong, StillBusy where the checks do not end.
    """
    places = parse_places(params["base_url"], params["connect_to"], params["ca_file"], params["targets"])
    interval = seconds(params["interval"])

    def parse(entries: list[Any]) -> list[Check]:
        wanted = spread_checks(entries, places)
        return parse_checks(wanted, interval, params["consecutive"]) if wanted else []

    checks = declared(params, "checks", params["moment"], parse)
    if params["concurrency"] < 1:
        raise SpecError("concurrency: must be at least 1")
    deadline = seconds(params["deadline"])
    if not checks or params["parse_only"]:
        message = f"{len(checks)} checks declared for the moment {params['moment']}, none run"
        return {"failed": False, "msg": message, "checks": {}, "failed_checks": [], "gates": []}
    running = run_checks(checks, deadline, params["concurrency"], check_mode, redactor)
    outcomes = finished(running, deadline + GRACE)
    result = summary(outcomes, redactor)
    result["lacking"] = sorted({outcome.library for outcome in outcomes if outcome.library})
    result["report"] = {"verification": {f"{params['moment']}: health": result["checks"]}}
    return result
