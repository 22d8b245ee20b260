# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""Budgets of a load: limits, absolute or relative to a baseline, and verdicts one can rely on."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from ..predicates import SpecError, percent, seconds, show, unknown_keys

TIMES = ("mean", "p50", "p90", "p95", "p99", "max")
BUDGETS = ("errors", "rps", *TIMES)
# A percentile that falls on the very last value of a sample is that value, not a percentile.
_NEEDED = {"p90": 10, "p95": 20, "p99": 100}
# Overhead above this share of a limit could be what broke it.
_SPOILS = 0.25
# How the engine calls a request that it could not send for want of file descriptors.
NO_DESCRIPTORS = "no file descriptors"
_OUT_OF_DESCRIPTORS = (
    "the generator ran out of file descriptors; raise RLIMIT_NOFILE (ulimit -Hn) of the user it runs as, "
    "or ask for fewer connections"
)
_RELATIVE = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*x\s*baseline(?:\s*(?:,|or)?\s*\+\s*([0-9.]+\s*m?s))?\s*")
# A service that went from 2 ms to 5 ms is not what a relative limit is meant to catch.
_FLOOR = 0.010


class Budget(NamedTuple):
    """A limit on one figure. Times in milliseconds, errors in percent; `times` is relative to a baseline."""

    name: str
    limit: float
    times: float | None = None
    floor: float = 0.0

    @property
    def at_least(self) -> bool:
        """Requests a second must not fall below it; everything else must not rise above it."""
        return self.name == "rps"


def parse_budgets(raw: Any) -> list[Budget]:
    """`{errors: 0%, rps: 100, p95: 300ms, p99: 2x baseline or +50ms}`; raises SpecError."""
    if not isinstance(raw, dict) or not raw:
        raise SpecError("budgets: an empty budget judges nothing; known: " + ", ".join(BUDGETS))
    problems = unknown_keys(raw, BUDGETS, "budgets")
    budgets = []
    for name, value in raw.items():
        if name not in BUDGETS:
            continue
        try:
            match = _RELATIVE.fullmatch(str(value))
            if match:
                floor = seconds(match.group(2).replace(" ", "")) if match.group(2) else _FLOOR
                budgets.append(Budget(name, math.nan, float(match.group(1)), floor * 1000))
            elif name in TIMES:
                budgets.append(Budget(name, seconds(value) * 1000))
            elif name == "errors":
                budgets.append(Budget(name, percent(value)))
            else:
                budgets.append(Budget(name, float(value)))
        except (SpecError, ValueError) as error:
            problems.append(f"budgets.{name}: {error} (or: 2x baseline)")
    if problems:
        raise SpecError(*problems)
    return budgets


def judge(
    budgets: list[Budget],
    figures: Mapping[str, Any],
    overhead: Mapping[str, Any],
    baseline: Mapping[str, Any] | None = None,
) -> list[dict[str, Any]]:
    """One gate for each budget.

    `inconclusive` where the sample is too small, the baseline is missing, or a breach may be the generator's
    own overhead. Overhead only ever adds to a latency, so what passes in spite of it has passed. A load that was
    cut short by its deadline has failed, whatever it had shown until then.
    """
    gates = [_judge(budget, figures, overhead, baseline) for budget in budgets]
    lacking = figures.get("failures", {}).get(NO_DESCRIPTORS)
    if lacking:
        why = f"{lacking} requests were never sent: {_OUT_OF_DESCRIPTORS}"
        gates = [{**gate, "verdict": "inconclusive", "detail": why} for gate in gates]
    if "overdue" in figures:
        gates.insert(0, {"name": "deadline", "verdict": "fail", **figures["overdue"]})
    return gates


def _judge(
    budget: Budget,
    figures: Mapping[str, Any],
    overhead: Mapping[str, Any],
    baseline: Mapping[str, Any] | None,
) -> dict[str, Any]:
    name, value, limit, detail = budget.name, figures.get(budget.name), budget.limit, ""
    gate: dict[str, Any] = {"name": name, "value": _unit(name, value)}
    if budget.times is not None:
        before = (baseline or {}).get(name)
        if before is None:
            return {
                **gate,
                "limit": f"{budget.times:g}x baseline",
                "verdict": "inconclusive",
                "detail": "there is no baseline to compare with",
            }
        limit = _relative(budget, float(before))
        detail = f"{budget.times:g}x the baseline of {_unit(name, before)}"
        gate["baseline"] = _unit(name, before)
    gate["limit"] = f"{'at least' if budget.at_least else 'at most'} {_unit(name, limit)}"
    good = int(figures.get("requests", 0)) - int(figures.get("failed", 0))
    if value is None:
        return {**gate, "verdict": "fail", "detail": "no request was answered"}
    if good < _NEEDED.get(name, 1) and name != "errors":
        needed = f"{good} answers are too few for {name}: at least {_NEEDED.get(name, 1)}"
        return {**gate, "verdict": "inconclusive", "detail": needed}
    held = value >= limit if budget.at_least else value <= limit
    own = overhead.get(name)
    if not held and own is not None and name != "errors":
        # A server that is beyond the limit by far more than the overhead gets no such benefit of the doubt.
        spoiled = own > limit * _SPOILS and value - 2 * own <= limit
        if budget.at_least:
            # What the generator reached alone was within its power, and a server far below that was the slow one.
            spoiled = own < limit and value >= own * (1 - _SPOILS)
        if spoiled:
            reason = f"the generator alone shows {_unit(name, own)} here, too close to blame the server"
            return {**gate, "verdict": "inconclusive", "detail": reason}
    return {**gate, "verdict": "pass" if held else "fail", **({"detail": detail} if detail else {})}


def _relative(budget: Budget, before: float) -> float:
    if budget.at_least or budget.name == "errors":
        return before * float(budget.times or 0)
    return max(before * float(budget.times or 0), before + budget.floor)


def _unit(name: str, value: Any) -> str:
    if value is None:
        return "nothing"
    if name == "errors":
        return f"{value:.3g} %"
    if name == "rps":
        return f"{value:.4g}/s"
    return f"{value:.4g} ms" if isinstance(value, (int, float)) else show(value)


def gates_of(name: str, gates: list[dict[str, Any]], timeline: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Gates under the name of their load, each with the curve of its figure where there is one."""
    named = []
    for gate in gates:
        key = f"{gate['name']}_ms"
        series = [[entry["second"], entry[key]] for entry in timeline if key in entry]
        curve = {"timeline": series} if series else {}
        named.append({**gate, "name": f"{name}: {gate['name']}", **curve})
    return named


def told(name: str, load: Mapping[str, Any], gates: list[dict[str, Any]]) -> str:
    """A load in words: what was sent, which budgets did not hold and why, and the first failure."""
    lines = [f"{name}: {load['requests']} requests, {load['failed']} failed, {load['rps']}/s"]
    for gate in gates:
        if gate["verdict"] != "pass":
            why = f" ({gate['detail']})" if "detail" in gate else ""
            lines.append(
                f"- {gate['name']} {gate['verdict']}: saw {gate['value']}, expected {gate['limit']}{why}"
            )
    lines += [f"- {count} failed: {kind}" for kind, count in load["failures"].items()]
    lines += [f"  first: {detail['route']}: {detail['detail']}" for detail in load["failure_details"][:1]]
    return "\n".join(lines)
