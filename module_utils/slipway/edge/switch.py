# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""Turns the edge to a colour and sees through the edge that it has turned, or turns it back."""

from __future__ import annotations

import http.client
import time
from typing import Any

from ..host import fence
from . import flag
from .ask import EdgeError, ask, confirm, public, unready


def turn(asked: dict[str, Any], check: bool = False) -> dict[str, Any]:
    """Turn the edge as `asked`, the options of the module edge_switch, say; return the module's result.

    Without a colour it only says where the edge points. With `check` nothing is touched. Raises EdgeError where the colour
    does not answer; its `result` says where the edge points then.
    """
    directory, colour = asked["directory"], asked["colour"]
    before = flag.pointed_at(directory)
    result: dict[str, Any] = {"changed": False, "colour": before, "before": before}
    if not colour:
        return result
    if asked.get("only_see") and before != colour:
        raise EdgeError(f"The edge points at {before}, not at {colour}.", result)
    result["changed"] = before != colour
    result["diff"] = {"before": f"live: {before}\n", "after": f"live: {colour}\n"}
    if check:
        return result
    fence.see(asked.get("fence"))
    missing = unready(asked["servers"], asked["domain"]) if result["changed"] else []
    if missing and (len(missing) == len(asked["servers"]) or not asked.get("any_server")):
        # Turning to a colour that is not there would be a failed request for everybody.
        raise EdgeError(
            f"The edge was not turned to {colour}: of its servers, these do not answer: {'; '.join(missing)}."
            f" It points at {before}.",
            {**result, "changed": False, "serves": _serves(asked)},
        )
    start = time.monotonic()
    with fence.held(asked.get("fence")):
        flag.point(directory, colour)
    result.update(colour=colour, flip_ms=_ms(start))
    if colour == "none" or not asked["domain"]:
        return result
    address = public(asked)
    try:
        result["requests"] = confirm(address, colour, asked["requests"], start + asked["timeout"])
    except EdgeError as error:
        if not asked["back_on_failure"]:
            raise EdgeError(str(error), result) from error
        with fence.held(asked.get("fence")):
            flag.point(directory, before)
        raise EdgeError(
            f"{error} The edge points at {before} again.",
            {**result, "colour": before, "serves": _serves(asked)},
        ) from error
    result["confirmed_ms"] = _ms(start)
    result["gates"] = [
        {
            "name": f"new requests reach {colour}",
            "value": f"{asked['requests']} of {asked['requests']} in {result['confirmed_ms']:.0f} ms",
            "limit": "all",
            "verdict": "pass",
        }
    ]
    return result


def _serves(asked: dict[str, Any]) -> bool:
    """Say whether the edge gives an answer below 500, whichever colour it comes from."""
    if not asked["domain"]:
        return False
    try:
        status, _ = ask(public(asked))
    except (OSError, http.client.HTTPException):
        return False
    return status < 500


def _ms(start: float) -> float:
    return round((time.monotonic() - start) * 1000, 1)
