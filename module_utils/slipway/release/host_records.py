# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""Keeps the records of this host, and says what it knows of its releases: the work of the module release_record."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from ..edge.flag import pointed_at
from . import records as core
from .lock import Lock

Run = Callable[[list[str]], tuple[int, str, str]]


def keep(
    asked: dict[str, Any], run: Run, find: Callable[[str], str | None], check: bool = False
) -> dict[str, Any]:
    """Write what `asked`, the options of release_record, says, and return what this host knows then.

    `find` says where a program lies. With `check` nothing is written. Raises ReleaseError.
    """
    releases = core.Releases(asked["root"])
    result: dict[str, Any] = {"changed": False}
    if asked["state"] != "read":
        to_write = _to_write(releases, asked)
        if not check:
            if asked["state"] == "begun":
                releases.make_directories()
            for record in to_write:
                result["changed"] |= releases.write(record)
    if asked["state"] == "closed":
        result.update(_pruned(releases, 0 if check else asked["keep"], run, find))
        ended = releases.read(asked["release"])
        result["report"] = {"release": {key: ended.get(key) for key in ("id", "system", "verdict", "reason")}}
    return {**result, **_known(releases)}


def _to_write(releases: core.Releases, asked: dict[str, Any]) -> list[core.Record]:
    """Return the records that have to be written."""
    state, identifier = asked["state"], asked["release"]
    if state == "begun":
        begun = {"started_at": core.now(), "phase": "preflight", **core.kept(asked["data"])}
        return [{**begun, "id": identifier}]
    if state == "synced":
        return list(asked["records"])
    record = releases.read(identifier)
    if state == "phase":
        if asked["token"] and not Lock(releases.root / "lock.json", 0).mine(asked["token"]):
            raise core.ReleaseError(
                f"The lock of {releases.root.name} was taken by somebody else, so release {identifier} goes no further. "
                f"See who: cat {releases.root}/lock.json"
            )
        return [core.merge(record, {"phase": asked["phase"] or record["phase"], **asked["data"]})]
    records = [
        {**other} if other["id"] != identifier else core.merge(record, asked["data"])
        for other in releases.all()
    ]
    return core.closed(records, identifier, asked["verdict"], asked["reason"], core.now())


def _pruned(
    releases: core.Releases, keep: int, run: Run, find: Callable[[str], str | None]
) -> dict[str, Any]:
    """Forget the oldest releases beyond `keep` (0 keeps all), and remove the images that only they had."""
    removed = releases.prune(keep) if keep else []
    unused = core.unused_images(removed, releases.all()) if find("docker") else []
    return {
        "removed": [one["id"] for one in removed],
        "removed_images": [image for image in unused if run(["docker", "image", "rm", image])[0] == 0],
    }


def _known(releases: core.Releases) -> dict[str, Any]:
    """Return what this host knows of its releases."""
    records = releases.all()
    pending = core.unfinished(records)
    colour = pointed_at(releases.root / "edge")
    return {
        "records": records,
        "outcome": [[one["id"], one.get("verdict"), bool(one.get("live_until"))] for one in records],
        "live": core.live(records),
        "unfinished": pending,
        "edge": colour,
        "settlement": core.settlement(pending, colour, _watched(releases, pending["id"]))
        if pending
        else None,
    }


def _watched(releases: core.Releases, identifier: str) -> str | None:
    """Return what the watch of a release has come to, None where it is not done."""
    path = releases.directory(identifier) / "watch.json"
    verdict: str | None = json.loads(path.read_text()).get("verdict") if path.exists() else None
    return verdict
