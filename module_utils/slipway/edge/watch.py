# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""Watches a release from the edge, and turns back by itself, whether or not a controller is there."""

from __future__ import annotations

import http.client
import json
import time
from pathlib import Path
from typing import Any

from ..host import fence
from ..model.durable import write_atomically
from . import flag
from .ask import EdgeError, ask, public, unready


def watch(asked: dict[str, Any]) -> dict[str, Any]:
    """Watch the release in `asked`, the options of the module release_watch, and return the module's result.

    What it comes to is written beside the release's files, too. Raises EdgeError, the `result` in it, where the release has
    failed and the edge was turned back, and where somebody else has turned it.
    """
    root = Path(asked["root"])
    seen = probe(asked, root / "edge")
    result: dict[str, Any] = {"changed": False}
    gone = unready(asked.get("servers") or [], asked["domain"]) if seen["verdict"] == "fail" else []
    if gone and len(gone) == len(asked["servers"]):
        # Neither colour answers: what was seen is told, and a person decides.
        seen["stays"] = f"of {asked['previous_colour']}, no server answers either: {'; '.join(gone)}"
    elif seen["verdict"] == "fail" and asked["previous_colour"] != "none":
        # A host may have been suspended since it asked last, and the edge be somebody else's by now.
        with fence.held(asked.get("fence")):
            result["changed"] = flag.point(root / "edge", asked["previous_colour"])
        result["diff"] = {
            "before": f"live: {asked['colour']}\n",
            "after": f"live: {asked['previous_colour']}\n",
        }
        seen["turned_back_to"] = asked["previous_colour"]
    write_atomically(root / "releases" / asked["release"] / "watch.json", json.dumps(seen) + "\n")
    gate = {
        "name": "public address",
        "value": f"{seen['bad']} of {seen['probes']} probes bad, slowest {seen['slowest_ms']:.0f} ms",
        "limit": f"< {asked['failures']} bad in a row over {asked['seconds']:.0f} s",
        "verdict": {"pass": "pass", "fail": "fail"}.get(seen["verdict"], "inconclusive"),
    }
    result = {**seen, **result, "gates": [gate], "report": {"watch": seen}}
    if seen["verdict"] == "ended":
        raise EdgeError(
            f"The edge no longer points at {asked['colour']}: somebody has switched back.", result
        )
    if seen["verdict"] == "fail":
        back = f" The edge points at {seen['turned_back_to']} again." if "turned_back_to" in seen else ""
        back = f" The edge stays as it is: {seen['stays']}." if "stays" in seen else back
        raise EdgeError(
            f"{asked['failures']} probes of {asked['path']} in a row failed, the last with {seen['last']}.{back}",
            result,
        )
    return result


def probe(asked: dict[str, Any], flags: Path) -> dict[str, Any]:
    """Probe until the time is up or the release has failed; return verdict and figures."""
    address = public(asked)
    seen: dict[str, Any] = {"verdict": "pass", "probes": 0, "bad": 0, "slowest_ms": 0.0, "last": ""}
    in_a_row = 0
    deadline = time.monotonic() + asked["seconds"]
    while time.monotonic() < deadline:
        fence.see(asked.get("fence"))
        if flag.pointed_at(flags) != asked["colour"]:
            return {**seen, "verdict": "ended"}
        start = time.monotonic()
        seen["probes"] += 1
        try:
            status, _colour = ask(address)
            good, seen["last"] = status < 500, f"status {status}"
        except (OSError, http.client.HTTPException) as error:
            good, seen["last"] = False, f"{type(error).__name__}: {error}"
        seen["slowest_ms"] = max(seen["slowest_ms"], round((time.monotonic() - start) * 1000, 1))
        in_a_row = 0 if good else in_a_row + 1
        seen["bad"] += not good
        if in_a_row >= asked["failures"]:
            return {**seen, "verdict": "fail"}
        time.sleep(asked["interval"])
    return seen
