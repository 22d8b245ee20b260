# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""Start after a boot what should run on this host, where the engine could not: it lies on the host, and runs there by itself.

The engine starts containers once. One that publishes a port on an address which comes later (a private network, a VPN) fails
with "cannot assign requested address", and is not tried again (moby/moby issue 26187). usage: boot.py <root of the system>
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

PATIENCE = 600  # seconds until the last address has to be there
PAUSE = 2  # seconds between tries

Run = Callable[[list[str]], str]


def live(root: Path) -> tuple[str, bool]:
    """Return the colour that is live as the records here say (empty: none), and whether a release is under way."""
    records = []
    for path in root.glob("releases/*/record.json"):
        try:
            records.append(json.loads(path.read_text()))
        except (OSError, ValueError):
            continue
    serving = [one for one in records if one.get("verdict") == "live" and not one.get("live_until")]
    newest: dict[str, Any] = max(serving, key=lambda one: (one.get("generation", 0), one["id"]), default={})
    return str(newest.get("colour", "")), any(not one.get("verdict") for one in records)


def wanted(name: str, colour: str, under_way: bool, containers: list[dict[str, Any]]) -> list[str]:
    """Return the names of the containers to start.

    Those that keep data, and those of the live colour, workers too: they ran, as what rests was stopped in the other one.
    While a release is under way only those that the engine tried to start and could not, whichever colour they have: which
    workers are at work is for that release, or the run that settles it, to say.
    """
    names = []
    for one in containers:
        labels, state = one["Config"]["Labels"], one["State"]
        project = labels.get("com.docker.compose.project")
        ours = project in (name, f"{name}-blue", f"{name}-green")
        once = (
            labels.get("com.docker.compose.oneoff") == "True"
            or one["HostConfig"]["RestartPolicy"]["Name"] == "no"
        )
        if not ours or once or state["Running"]:
            continue
        meant = project == name or (bool(colour) and project == f"{name}-{colour}" and not under_way)
        if meant or state["Error"]:
            names.append(str(one["Name"]).lstrip("/"))
    return sorted(names)


def bring(root: Path, run: Run, patience: float = PATIENCE, pause: float = PAUSE) -> list[str]:
    """Start what should run, until all of it does or `patience` is over; return what does not run then."""
    deadline = time.monotonic() + patience
    while True:
        identifiers = run(["docker", "ps", "--all", "--quiet", "--no-trunc"]).split()
        found = json.loads(run(["docker", "inspect", *identifiers]) or "[]") if identifiers else []
        missing = wanted(root.name, *live(root), found)
        if not missing or time.monotonic() > deadline:
            return missing
        for name in missing:
            run(["docker", "start", name])
        time.sleep(pause)


def _run(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout  # noqa: S603 - our own words


if __name__ == "__main__":
    left = bring(Path(sys.argv[1]), _run)
    if left:
        sys.exit(
            f"These do not start: {', '.join(left)}. See why: docker inspect -f '{{{{.State.Error}}}}' <name>"
        )
