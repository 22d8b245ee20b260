# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""What is told of migrations that are not run: where the database stands, what is pending, what a plan can know."""

from __future__ import annotations

from typing import Any

from .run import MigrationError, Migrations, invalid_gates, pending_gate
from .source import UnknownRevision, pending


def looked(migrations: Migrations, params: dict[str, Any]) -> dict[str, Any]:
    """Where the database stands and what is pending, as the module's options ``state`` and ``with_sql`` ask for it."""
    state = migrations.info()
    gates = [pending_gate(state), *invalid_gates(state)]
    awaited = state.pending != []
    found = {
        "changed": awaited and params["state"] == "upgraded",
        "awaited": awaited,
        "before": state.summary(),
        "pending": state.pending,
        "gates": gates,
    }
    if migrations.conn is not None:
        found["server_version"] = f"{migrations.conn.info.server_version // 10000}.0"
        found["empty"] = not any(name.startswith("table ") for name in state.schema or {})
    if params["with_sql"] and awaited:
        found["sql"], found["no_sql_because"] = migrations.sql(state)
    return found


def planned(migrations: Migrations, params: dict[str, Any], reason: str) -> dict[str, Any]:
    """What a plan says where the tool itself can't be asked yet: the source's revisions beside the database's."""
    gate: dict[str, Any] = {
        "name": "migrations pending",
        "value": "unknown",
        "limit": "any number",
        "verdict": "inconclusive",
        "detail": reason,
    }
    result: dict[str, Any] = {"changed": False, "pending": None, "awaited": True, "gates": [gate]}
    if params["revisions"] is None:
        return result
    try:
        applied = migrations.applied()
    except MigrationError as error:
        if not params["first"]:
            gate["detail"] = f"{reason}; {error}"
            return result
        applied = []
    try:
        left = pending(params["revisions"], applied)
    except UnknownRevision as error:
        gate.update(
            value=str(error), verdict="fail", detail="the tool would refuse; is this an older release?"
        )
        return {**result, "failed": True, "msg": f"Migrations: {error}"}
    gate.update(value=len(left), verdict="pass", detail=", ".join(one["revision"] for one in left))
    return {**result, "changed": bool(left), "pending": left, "awaited": bool(left)}


def report(params: dict[str, Any], result: dict[str, Any]) -> dict[str, Any]:
    """The section of the release's report."""
    left_out = ("gates", "sql", "no_sql_because", "empty")
    known = {k: v for k, v in result.items() if k not in left_out}
    return {"migrations": {"tool": params["tool"], "state": params["state"], **known}}
