# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""Keeps the records of this host, and says what it knows of its releases: the work of the module release_record."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from ..edge.flag import pointed_at
from ..host import fence
from ..model.colours import COLOURS
from . import entry
from . import records as core
from .lock import Lock

Run = Callable[[list[str]], tuple[int, str, str]]


def keep(
    asked: dict[str, Any], run: Run, find: Callable[[str], str | None], check: bool = False
) -> dict[str, Any]:
    """Write what `asked`, the options of release_record, says, and return what this host knows then.

    `find` says where a program lies. With `check` nothing is written. Raises ReleaseError, entry.NotYet, fence.Lost.
    """
    releases = core.Releases(asked["root"])
    result: dict[str, Any] = {"changed": False}
    if asked["state"] == "fenced" and not check:
        fence.take(asked["root"], asked["fence"])
    elif asked["state"] == "held" and not check:
        fence.see(asked["fence"])
    elif asked["state"] not in ("read", "fenced", "held"):
        to_write = _to_write(releases, asked)
        if not check:
            if asked["state"] in ("begun", "synced"):
                releases.make_directories()
            with fence.held(asked["fence"]):
                for record in to_write:
                    result["changed"] |= releases.write(record)
    if asked["state"] == "closed":
        result.update(_pruned(releases, 0 if check else asked["keep"], run, find))
        ended = releases.read(asked["release"])
        result["report"] = {"release": {key: ended.get(key) for key in ("id", "system", "verdict", "reason")}}
    known = _known(releases, asked, run, find)
    if known["lost"]:
        result = {**result, **fence.Lost(known["lost"]).result}
    return {**result, **known}


def _to_write(releases: core.Releases, asked: dict[str, Any]) -> list[core.Record]:
    """Return the records that have to be written, signed with the number of the run that writes them."""
    state, identifier = asked["state"], asked["release"]
    mine = asked["fence"] or {}
    signed = {"written": mine["generation"]} if mine else {}
    if state == "synced":
        return list(asked["records"])
    if state == "begun":
        born = {"generation": mine["generation"], "run": mine["token"]} if mine else {}
        kept = core.kept(asked["data"])
        begun = {"started_at": core.now(), "phase": asked["phase"] or "preflight", **kept, **born, **signed}
        return [{**begun, "id": identifier}]
    record = releases.read(identifier)
    if state == "phase":
        entry.see(record, asked["phase"], mine.get("token", ""))
        begun = {"phase": asked["phase"], "run": mine.get("token", ""), **asked["data"]}
        return [{**core.merge(record, begun), **signed}]
    if state == "noted":
        return [{**core.merge(record, asked["data"]), **signed}]
    if state == "passed":
        return [{**record, "passed": asked["phase"], **signed}]
    records = [
        {**other} if other["id"] != identifier else core.merge(record, asked["data"])
        for other in releases.all()
    ]
    closed = core.closed(records, identifier, asked["verdict"], asked["reason"], core.now())
    return [{**one, **signed} for one in closed]


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


def _known(
    releases: core.Releases, asked: dict[str, Any], run: Run, find: Callable[[str], str | None]
) -> dict[str, Any]:
    """Return what this host knows of its releases, and what is seen of them here."""
    records, damaged = releases.all(), releases.damaged()
    lock = Lock(releases.root / "lock.json", 0).holder()
    return {
        "root": str(releases.root),
        "records": records,
        "damaged": damaged,
        "live": core.live(records),
        "unfinished": core.unfinished(records),
        "edge": pointed_at(releases.root / "edge"),
        "fence": fence.read(releases.root),
        "lost": fence.holder_instead_of(asked["fence"]),
        "lock": {"holder": lock[0], "age": lock[1]} if lock else None,
        "watches": _watches(releases),
        "files": releases.files(),
        "stateful": any((releases.root / "stateful").glob("*")),
        "traces": [] if records or damaged else _traces(releases.root.name, run, find),
    }


def _watches(releases: core.Releases) -> dict[str, str]:
    """Return what each watch has come to, by release; one whose result can't be read is `damaged`."""
    found = {}
    for path in releases.root.glob("releases/*/watch.json"):
        try:
            found[path.parent.name] = str(json.loads(path.read_text())["verdict"])
        except (ValueError, KeyError, TypeError):
            found[path.parent.name] = "damaged"
    return found


def _traces(name: str, run: Run, find: Callable[[str], str | None]) -> list[str]:
    """Return the containers and volumes of the system here, as Compose labels them.

    Raises ReleaseError where the engine does not answer: what is there is not known then, which is not nothing.
    """
    if not find("docker"):
        return []

    def listed(*command: str) -> list[str]:
        code, output, error = run(["docker", *command])
        if code:
            raise core.ReleaseError(
                f"No record of {name} is here, and what is left of it can't be seen: {error.strip()}\n"
                "Have the engine answer: systemctl start docker"
            )
        return output.split()

    # Volumes are made by slipway itself, so that they belong to the system and to no colour (compose/override.py).
    labels = [f"slipway.system={name}"]
    labels += [f"com.docker.compose.project={one}" for one in (name, *(f"{name}-{c}" for c in COLOURS))]
    containers, volumes = [], []
    for label in labels:
        mine = ("--filter", f"label={label}", "--format")
        containers += listed("container", "ls", "--all", *mine, "{{.Names}}")
        volumes += listed("volume", "ls", *mine, "{{.Name}}")
    return [f"container {one}" for one in containers] + [f"volume {one}" for one in volumes]
