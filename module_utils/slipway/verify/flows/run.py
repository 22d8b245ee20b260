# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""A user's journey: steps that build on each other, and steps that clean up whatever happened."""

from __future__ import annotations

import asyncio
import time
from typing import Any, NamedTuple, Union

from ...masking.redactor import Redactor, secret_values
from ..moments import Place, serving
from ..predicates import SpecError, some_time, unfilled, unknown_keys
from .context import BUILT_IN, METHODS, Context, StepFailed, misspelt_references, references
from .request import COMMON_KEYS, RequestStep, one_action
from .sse import SseStep
from .steps import BurstStep, CacheStep, ConnectionsStep

Step = Union[RequestStep, SseStep, BurstStep, CacheStep, ConnectionsStep]
_KINDS: tuple[type[Step], ...] = (RequestStep, SseStep, BurstStep, CacheStep, ConnectionsStep)
_ACTIONS = {action: kind for kind in _KINDS for action in kind.actions}
# Cleaning up has time of its own, or a flow that ran out of time would leave its mess behind.
ALWAYS_SECONDS = 15.0
# What a step expects before saved values are in place.
_UNKNOWN = "as declared"


class Declared(NamedTuple):
    """A step as it was declared, known to be sound."""

    name: str
    kind: type[Step]
    raw: dict[str, Any]
    where: str


class Flow(NamedTuple):
    """A compiled flow and the state it runs in. `deadline` in seconds, for all steps together."""

    name: str
    context: Context
    steps: list[Declared]
    always: list[Declared]
    deadline: float


class Done(NamedTuple):
    """What became of a step: `verdict` is pass, fail, warn or inconclusive (not run)."""

    name: str
    verdict: str
    seen: str
    ms: float
    lines: list[str]
    expected: str = _UNKNOWN


def parse_flows(
    raw: list[Any], places: list[Place], redactor: Redactor, validate_certs: bool = True
) -> list[Flow]:
    """Compile all flows for all places before any request is sent; raises SpecError with every mistake."""
    problems: list[str] = []
    flows: list[Flow] = []
    for index, given in enumerate(raw):
        name = str(given.get("flow") or "") if isinstance(given, dict) else ""
        where = name or f"flows[{index}]"
        if not name:
            problems.append(f"{where}: `flow`, its name, is required")
            continue
        problems += unknown_keys(given, ("flow", "steps", "always", "deadline", "defaults"), where)
        for place in serving(places, given):
            try:
                flows.append(_flow(given, place, redactor, validate_certs))
            except SpecError as error:
                problems += [f"{where}: {problem}" for problem in error.problems]
                break  # every replica would say the same
    names = [flow.name for flow in flows]
    problems += [f"two flows are called {name!r}" for name in sorted(set(names)) if names.count(name) > 1]
    if problems:
        raise SpecError(*problems)
    return flows


def _flow(given: dict[str, Any], place: Place, redactor: Redactor, validate_certs: bool) -> Flow:
    context = Context(
        str(place.base_url), redactor, place.connect_to, place.ca_file, validate_certs, given.get("defaults")
    )
    steps = given.get("steps")
    if not isinstance(steps, list) or not steps:
        raise SpecError("steps: an empty list does nothing; declare at least one")
    problems: list[str] = []
    known = set(BUILT_IN)
    flow = Flow(
        place.label(str(given["flow"])),
        context,
        _declared(context, steps, "steps", known, problems),
        _declared(context, given.get("always") or [], "always", known, problems),
        some_time(given.get("deadline", 60), "deadline"),
    )
    if problems:
        raise SpecError(*problems)
    return flow


def _declared(
    context: Context, entries: Any, group: str, known: set[str], problems: list[str]
) -> list[Declared]:
    found: list[Declared] = []
    if not isinstance(entries, list):
        problems.append(f"{group}: must be a list")
        return found
    names: set[str] = set()
    for index, raw in enumerate(entries):
        where = f"{group}[{index}]"
        try:
            if isinstance(raw, dict) and not any(key in _ACTIONS for key in raw):
                every = (*COMMON_KEYS, *(key for kind in _KINDS for key in kind.keys))
                misspelt = unknown_keys(raw, every, where)
                raise SpecError(*(misspelt or [f"{where}: no action; known: {', '.join(_ACTIONS)}"]))
            action = one_action(raw, where, tuple(_ACTIONS))
        except SpecError as error:
            problems += error.problems
            continue
        problems += [*unfilled(raw, where), *misspelt_references(raw, where)]
        name = str(raw.get("name") or f"{action} {raw[action] if action in METHODS else ''}".strip())
        where = f"{where} {name!r}"
        if name in names:
            problems.append(f"{where}: another step has this name")
        names.add(name)
        problems += [
            f"{where}: ${{{used}}} is not saved by an earlier step"
            for used in sorted(set(references(raw)))
            # A step may use in `effect` what it saved itself.
            if used not in known and used not in (raw.get("save") or {}) and raw.get("when_saved") != used
        ]
        try:
            _ACTIONS[action](context, raw, where)
            found.append(Declared(name, _ACTIONS[action], raw, where))
        except SpecError as error:
            problems += error.problems
        except (TypeError, ValueError, AttributeError) as error:
            problems.append(f"{where}: {error}")
        if isinstance(raw.get("save"), dict):
            known |= set(raw["save"])
    return found


