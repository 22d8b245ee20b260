# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""Steady traffic that counts: proves, or disproves, that a release failed no request.

    PYTHONPATH=module_utils python -m slipway.verify.loads.traffic --rate 200 --out result.json --stop-file stop spec.json

Runs in an open loop until the stop file exists, SIGTERM or SIGINT comes, or `--seconds` are over; then waits
for what is under way and writes the summary. Exit code 0 means that no request failed, 1 that some did.

spec.json is a list of routes: name, url, method, headers, body or json, weight, connections (keep-alive or
fresh), timeout, status. `--release-header` names the response header that says which release answered.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from ..predicates import SpecError
from .engine import Engine, Route
from .routes import parse_routes
from .stats import Statistics

_POLL = 0.1


async def run(
    routes: list[Route],
    rate: float,
    release_header: str | None = None,
    stop_file: Path | None = None,
    ready_file: Path | None = None,
    limit: float | None = None,
) -> dict[str, Any]:
    """Send `rate` requests a second until told to stop; returns the summary.

    `ready_file` is written once the first request was answered; `limit` is in seconds. `started_at` in the
    summary is the wall clock (seconds since 1970) that all `..._s` count from.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    wall = time.time()
    statistics = Statistics(time.perf_counter(), release_header.lower() if release_header else None)
    engine = Engine(routes, statistics, connections=4000)

    async def watch() -> None:
        ready = ready_file
        while not stop.is_set():
            if ready and statistics.requests:
                _write(ready, str(os.getpid()))
                ready = None
            if stop_file and stop_file.exists():
                stop.set()
            await asyncio.sleep(_POLL)

    watcher = asyncio.ensure_future(watch())
    try:
        await engine.open(rate, None, limit, stop)
    finally:
        watcher.cancel()
    statistics.close(time.perf_counter())
    return {"started_at": round(wall, 3), "rate": rate, **statistics.summary()}


def _write(path: Path, text: str) -> None:
    """Whoever waits for the file must never read half of it."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit code (0 none failed, 1 some failed, 2 wrong usage)."""
    parser = argparse.ArgumentParser(
        prog="slipway.verify.loads.traffic", description="Steady traffic that counts."
    )
    parser.add_argument("spec", type=Path, help="JSON list of routes")
    parser.add_argument("--rate", type=float, default=200.0, help="requests a second")
    parser.add_argument("--out", type=Path, required=True, help="where the JSON summary goes")
    parser.add_argument("--release-header", help="response header that names the release")
    parser.add_argument("--stop-file", type=Path, help="stop once this exists")
    parser.add_argument("--ready-file", type=Path, help="written when the first answer has come")
    parser.add_argument("--seconds", type=float, help="stop after this long")
    parser.add_argument("--connect-to", help="host:port to use for every route")
    parser.add_argument("--ca-file", help="certificate authorities to trust")
    given = parser.parse_args(arguments)
    try:
        raw = json.loads(given.spec.read_text(encoding="utf-8"))
        routes = parse_routes(raw, connect_to=given.connect_to, ca_file=given.ca_file)
        if given.rate <= 0:
            raise SpecError("--rate must be above 0")
    except (OSError, ValueError, SpecError) as error:
        sys.stderr.write(f"{given.spec}: {error}\n")
        return 2
    summary = asyncio.run(
        run(routes, given.rate, given.release_header, given.stop_file, given.ready_file, given.seconds)
    )
    _write(given.out, json.dumps(summary, indent=1))
    return 1 if summary["failed"] or not summary["requests"] else 0


if __name__ == "__main__":
    sys.exit(main())
