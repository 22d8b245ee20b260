# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""Brings the indexes of a database to what is declared, in one call: what the module pg_indexes does."""

from __future__ import annotations

from typing import Any

from ..postgres.connect import Target
from .gates import gates
from .plan import Policy
from .report import Progress, Record
from .run import Entry, Run
from .spec import parse_all
from .watch import Options


def ensure(params: dict[str, Any], check_mode: bool = False) -> dict[str, Any]:
    """Bring the indexes to what `params`, the options of the module pg_indexes, declare; return the module's result.

    With `check_mode` nothing is touched, and the result says what would be done. Warnings are in the result, and a `msg` where
    indexes are not as declared. Raises Refused when nothing could be done at all.
    """
    everything = parse_all(params["indexes"])
    specs = parse_all(params["indexes"], params["tiers"])
    options = Options(**{name: params[name] for name in Options.__dataclass_fields__})
    awaits = check_mode and params["awaits_migration"]
    policy = Policy(params["on_drift"], params["on_invalid"], params["adopt"], awaits)
    record = Record(params["record"], params["release"])
    if not check_mode:
        record.prepare()

    def done(entry: Entry) -> None:
        if entry.action not in ("none", "reported", "skipped"):
            record.add(entry.result())

    work = Run(Target(params), policy, options, Progress(params["progress_file"]), done)
    entries = work.look(specs, {spec.label for spec in everything if spec.state == "present"})
    if params["defer"] and any(entry.open for entry in entries):
        return {"changed": False, "pending": True, "failed_indexes": [], "warnings": []}
    if not check_mode:
        work.apply(entries)
    results = [entry.result() for entry in entries]
    failed = [entry.result() for entry in entries if entry.failed]
    blockers = [blocker for entry in entries for blocker in entry.blockers]
    if not check_mode:
        # What is to be gone makes no tier: the clock of one starts with the indexes that are to be there.
        tiers = {spec.tier for spec in specs if spec.state == "present"}
        record.complete(
            tiers - {entry.spec.tier for entry in entries if entry.state not in ("valid", "absent")}
        )
    found = gates(results, failed, blockers)
    result = {
        "changed": any(entry.changed for entry in entries),
        "indexes": results,
        "failed_indexes": failed,
        "blockers": blockers,
        "gates": found,
        "report": {"indexes": {"tiers": params["tiers"], "indexes": results, "blockers": blockers}},
        "diff": [
            {
                "before_header": e.spec.label,
                "after_header": e.spec.label,
                "before": _line(e.before),
                "after": _line(e.target),
            }
            for e in entries
            if e.changed
        ],
        "warnings": list(dict.fromkeys(work.warnings)),
    }
    if failed:
        result["msg"] = f"{len(failed)} of {len(results)} indexes are not as declared: " + "; ".join(
            f"{item['schema']}.{item['name']}: {item['reason']}" for item in failed
        )
    return result


def _line(definition: str | None) -> str:
    return f"{definition}\n" if definition else ""


def unseen() -> dict[str, str]:
    """Return the gate of a plan for a host that is yet to get its packages."""
    return {
        "name": "declared indexes in place",
        "value": "unknown",
        "limit": "all",
        "verdict": "inconclusive",
        "detail": "psycopg is not installed here yet, so the database can't be looked at",
    }
