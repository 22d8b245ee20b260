# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""What a host knows of its releases: one record for each release, as files, and what follows from them.

`<root>/releases/<id>/record.json` holds a record; a release is under way as long as its record has no verdict.
A record is written in full and renamed into place, so that a reader or a crash never sees half of one.
"""

from __future__ import annotations

import datetime
import json
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from ..model import phases
from ..model.durable import write_atomically
from ..model.release import Release

RELEASE_ID = re.compile(r"^\d{8}T\d{6}Z-[0-9a-z]+$")
VERDICTS = ("live", "rolled_back", "abandoned", "inconclusive")

# A release as it is read from a file: what an older slipway wrote lacks keys of today (`complete` fills them in).
Record = dict[str, Any]


class ReleaseError(Exception):
    """A record that can't be read, or a release that isn't there; the message says which and what to do."""


def now() -> str:
    """Return the time in UTC, to the second, as 2026-11-21T21:00:00Z."""
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def release_id(revision: str, moment: datetime.datetime | None = None) -> str:
    """Return the id of a release that starts at `moment` (default: now), such as 20261121T210000Z-1a2b3c4."""
    moment = moment or datetime.datetime.now(datetime.timezone.utc)
    short = re.sub(r"[^0-9a-z]", "", revision.lower())[:7] or "0"
    return f"{moment.strftime('%Y%m%dT%H%M%SZ')}-{short}"


class Releases:
    """The records under one directory (`/var/lib/slipway/<system>`)."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)

    def make_directories(self) -> None:
        """Make the directories of the system; others may pass through, and only nginx needs to look at the flags."""
        for path, mode in (
            (self.root.parent, 0o711),
            (self.root, 0o711),
            (self.root / "edge", 0o755),
            (self.root / "releases", 0o700),
        ):
            path.mkdir(parents=True, exist_ok=True)
            path.chmod(mode)

    def directory(self, identifier: str) -> Path:
        """Return where the files of a release are; ReleaseError where `identifier` is not the id of a release."""
        if not RELEASE_ID.match(identifier):
            raise ReleaseError(f"{identifier!r} is not the id of a release (20261121T210000Z-1a2b3c4 is).")
        return self.root / "releases" / identifier

    def all(self) -> list[Record]:
        """Return every record, oldest first."""
        records = []
        for path in sorted(self.root.glob("releases/*/record.json")):
            try:
                record = json.loads(path.read_text())
            except ValueError as error:
                raise ReleaseError(
                    f"{path} is damaged ({error}). Another host of the system has the same record: copy it."
                ) from error
            records.append(record)
        return records

    def read(self, identifier: str) -> Record:
        """Return one record; ReleaseError where there is none."""
        path = self.directory(identifier) / "record.json"
        if not path.exists():
            known = ", ".join(record["id"] for record in self.all()[-5:]) or "none"
            raise ReleaseError(f"There is no release {identifier} here. The latest are: {known}.")
        record: Record = json.loads(path.read_text())
        return record

    def write(self, record: Record) -> bool:
        """Write a record; True where that changed anything."""
        directory = self.directory(record["id"])
        path = directory / "record.json"
        text = json.dumps(record, indent=2, sort_keys=True) + "\n"
        if path.exists() and path.read_text() == text:
            return False
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_atomically(path, text)
        return True

    def prune(self, keep: int) -> list[Record]:
        """Remove ended releases beyond the `keep` newest, but none that the live one or a rollback needs.

        Returns the records that were removed.
        """
        records = self.all()
        held = {record["id"] for record in (live(records), rollback_target(records)) if record}
        held |= {record["id"] for record in records if not record.get("verdict")}
        held |= {record["id"] for record in records[-keep:]}
        # A release that is a rollback runs from the files of an older one: those stay with it.
        held |= {
            same_content(record) for record in records if record["id"] in held and record.get("live_from")
        }
        surplus = [record for record in records if record["id"] not in held]
        for record in surplus:
            shutil.rmtree(self.directory(record["id"]))
            (self.root / "migrations" / f"{record['id']}.json").unlink(missing_ok=True)
        return surplus


def unused_images(removed: list[Record], kept: list[Record]) -> list[str]:
    """Return the image references that only removed releases have."""
    used = {reference for record in kept for reference in (record.get("images") or {}).values()}
    return sorted(
        {reference for record in removed for reference in (record.get("images") or {}).values()} - used
    )


def live(records: list[Record]) -> Record | None:
    """Return the record of the release that is live: the one that went live last and has not been ended."""
    running = [
        record for record in records if record.get("verdict") == "live" and not record.get("live_until")
    ]
    return max(running, key=lambda record: (record["live_from"], record["id"]), default=None)


def unfinished(records: list[Record]) -> Record | None:
    """Return the newest release that has no verdict."""
    return next((record for record in reversed(records) if not record.get("verdict")), None)


