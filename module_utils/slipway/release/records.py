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
        """Return every record that can be read, oldest first; `damaged` names the others."""
        records = [self._read(path) for path in self.root.glob("releases/*/record.json")]
        return sorted((record for record in records if record is not None), key=order)

    def damaged(self) -> list[str]:
        """Return the ids of the releases whose record is there but can't be read: other hosts have the same."""
        paths = sorted(self.root.glob("releases/*/record.json"))
        return [path.parent.name for path in paths if self._read(path) is None]

    def files(self) -> list[str]:
        """Return the ids of the releases whose files lie here, which a colour can run from."""
        return sorted(path.parent.name for path in self.root.glob("releases/*/colour.json"))

    def read(self, identifier: str) -> Record:
        """Return one record; ReleaseError where there is none."""
        record = self._read(self.directory(identifier) / "record.json")
        if record is None:
            known = ", ".join(record["id"] for record in self.all()[-5:]) or "none"
            raise ReleaseError(f"There is no release {identifier} here. The latest are: {known}.")
        return record

    def _read(self, path: Path) -> Record | None:
        try:
            record = json.loads(path.read_text())
        except (FileNotFoundError, ValueError):
            return None
        return record if isinstance(record, dict) and record.get("id") == path.parent.name else None

    def write(self, record: Record) -> bool:
        """Write a record, unless the host has a newer one; True where that changed anything."""
        directory = self.directory(record["id"])
        path = directory / "record.json"
        text = json.dumps(record, indent=2, sort_keys=True) + "\n"
        there = self._read(path)
        if there is not None and (there == record or age(there) > age(record)):
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


def order(record: Record) -> tuple[int, str]:
    """Return what orders releases in time: the number of the run that began it, since clocks of controllers differ; of those
    that an older slipway wrote, which have none, the id.
    """
    return record.get("generation", 0), str(record["id"])


def age(record: Record) -> tuple[int, bool, bool, int, bool]:
    """Return what tells two copies of one record apart: the higher one was written later."""
    at = record.get("phase")
    return (
        record.get("written", 0),
        bool(record.get("verdict")),
        bool(record.get("live_until")),
        phases.NAMES.index(at) if at in phases.NAMES else -1,
        bool(at) and record.get("passed") == at,
    )


def union(known: Sequence[Sequence[Record]]) -> list[Record]:
    """Return what several hosts know together: of each record the copy that was written last; oldest release first."""
    latest: dict[str, Record] = {}
    for record in (record for records in known for record in records):
        if record["id"] not in latest or age(record) > age(latest[record["id"]]):
            latest[record["id"]] = record
    return sorted(latest.values(), key=order)


def outcome(records: Sequence[Record]) -> set[tuple[str, str | None, bool]]:
    """Return how each release ended, for comparison between hosts, which note phases and times differently."""
    return {(one["id"], one.get("verdict"), bool(one.get("live_until"))) for one in records}


def live(records: list[Record]) -> Record | None:
    """Return the record of the release that is live: the one that went live last and has not been ended."""
    running = [
        record for record in records if record.get("verdict") == "live" and not record.get("live_until")
    ]
    return max(
        running,
        key=lambda record: (record.get("generation", 0), record["live_from"], record["id"]),
        default=None,
    )


def unfinished(records: list[Record]) -> Record | None:
    """Return the newest release that has no verdict."""
    return max((record for record in records if not record.get("verdict")), key=order, default=None)


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
    # In the order in which they went live, which is that of their numbers.
    return max(
        before,
        key=lambda record: (record.get("generation", 0), record["live_until"], record["live_from"]),
        default=None,
    )


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
        "back_probes": [],
        "directories": {},
        "app_hosts": {host: {"services": [*services["web"], *services["worker"]]} for host in app_hosts},
        "previous_app_hosts": list(app_hosts),
        "colour_hosts": list(app_hosts),
        "stateful_on": {},
        "members": [],
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


def settlement(record: Record, edges: Mapping[str, str], watches: Mapping[str, str | None]) -> str:
    """Decide how a release that broke off is settled, from every edge.

    `edges` says to which colour each edge points now, `watches` what each watch has come to (None: it has written nothing).
    Returns `complete` (every edge points there, it was confirmed, and each watch passed), `switch_back` (an edge points
    there, and more is not known) or `abandon` (no edge points there: it never had traffic, or has none any more).
    """
    pointing = [host for host, colour in edges.items() if colour == record.get("colour")]
    if not pointing:
        return "abandon"
    at = record.get("phase")
    watched = at == "finish" or (
        at == "watch"
        and (record.get("passed") == "watch" or all(watches.get(host) == "pass" for host in pointing))
    )
    failed = any(verdict not in (None, "pass") for verdict in watches.values())
    return "complete" if watched and len(pointing) == len(edges) and not failed else "switch_back"


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

    A release that goes live ends all that were; a rollback marks the one before it as taken back. Closing twice changes nothing.
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
    back = record.get("kind") == phases.ROLLBACK
    before = [
        {**one, "live_until": moment, "taken_back": back}
        for one in records
        if one["id"] != identifier and one.get("verdict") == "live" and not one.get("live_until")
    ]
    return [ended, *before]
