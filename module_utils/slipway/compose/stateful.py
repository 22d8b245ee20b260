# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""Runs the services of a system that keep data on this host. One whose configuration has changed is never recreated silently."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .containers import Container
from .project import Project, Run, changed, public


def ensure(run: Run, asked: dict[str, Any], check: bool = False) -> dict[str, Any]:
    """Have the services run that `asked`, the options of the module compose_stateful, names; return the module's result.

    With `check` nothing is touched. Raises ProjectError where docker refuses or a container does not become ready.
    """
    if check and not Path(asked["directory"], "project.json").exists():
        # A release that is yet to be made: its files come before its containers.
        return {"changed": True, "gates": [], "drifted": [], "containers": []}
    project = Project.of(run, asked["name"], asked["directory"], "project.json", "slipway.yaml")
    services = project.spec["services"]
    before = project.containers(services)
    drifted = [name for name in project.drifted() if name in services] if before else []
    if check:
        up = {found["service"] for found in before if found["status"] == "running"}
        todo = [f"start {name}" for name in services if name not in up]
        todo += [f"recreate {name}" for name in drifted if asked["recreate"]]
        after, moved = before, bool(todo)
    else:
        patience = {name: asked[name] for name in ("recreate", "timeout", "settled")}
        project.up(services, **patience)
        todo, after = [], project.containers(services)
        moved = changed(before, after)
    return {
        "changed": moved,
        "diff": {"before": state(before), "after": state(after) + "".join(f"{line}\n" for line in todo)},
        "gates": [] if asked["recreate"] else [drift_gate(name) for name in drifted],
        "drifted": drifted,
        "containers": public(after),
    }


def state(containers: list[Container]) -> str:
    """Return containers as text for a diff: what runs, and which configuration it was made from."""
    return "".join(
        f"{found['name']}: {found['status']}, configuration {found['config_hash'][:12]}\n"
        for found in containers
    )


def drift_gate(service: str) -> dict[str, str]:
    """Return the gate for a service that is kept although its configuration has changed."""
    return {
        "name": f"{service} unchanged",
        "value": "differs from its Compose file",
        "limit": "never recreated silently",
        "verdict": "warn",
        "detail": "kept as it is; recreate it in a quiet hour with -e '{\"stateful_recreate\": true}'",
    }
