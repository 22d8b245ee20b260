# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""Turn progress records into lines for a person: one on every change, one every ten percent, one every 30
seconds."""

from __future__ import annotations

import json
from typing import Any

STEP_PERCENT = 10
HEARTBEAT_S = 30.0


class Narrator:
    """Decides which records are worth a line. Times are seconds on any clock that only goes forward."""

    def __init__(self, verbose: bool = False) -> None:
        self.verbose = verbose
        self._shown: dict[str, tuple[Any, int, float]] = {}
        self._latest: dict[str, dict[str, Any]] = {}

    def feed(self, record: dict[str, Any], now: float) -> str | None:
        """Take a record {index, phase, and what line() shows}; return a line, or None when it is no news."""
        index = record["index"]
        self._latest[index] = record
        step = self._step(record)
        shown = self._shown.get(index)
        news = shown is None or shown[0] != (record["phase"], record.get("blocker")) or shown[1] != step
        if record["phase"] == "done":
            self._latest.pop(index, None)
        return self._show(record, now) if news or self.verbose else None

    def heartbeat(self, now: float) -> list[str]:
        """Return a line for everything that is under way and has been silent for 30 seconds."""
        silent = [index for index in self._latest if now - self._shown[index][2] >= HEARTBEAT_S]
        return [self._show(self._latest[index], now) for index in silent]

    def _step(self, record: dict[str, Any]) -> int:
        """Return how many tenths are done; as many as before where the record does not say."""
        if "percent" in record:
            return int(record["percent"] // STEP_PERCENT)
        return self._shown.get(record["index"], (None, 0, 0.0))[1]

    def _show(self, record: dict[str, Any], now: float) -> str:
        step = self._step(record)
        self._shown[record["index"]] = ((record["phase"], record.get("blocker")), step, now)
        return line(record)


def line(record: dict[str, Any]) -> str:
    """Write one record as a line."""
    text = f"{record['index']} | {record['phase']}"
    if record.get("total"):
        text += f" | {record['percent']:.0f} % ({record['done']:,} of {record['total']:,} {record['unit']})"
    if record.get("blocker"):
        text += f" | for {record['blocker']}"
    if record.get("message"):
        text += f" | {record['message']}"
    if record.get("seconds") is not None:
        text += f" | {record['seconds']:.1f} s"
    return text


def split_records(text: str) -> tuple[list[dict[str, Any]], int]:
    """Read whole JSON lines from `text`; return them with the number of bytes they took (a last part line
    waits).

    A terminal between the file and us, as SSH gives to become, writes CR LF where the file has LF.
    """
    records, used = [], 0
    for part in text.replace("\r\n", "\n").splitlines(keepends=True):
        if not part.endswith("\n"):
            break
        used += len(part.encode())
        try:
            record = json.loads(part)
        except ValueError:
            continue
        if isinstance(record, dict):
            records.append(record)
    return records, used
