# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""Run many checks at once against one deadline, each until it was good often enough in a row."""

from __future__ import annotations

import asyncio
import time
from typing import Any, NamedTuple

from ...masking.redactor import Redactor
from ..http.client import Trace
from ..http.wire import HttpError, TooSlow
from ..predicates import SpecError, show, some_time, unfilled, unknown_keys, whole
from .base import Kind, MissingLibrary
from .kinds import KINDS

SEVERITIES = ("critical", "warning")
# An attempt that only waits costs nothing, so it gives its slot back after so many seconds: many checks that
# hang must not hold up the others.
_PATIENCE = 1.0
_COMMON = ("name", "expect", "severity", "timeout", "interval", "consecutive")


class Check(NamedTuple):
    """A declared check. Times in seconds."""

    name: str
    kind: Kind
    severity: str
    timeout: float
    interval: float
    consecutive: int


class Outcome:
    """What became of a check so far."""

    def __init__(self, check: Check) -> None:
        self.check = check
        self.ok = False
        self.attempts = 0
        self.good = 0
        self.streak = 0
        self.reasons: list[str] = ["was never tried: the deadline came first"]
        self.observed: dict[str, Any] = {}
        self.ms = 0.0
        self.phases: dict[str, float] = {}
        self.skipped = False
        self.library: str | None = None

    @property
    def reason(self) -> str:
        """Why it is not good, in one sentence; empty when it is."""
        if self.ok:
            return ""
        reason = "; ".join(self.reasons)
        if self.good:
            counted = f"{self.good} of {self.attempts} attempts were good"
            reason += f" ({counted}, never {self.check.consecutive} in a row)"
        return reason

    def result(self, redactor: Redactor) -> dict[str, Any]:
        """The outcome as JSON data without secrets."""
        return redactor.data(  # type: ignore[no-any-return]
            {
                "ok": self.ok,
                "kind": self.check.kind.name,
                "subject": self.check.kind.subject(),
                "severity": self.check.severity,
                "observed": self.observed,
                "expected": self.check.kind.expected(),
                "reason": self.reason,
                "attempts": self.attempts,
                "ms": round(self.ms, 1),
                "phases_ms": self.phases,
                **({"skipped": True} if self.skipped else {}),
            }
        )

    def gate(self, redactor: Redactor) -> dict[str, str]:
        """The outcome as a gate: what was seen beside its limit."""
        check = self.check
        seen = ", ".join(f"{label} {show(value, 60)}" for label, value in self.observed.items())
        limit = ", ".join(f"{label} {text}" for label, text in check.kind.expected().items())
        if self.skipped:
            verdict = "inconclusive"
        elif self.ok:
            verdict = "pass"
        else:
            verdict = "fail" if check.severity == "critical" else "warn"
        gate = {
            "name": check.name,
            "value": redactor.text(seen) or "nothing",
            "limit": redactor.text(limit),
            "verdict": verdict,
        }
        if not self.ok:
            gate["detail"] = redactor.text(self.reason)
        return gate


def parse_checks(raw: Any, interval: float = 1.0, consecutive: int = 3, timeout: float = 5.0) -> list[Check]:
    """Compile declared checks; raises SpecError naming every mistake in every check."""
    if not isinstance(raw, list) or not raw:
        raise SpecError("checks: an empty list checks nothing; declare at least one")
    problems: list[str] = []
    checks: list[Check] = []
    names: set[str] = set()
    for index, entry in enumerate(raw):
        where = f"checks[{index}]"
        if not isinstance(entry, dict):
            problems.append(f"{where}: must be a mapping")
            continue
        name = str(entry.get("name") or "")
        if not name:
            problems.append(f"{where}: name is required")
        elif name in names:
            problems.append(f"{where}: a second check is called {name!r}; its result would hide the first")
        names.add(name)
        where = name or where
        problems += unknown_keys(entry, (*_COMMON, *KINDS), where)
        problems += unfilled(entry, where)
        kinds = [key for key in entry if key in KINDS]
        if len(kinds) != 1:
            found = " and ".join(kinds) or "none"
            problems.append(f"{where}: exactly one kind is needed, found {found}; known: {', '.join(KINDS)}")
            continue
        try:
            severity = entry.get("severity", "critical")
            if severity not in SEVERITIES:
                raise SpecError(f"{where}.severity: {severity!r} is neither critical nor warning")
            given = {"timeout": timeout, "interval": interval, "consecutive": consecutive, **entry}
            # `expect:` with nothing behind it asserts nothing, like an empty one.
            expect = entry["expect"] or {} if "expect" in entry else None
            kind = KINDS[kinds[0]](entry[kinds[0]], expect, where)
            checks.append(Check(name, kind, severity, *_times(given, where)))
        except SpecError as error:
            problems += error.problems
        except (TypeError, ValueError) as error:
            problems.append(f"{where}: {error}")
    if problems:
        raise SpecError(*problems)
    return checks


