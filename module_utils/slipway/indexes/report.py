# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""What a run over indexes leaves on the host: a progress file, and the record of what a release added."""

from __future__ import annotations

import json
import os
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from ..postgres.sql import Refused

# What is kept of an entry of the results.
_KEPT = ("name", "schema", "table", "tier", "action")


class Progress:
    """Appends progress records to a file as JSON lines, one for each change; without a path it does nothing."""

    def __init__(self, path: str | None) -> None:
        self._lock, self._last, self._file = threading.Lock(), {}, None  # type: tuple[Any, dict[str, Any], Any]
        if path:
            place = Path(path).expanduser()
            place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._file = os.fdopen(
                os.open(place, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "w", encoding="utf-8"
            )
            # Whoever follows this file can see by the pid whether somebody still writes it.
            self._write({"pid": os.getpid()})

    def __call__(self, record: dict[str, Any]) -> None:
        """Write a record unless it repeats the last one about the same index."""
        if self._file is None:
            return
        with self._lock:
            if self._last.get(record["index"]) == record:
                return
            self._last[record["index"]] = record
            self._write(record)

    def _write(self, record: dict[str, Any]) -> None:
        self._file.write(json.dumps({"at": round(time.time(), 3), **record}, default=str) + "\n")
        self._file.flush()


class Record:
    """What was built when, and for which release: the basis of later tiers and of taking a release's indexes
    away.

    The file is JSON: {"releases": {release: [{name, schema, table, tier, action, at}]}, "tiers": {"1":
    seconds since the epoch when this tier was first complete}}. It is replaced atomically after every index,
    so that a run that is killed leaves a true record.
    """

    def __init__(self, path: str | None, release: str | None) -> None:
        self.path, self.release = Path(path) if path else None, release or ""
        self._lock = threading.Lock()

    def read(self) -> dict[str, Any]:
        """Return the record; an absent file is an empty one.

        Raises Refused when the file is not what it should be.
        """
        empty: dict[str, Any] = {"releases": {}, "tiers": {}}
        if self.path is None:
            return empty
        try:
            return _checked(json.loads(self.path.read_text(encoding="utf-8")))
        except (FileNotFoundError, NotADirectoryError):
            return empty
        except OSError as error:
            raise Refused(
                f"cannot read the record {self.path}: {error.strerror}. Run as a user who may (become), or "
                "name another file"
            ) from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise Refused(
                f"{self.path} is not a record of indexes ({error}): restore it or move it away"
            ) from error

    def prepare(self) -> None:
        """See that the record can be read and written, before anything is done. Raises Refused otherwise."""
        self.read()
        if self.path is None:
            return
        try:
            self.path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=self.path.parent):
                pass
        except OSError as error:
            raise Refused(
                f"cannot keep the record {self.path}: {error.strerror}. Run as a user who may (become), "
                "or name another file"
            ) from error

    def add(self, item: dict[str, Any]) -> None:
        """Note that `item` (an entry of the results) was done for this release."""
        if self.path is None:
            return
        with self._lock:
            data = self.read()
            items = data["releases"].setdefault(self.release, [])
            items.append({**{key: item[key] for key in _KEPT}, "at": round(time.time(), 6)})
            self._write(data)

    def complete(self, tiers: set[int]) -> None:
        """Note since when these tiers are complete; the first time counts."""
        if self.path is None or not tiers:
            return
        with self._lock:
            data = self.read()
            new = {str(tier) for tier in tiers} - set(data["tiers"])
            if new:
                data["tiers"].update({tier: round(time.time(), 3) for tier in new})
                self._write(data)

    def _write(self, data: dict[str, Any]) -> None:
        assert self.path is not None  # noqa: S101  # add() and complete() return before
        self.path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=self.path.parent, prefix=f".{self.path.name}.")
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(data, file, indent=1, sort_keys=True)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(self.path)


def added_by(data: dict[str, Any], release: str) -> list[dict[str, Any]]:
    """Return the indexes that `release` created where there was none, and that are still its own.

    All releases are replayed in the order in which things were done: an index that one created, another
    dropped and a third created again is the third one's.
    """
    done = [(item, by) for by, items in data["releases"].items() for item in items]
    state: dict[tuple[str, str], tuple[dict[str, Any], str]] = {}
    for item, by in sorted(done, key=lambda pair: pair[0].get("at", 0)):
        key = (item["schema"], item["name"])
        if item["action"] == "created":
            state[key] = ({name: item[name] for name in ("name", "schema", "table", "tier")}, by)
        elif item["action"] == "dropped":
            state.pop(key, None)
    return [item for item, by in state.values() if by == release]


def _checked(data: Any) -> dict[str, Any]:
    """Return the record in `data`. Raises KeyError, TypeError or ValueError when it is something else."""
    releases, tiers = dict(data["releases"]), {tier: float(at) for tier, at in data["tiers"].items()}
    for items in releases.values():
        for item in items:
            if not set(_KEPT) <= set(item):
                raise ValueError(f"an entry without {', '.join(sorted(set(_KEPT) - set(item)))}")
            float(item.get("at", 0))
    return {"releases": releases, "tiers": tiers}
