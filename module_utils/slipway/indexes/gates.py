# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""Gates: what was seen of indexes beside what was expected, with a verdict."""

from __future__ import annotations

from typing import Any

from ..postgres.sql import human_bytes, parse_bytes
from .audit import select

Gate = dict[str, Any]


def gates(
    results: list[dict[str, Any]], failed: list[dict[str, Any]], blockers: list[dict[str, Any]]
) -> list[Gate]:
    """Return one gate for the whole list and one for each index that is not as declared."""
    good = [item for item in results if item["state"] in ("valid", "absent")]
    names = {(item["schema"], item["name"]) for item in failed}
    found: list[Gate] = []
    for item in results:
        key = (item["schema"], item["name"])
        label = f"index {item['schema']}.{item['name']}"
        limit = "absent" if item["wanted"] == "absent" else "valid"
        if key in names:
            found.append(_gate(label, item["state"], limit, "fail", item["reason"]))
        elif item["state"] == "unknown":
            found.append(_gate(label, "unknown", limit, "inconclusive", item["reason"]))
        elif item["state"] not in ("valid", "absent"):
            found.append(_gate(label, item["state"], limit, "warn", item["reason"]))
    verdict = max((gate["verdict"] for gate in found), key=_WEIGHT.index, default="pass")
    total = _gate(
        "declared indexes in place", f"{len(good)}/{len(results)}", f"{len(results)}/{len(results)}", verdict
    )
    if blockers:
        found.append(_gate("transactions in the way of index builds", len(blockers), 0, "fail"))
    return [total, *found]


_WEIGHT = ["pass", "warn", "inconclusive", "fail"]


def _gate(name: str, value: Any, limit: Any, verdict: str, detail: str = "") -> Gate:
    gate = {"name": name, "value": value, "limit": limit, "verdict": verdict}
    if detail:
        gate["detail"] = detail
    return gate


# HOT updates of a table that is hardly updated say nothing.
_MIN_UPDATES = 1000


def audit_gates(result: dict[str, Any], params: dict[str, Any]) -> list[Gate]:
    """Return the gates of an audit: `result` is the module's, `params` hold the expectations."""
    found = []
    for expectation in params["expect"]:
        found += _expectation(result["indexes"], expectation)
    invalid = [item["name"] for item in result["invalid"]]
    found.append(_gate("INVALID indexes", len(invalid), 0, "fail" if invalid else "pass", ", ".join(invalid)))
    found += _findings(result)
    cache, wanted = result["totals"]["cache_hit_pct"], params["cache_hit_min"]
    if wanted is not None:
        verdict = "inconclusive" if cache is None else "pass" if cache >= wanted else "fail"
        value = "no reads" if cache is None else f"{cache} %"
        found.append(_gate("cache hit ratio", value, f">= {wanted} %", verdict))
    hot = params["hot_update_min"]
    if hot is not None:
        low = [
            t for t in result["tables"] if t["updates"] >= _MIN_UPDATES and (t["hot_update_pct"] or 0) < hot
        ]
        detail = ", ".join(
            f"{t['schema']}.{t['name']} {t['hot_update_pct']} % of {t['updates']}" for t in low
        )
        found.append(
            _gate("tables whose updates touch indexes", len(low), 0, "warn" if low else "pass", detail)
        )
    for answer in result["queries"]:
        value = "no answer" if answer["ms"] is None else f"{answer['ms']} ms"
        limit = f"{answer['max_ms']:g} ms" if answer["max_ms"] is not None else "answers"
        if answer["must_use"]:
            value += f", {', '.join(answer['indexes']) or 'no index'}"
            limit += f", {answer['must_use']}"
        found.append(_gate(f"query {answer['name']}", value, limit, answer["verdict"], answer["detail"]))
    return found


def _expectation(entries: list[dict[str, Any]], expectation: dict[str, Any]) -> list[Gate]:
    chosen = select(entries, expectation)
    valid = [item for item in chosen if item["valid"]]
    found, name = [], expectation["name"]
    detail = ", ".join(
        f"{item['schema']}.{item['name']} {_unfinished(item)}" for item in chosen if not item["valid"]
    )
    exact, least = expectation.get("count"), expectation.get("count_min")
    if exact is not None:
        verdict = "pass" if len(valid) == exact else "fail"
        found.append(_gate(f"{name}: number", f"{len(valid)}/{exact}", f"{exact}/{exact}", verdict, detail))
    if least is not None:
        verdict = "pass" if len(valid) >= least else "fail"
        found.append(_gate(f"{name}: number", len(valid), f">= {least}", verdict, detail))
    low, high = parse_bytes(expectation.get("size_min")), parse_bytes(expectation.get("size_max"))
    if low is not None or high is not None:
        # A partitioned index has the size of its parts, which must not count twice.
        whole = {f"{item['schema']}.{item['name']}" for item in valid}
        size = sum(item["size_bytes"] for item in valid if item["part_of"] not in whole)
        good = (low is None or size >= low) and (high is None or size <= high)
        limit = " to ".join(human_bytes(bound) if bound is not None else "any" for bound in (low, high))
        found.append(_gate(f"{name}: total size", human_bytes(size), limit, "pass" if good else "fail"))
    return found


def _unfinished(item: dict[str, Any]) -> str:
    return "is being built now" if item["building"] else "is INVALID"


def _findings(result: dict[str, Any]) -> list[Gate]:
    """Return the gates of what deserves a look, but stops nobody."""
    unused = [
        f"{item['schema']}.{item['name']} ({human_bytes(item['size_bytes'])})"
        for item in result["indexes"]
        if item["usage"] == "UNUSED"
        and item["usage_conclusive"]
        and not item["unique"]
        and not item["constraint"]
        and not item["serves_foreign_key"]
    ]
    named = {
        "duplicate indexes": [", ".join(group["indexes"]) for group in result["duplicates"]],
        "redundant indexes": [
            f"{item['name']} (covered by {item['covered_by']})"
            for item in result["redundant"]
            if item["certainty"] == "certain"
        ],
        "foreign keys without an index": [
            f"{key['table_name']}.{key['name']}" for key in result["foreign_keys"]
        ],
        "unused indexes": unused,
    }
    return [
        _gate(name, len(items), 0, "warn" if items else "pass", "; ".join(items))
        for name, items in named.items()
    ]