def rollback_target(records: list[Record], wanted: str | None = None) -> Record | None:
    """Return the release to go back to: the one that was live before the present one.

    A release that was taken back is never a target unless it is named, or two rollbacks in a row would bring it
    back to life. Raises ReleaseError where `wanted` names a release that never was live.
    """
    current = live(records)
    if wanted:
        named = next((record for record in records if record["id"] == wanted), None)
        if named is None or not named.get("live_from"):
            ever = ", ".join(record["id"] for record in records if record.get("live_from")) or "none"
            raise ReleaseError(
                f"Release {wanted} can't be gone back to: it was never live here. Those that were: {ever}."
            )
        return named
    before = [
        record
        for record in records
        if record.get("verdict") == "live"
        and record.get("live_until")
        and not record.get("taken_back")
        and (current is None or same_content(record) != same_content(current))
    ]
    return max(before, key=lambda record: (record["live_until"], record["live_from"]), default=None)


def same_content(record: Record) -> str:
    """Return what identifies the files a release runs from: a rollback runs from those of the release it went back to."""
    return str(record.get("content") or record["id"])


def complete(record: Mapping[str, Any], app_hosts: Sequence[str], data_hosts: Sequence[str] = ()) -> Release:
    """Return a record with every key that is read of a release, also where an older slipway wrote it.

    `app_hosts` and `data_hosts` are those of today's inventory, which a record that names no hosts is taken to be of.
    """
    services = {kind: [] for kind in ("web", "worker", "job", "stateful")} | record.get("services", {})
    content = record.get("content") or record["id"]
    hosts = [*(data_hosts or app_hosts), *app_hosts]
    known = {
        "kind": "deploy",
        "needed": not record.get("verdict"),
        "alone": False,
        "previous": None,
        "previous_colour": "none",
        "previous_content": None,
        "why": [],
        "inputs": {},
        "builds": [],
        "references": {},
        "image_owners": {},
        "images": {},
        "image_ids": {},
        "version": "",
        "revision": "0",
        "health": "/",
        "routes": [],
        "servers": {},
        "upstreams": record.get("servers", {}),
        "probes": [],
        "directories": {},
        "app_hosts": {host: {"services": [*services["web"], *services["worker"]]} for host in app_hosts},
        "previous_app_hosts": list(app_hosts),
        "colour_hosts": list(app_hosts),
        "stateful_on": {},
        "edge_stays": False,
        "warm": False,
        "workers_move": False,
        "keep_warm": False,
        "backup": record["id"],
    }
    release = {**known, **record, "services": services, "content": content}
    if release.get("database_host") not in hosts:
        # It has left the inventory, or was not written down.
        release["database_host"] = hosts[0] if hosts else ""
    release["before_traffic"] = before_traffic(release)
    return cast("Release", release)


def kept(release: Mapping[str, Any]) -> Record:
    """Return what a record keeps of a release; what its hosts do is decided anew by whoever takes it up."""
    return {
        key: value
        for key, value in release.items()
        if key not in ("hosts", "makes_database", "alone", "before_traffic")
    }


def before_traffic(record: Mapping[str, Any]) -> list[str]:
    """Return the phases in which a release has no traffic: those before the switch, but for a rollback to a colour that is
    still warm, which has it at once.
    """
    if record.get("kind") == phases.ROLLBACK and record.get("warm"):
        return []
    return [phase.name for phase in phases.PHASES if phase.before_traffic]


def settlement(record: Record, live_colour: str, watch: str | None) -> str:
    """Decide how a release that broke off is settled.

    `live_colour` is what the edge points at now, `watch` the verdict the watch has written (None: it wrote none).
    Returns `complete` (it was confirmed and the watch passed), `switch_back` (it has traffic but was not confirmed)
    or `abandon` (it never had traffic, or has none any more).
    """
    if live_colour != record.get("colour") or record.get("phase") in before_traffic(record):
        return "abandon"
    if record.get("phase") == "finish" or (record.get("phase") == "watch" and watch == "pass"):
        return "complete"
    return "switch_back"


def merge(record: Record, data: Record) -> Record:
    """Return `record` with `data` laid over it; dictionaries are merged, everything else is replaced."""
    merged = dict(record)
    for key, value in data.items():
        merged[key] = (
            merge(merged[key], value)
            if isinstance(value, dict) and isinstance(merged.get(key), dict)
            else value
        )
    return merged


def closed(
    records: list[Record], identifier: str, verdict: str, reason: str | None, moment: str
) -> list[Record]:
    """Return the records that change when a release ends with `verdict` at `moment` (as `now` gives it).

    A release that goes live ends the one before it; a rollback marks that one as taken back. Closing twice changes nothing.
    """
    record = next(record for record in records if record["id"] == identifier)
    if record.get("verdict"):
        return []
    ended = {**record, "verdict": verdict, "ended_at": moment}
    if reason:
        ended["reason"] = reason
    if verdict != "live":
        return [ended]
    ended["live_from"] = moment
    changed = [ended]
    before = live(records)
    if before and before["id"] != identifier:
        changed.append({**before, "live_until": moment, "taken_back": record.get("kind") == "rollback"})
    return changed
