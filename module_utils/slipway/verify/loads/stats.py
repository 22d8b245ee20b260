# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""What a load was answered with: counts, exact percentiles, histogram, time line, gaps, failures."""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ..http.wire import ResponseParser
from .engine import Job

# Every failure is counted; this many are described.
MAX_DETAILS = 200
_EDGES = (1.0, 1.5, 2.0, 3.0, 5.0, 7.0)


def percentile(ordered: Sequence[float], share: float) -> float:
    """The value that `share` (0 to 1) of an ascending, non-empty sequence does not exceed (nearest rank)."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def milliseconds(value: float) -> float:
    """Seconds as milliseconds, to a microsecond."""
    return round(value * 1000, 3)


def histogram(ordered: Sequence[float]) -> list[dict[str, float]]:
    """Counts by upper edge in milliseconds, on a scale of six steps a decade, without empty ends."""
    counts: Counter[float] = Counter()
    for value in ordered:
        ms = max(value * 1000, 0.001)
        decade = 10.0 ** math.floor(math.log10(ms))
        edge = next((decade * step for step in _EDGES if ms <= decade * step), decade * 10)
        counts[round(edge, 6)] += 1
    return [{"le_ms": edge, "count": counts[edge]} for edge in sorted(counts)]


class Sent(NamedTuple):
    """First and last moment at which a request was sent that this release answered."""

    first: float
    last: float


class Statistics:
    """A recorder that keeps one number for each request and counts everything else.

    :param began: the moment on the engine's clock from which seconds are counted.
    :param release_header: lower-case name of a response header that names the release, or None.
    :param mask: takes secrets out of a body before its end is kept for a failure.
    """

    def __init__(
        self, began: float, release_header: str | None = None, mask: Callable[[str], str] = str
    ) -> None:
        self.began = began
        self._mask = mask
        self._release_header = release_header
        self.latencies = array("d")
        self._seconds = array("L")
        self.statuses: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()
        self.failed_routes: Counter[str] = Counter()
        self.routes: Counter[str] = Counter()
        self.details: list[dict[str, Any]] = []
        self.releases: Counter[str] = Counter()
        self.sent: dict[str, Sent] = {}
        self._failed_seconds: Counter[int] = Counter()
        self._released_seconds: dict[int, Counter[str]] = {}
        self._gaps: dict[int, float] = {}
        self.longest_gap = (0.0, 0.0)
        self.overdue: dict[str, str] | None = None
        self._last_good = began
        self._ended = began

    def answered(self, job: Job, now: float, parser: ResponseParser, tail: bytes) -> None:
        """Count an answer; one with a status the route does not accept is a failure."""
        route = job.route
        self.statuses[str(parser.status)] += 1
        if route.status.failure(parser.status) is not None:
            body = self._mask(tail.decode("utf-8", "replace"))[-200:]
            self._fail(job, now, f"status {parser.status}", f"expected {route.status}; body ends {body!r}")
        else:
            self.routes[route.name] += 1
            self.latencies.append(now - job.start)
            self._seconds.append(int(now - self.began))
            self._good(now)
        if self._release_header:
            release = parser.header(self._release_header) or "none named"
            self.releases[release] += 1
            second = int(now - self.began)
            self._released_seconds.setdefault(second, Counter())[release] += 1
            first, last = self.sent.get(release, (job.sent, job.sent))
            self.sent[release] = Sent(min(first, job.sent), max(last, job.sent))

    def failed(self, job: Job, now: float, kind: str, detail: str) -> None:
        """Count a request without a complete answer."""
        self._fail(job, now, kind, detail)

    def _fail(self, job: Job, now: float, kind: str, detail: str) -> None:
        self.failures[kind] += 1
        self.failed_routes[job.route.name] += 1
        self._failed_seconds[int(now - self.began)] += 1
        self._ended = max(self._ended, now)
        if len(self.details) < MAX_DETAILS:
            self.details.append(
                {
                    "at_s": round(now - self.began, 3),
                    "sent_s": round(job.sent - self.began, 3),
                    "route": job.route.name,
                    "kind": kind,
                    "detail": detail,
                }
            )

    def _good(self, now: float) -> None:
        gap = now - self._last_good
        second = int(now - self.began)
        if gap > self._gaps.get(second, 0.0):
            self._gaps[second] = gap
        if gap > self.longest_gap[0]:
            self.longest_gap = (gap, self._last_good - self.began)
        self._last_good = now
        self._ended = max(self._ended, now)

    def close(self, now: float) -> None:
        """The load is over: the time since the last success counts as a gap too."""
        if now - self._last_good > self.longest_gap[0]:
            self.longest_gap = (now - self._last_good, self._last_good - self.began)

    @property
    def requests(self) -> int:
        """Requests that have ended, one way or the other."""
        return len(self.latencies) + self.failed_count

    @property
    def failed_count(self) -> int:
        """Requests that failed."""
        return sum(self.failures.values())

    @property
    def seconds(self) -> float:
        """From the beginning to the last answer or failure."""
        return self._ended - self.began

    def figures(self) -> dict[str, Any]:
        """Everything a budget can be held against; times in milliseconds, errors in percent."""
        ordered = sorted(self.latencies)
        total = self.requests
        found: dict[str, Any] = {
            "requests": total,
            "failed": self.failed_count,
            "errors": round(100.0 * self.failed_count / total, 4) if total else None,
            "seconds": round(self.seconds, 3),
            "rps": round(total / self.seconds, 1) if self.seconds > 0 else None,
        }
        if ordered:
            found["mean"] = milliseconds(sum(ordered) / len(ordered))
            for name, share in (("p50", 0.5), ("p90", 0.9), ("p95", 0.95), ("p99", 0.99)):
                found[name] = milliseconds(percentile(ordered, share))
            found["max"] = milliseconds(ordered[-1])
        return found

    def timeline(self) -> list[dict[str, Any]]:
        """One entry for each second in which anything ended."""
        by_second: dict[int, list[float]] = {}
        for second, latency in zip(self._seconds, self.latencies):
            by_second.setdefault(second, []).append(latency)
        line = []
        for second in sorted({*by_second, *self._failed_seconds}):
            values = sorted(by_second.get(second, ()))
            entry: dict[str, Any] = {
                "second": second,
                "ok": len(values),
                "failed": self._failed_seconds[second],
            }
            if values:
                entry["p50_ms"] = milliseconds(percentile(values, 0.5))
                entry["p95_ms"] = milliseconds(percentile(values, 0.95))
                entry["max_ms"] = milliseconds(values[-1])
                entry["longest_gap_ms"] = milliseconds(self._gaps.get(second, 0.0))
            line.append(entry)
        return line

    def summary(self) -> dict[str, Any]:
        """Everything, as JSON data."""
        gap, since = self.longest_gap
        found: dict[str, Any] = {
            **self.figures(),
            "statuses": dict(sorted(self.statuses.items())),
            "failures": dict(self.failures.most_common()),
            "failure_details": self.details,
            "routes": {
                name: {"ok": self.routes[name], "failed": self.failed_routes[name]}
                for name in sorted({*self.routes, *self.failed_routes})
            },
            "longest_gap_ms": milliseconds(gap),
            "longest_gap_at_s": round(since, 3),
            "histogram": histogram(self.latencies),
            "timeline": self.timeline(),
        }
        if self.overdue:
            found["overdue"] = self.overdue
        if self._release_header:
            found["releases"] = {
                name: {
                    "responses": self.releases[name],
                    "first_sent_s": round(sent.first - self.began, 3),
                    "last_sent_s": round(sent.last - self.began, 3),
                }
                for name, sent in sorted(self.sent.items())
            }
            found["release_timeline"] = [
                {"second": second, **counts} for second, counts in sorted(self._released_seconds.items())
            ]
        return found