def _times(given: dict[str, Any], where: str) -> tuple[float, float, int]:
    """Timeout, interval and consecutive of a check; raises SpecError with every mistake."""
    problems, found = [], []
    for key, convert in (("timeout", some_time), ("interval", some_time), ("consecutive", whole(1))):
        try:
            found.append(convert(given[key]))
        except SpecError as error:
            problems.append(f"{where}.{key}: {error}")
    if problems:
        raise SpecError(*problems)
    return found[0], found[1], int(found[2])


async def run_checks(
    checks: list[Check],
    deadline: float = 60.0,
    concurrency: int = 50,
    check_mode: bool = False,
    redactor: Redactor | None = None,
) -> list[Outcome]:
    """Run all checks until each is settled or `deadline` seconds are over."""
    redactor = redactor or Redactor()
    outcomes = [Outcome(check) for check in checks]
    slots = asyncio.Semaphore(concurrency)
    end = time.monotonic() + deadline
    # Warnings must not hold up a release: once every critical check is settled they are given up.
    critical = [outcome for outcome in outcomes if outcome.check.severity == "critical"]
    open_critical = list(critical)
    settled = asyncio.Event()

    async def run(outcome: Outcome) -> None:
        check = outcome.check
        if check_mode and not check.kind.read_only:
            outcome.skipped = True
            outcome.reasons = ["would change something; not run in check mode"]
        else:
            while not outcome.ok and time.monotonic() < end:
                async with slots:
                    left = min(check.timeout, end - time.monotonic())
                    trying = asyncio.ensure_future(attempt(outcome, left, redactor))
                    await asyncio.wait({trying}, timeout=_PATIENCE)
                await trying
                if outcome.library or (
                    check.severity == "warning" and settled.is_set() and not outcome.streak
                ):
                    break
                if not outcome.ok:
                    await asyncio.sleep(min(check.interval, max(0.0, end - time.monotonic())))
        if outcome in open_critical:
            open_critical.remove(outcome)
        if critical and not open_critical:
            settled.set()

    await asyncio.gather(*(run(outcome) for outcome in outcomes))
    return outcomes


async def attempt(outcome: Outcome, timeout: float, redactor: Redactor) -> None:
    """Look once and remember what was seen."""
    check = outcome.check
    if timeout <= 0:
        return
    trace = Trace()
    started = time.monotonic()
    outcome.attempts += 1
    reasons: list[str] = []
    cut_short = False
    outcome.observed = {}
    try:
        facts = await asyncio.wait_for(check.kind.look(trace, timeout), timeout + 0.2)
        reasons = check.kind.judge(facts, redactor)
        outcome.observed = check.kind.seen(facts, redactor)
    except (asyncio.TimeoutError, TooSlow):
        reasons = [trace.timeout_reason(timeout)]
        cut_short = timeout < check.timeout
    except (HttpError, SpecError) as error:
        reasons = [str(error)]
    except MissingLibrary as error:
        outcome.library = error.library
        reasons = [f"needs the Python library {error.library} on this host"]
    except Exception as error:  # a crash of one check must neither end nor hide the others
        reasons = [f"the check crashed: {type(error).__name__}: {error}"]
    outcome.ms = (time.monotonic() - started) * 1000
    outcome.phases = trace.phases
    if reasons:
        outcome.streak = 0
        # An attempt the deadline left no time for explains less than the one before it.
        if not (cut_short and outcome.attempts > 1):
            outcome.reasons = reasons
        return
    outcome.good += 1
    outcome.streak += 1
    outcome.ok = outcome.streak >= check.consecutive
    if not outcome.ok:
        outcome.reasons = [f"only {outcome.streak} good in a row when the deadline came"]


def summary(outcomes: list[Outcome], redactor: Redactor) -> dict[str, Any]:
    """Results, gates and the message of a module, without secrets."""
    failed = [o for o in outcomes if not o.ok and not o.skipped and o.check.severity == "critical"]
    warned = [o for o in outcomes if not o.ok and not o.skipped and o.check.severity == "warning"]
    lines = [
        redactor.text(f"- {o.check.name} ({o.check.kind.name} {o.check.kind.subject()}): {o.reason}")
        for o in failed + warned
    ]
    good = sum(outcome.ok for outcome in outcomes)
    message = f"{good} of {len(outcomes)} checks are good"
    if failed:
        message = f"{len(failed)} of {len(outcomes)} checks failed"
    return {
        "msg": "\n".join([message, *lines]),
        "failed": bool(failed),
        "checks": {outcome.check.name: outcome.result(redactor) for outcome in outcomes},
        "failed_checks": [outcome.check.name for outcome in failed],
        "warned": [redactor.text(f"{outcome.check.name}: {outcome.reason}") for outcome in warned],
        "gates": [outcome.gate(redactor) for outcome in outcomes],
    }