async def run_flow(flow: Flow, check_mode: bool = False) -> list[Done]:
    """Run the steps until one fails, then the `always` steps; returns what became of each."""
    done: list[Done] = []
    context = flow.context
    end = time.monotonic() + flow.deadline
    failed = False
    for step in flow.steps:
        if failed:
            done.append(_skipped(step, "not run: an earlier step failed"))
            continue
        result = await _run(context, step, end, check_mode)
        failed = result.verdict == "fail"
        done.append(result)
    end = time.monotonic() + ALWAYS_SECONDS
    for step in flow.always:
        result = await _run(context, step, end, check_mode)
        # The journey itself was judged; what was left behind is worth a word, not a rollback.
        done.append(result._replace(verdict="warn") if result.verdict == "fail" else result)
    return done


async def _run(context: Context, step: Declared, end: float, check_mode: bool) -> Done:
    wanted = step.raw.get("when_saved")
    if wanted is not None and wanted not in context.saved:
        return Done(step.name, "pass", f"not needed: {wanted} was never saved", 0, [])
    started = time.monotonic()
    left = end - started
    expected = _UNKNOWN
    try:
        if left <= 0:
            raise StepFailed("not run: the flow's deadline was over")
        if check_mode and set(references(step.raw)) - set(context.saved) - set(step.raw.get("save") or {}):
            return _skipped(step, "not run in check mode: needs what a skipped step saves")
        compiled = _compiled(context, step)
        expected = context.redactor.text(compiled.expected)
        if check_mode and not compiled.read_only:
            return _skipped(step, "not run in check mode: it changes something")
        seen = await asyncio.wait_for(compiled.run(), left)
        return Done(step.name, "pass", context.redactor.text(seen), _ms(started), [], expected)
    except asyncio.TimeoutError:
        lines = [f"not finished when the flow's deadline came, after {left:.1f} s"]
    except StepFailed as error:
        lines = error.lines
    except SpecError as error:  # a saved value does not fit where it was put
        lines = error.problems
    except Exception as error:  # a crash is a failure of this step, and cleaning up must go on
        lines = [f"the step crashed: {type(error).__name__}: {error}"]
    shown = [context.redactor.text(line) for line in lines]
    return Done(step.name, "fail", "", _ms(started), shown, context.redactor.text(expected))


def _compiled(context: Context, step: Declared) -> Step:
    """The step with saved values in place; `effect` may need what the step will save, and is filled later."""
    filled = context.fill({key: value for key, value in step.raw.items() if key != "effect"})
    for value in secret_values(filled):
        context.redactor.add(value)
    return step.kind(context, {**step.raw, **filled}, step.where)


def _skipped(step: Declared, why: str) -> Done:
    return Done(step.name, "inconclusive", "", 0, [why])


def _ms(started: float) -> float:
    return round((time.monotonic() - started) * 1000, 1)


def gate(flow: Flow, step: Done) -> dict[str, str]:
    """A step as a gate."""
    found = {
        "name": f"{flow.name}: {step.name}",
        "value": step.seen or (step.lines or ["nothing"])[0],
        "limit": step.expected,
        "verdict": step.verdict,
    }
    return {**found, "detail": "\n".join(step.lines)} if step.lines else found


def step_data(step: Done) -> dict[str, Any]:
    """A step as JSON data."""
    return {
        "name": step.name,
        "verdict": step.verdict,
        "seen": step.seen,
        "expected": step.expected,
        "ms": step.ms,
        "problems": step.lines,
    }


def failure(flow: Flow, done: list[Done]) -> str:
    """Where and why a flow failed, in lines; empty when it did not."""
    failed = next((step for step in done if step.verdict == "fail"), None)
    if failed is None:
        return ""
    place = f"step {done.index(failed) + 1} of {len(flow.steps)}"
    head = f"{flow.name} failed at {place}, {failed.name!r}:"
    return "\n".join([head, *(f"  {line}" for line in failed.lines)])
