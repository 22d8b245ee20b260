"""report.html: one file, no scripts, nothing to load, charts as inline SVG. Needs Jinja2 (Ansible has it)."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jinja2

from .screen import duration
from .text import MOST_LINES, as_text, facts, flat

_NUMBER = re.compile(r"\s*(-?\d{1,300}(?:\.\d+)?)")
# In a point of a timeline that is a dict these say when; every other number is something seen.
_WHEN = frozenset(("t", "at", "time", "second", "seconds", "elapsed", "timestamp", "start"))
_SPARK = (220.0, 36.0)
_MOST_ROWS = 100


def html(report: dict[str, Any]) -> str:
    """The whole page. Jinja2 escapes everything that comes from the run."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(duration=duration, text=as_text, block=_block)
    environment.tests["link"] = lambda value: bool(re.fullmatch(r"https?://\S+", str(value)))
    environment.globals.update(rows=table, words=words, sparks=sparks, flat=flat)
    gates = [
        {**gate, "bars": before_after(gate), "sparks": sparks(gate.get("timeline"))}
        for gate in report["gates"]
    ]
    return environment.get_template("report.html.j2").render(
        report=report,
        release=report["release"],
        facts=facts(report["release"]),
        phases=phase_bars(report["phases"]),
        attention=_by_phase([gate for gate in gates if gate["verdict"] != "pass"]),
        gates=_by_phase(gates),
    )


def _by_phase(gates: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    groups: dict[str, list[dict[str, Any]]] = {}
    for gate in gates:
        groups.setdefault(gate["phase"] or "other", []).append(gate)
    return groups


def number(value: Any) -> float | None:
    """The number a value starts with (`61 GB` is 61.0), or None."""
    if isinstance(value, bool):
        return None
    if isinstance(value, (int, float)):
        return float(value)
    match = _NUMBER.match(str(value))
    return float(match.group(1)) if match else None


def phase_bars(plays: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Label, seconds, and the bar's start and width in percent of the whole run, one after the other."""
    total = sum(play["seconds"] for play in plays) or 1.0
    bars, start = [], 0.0
    for play in plays:
        width = 100 * play["seconds"] / total
        label = play["phase"] or play["name"]
        bars.append(
            {"label": label, "seconds": play["seconds"], "x": round(start, 2), "width": round(width, 2)}
        )
        start += width
    return bars


def before_after(gate: dict[str, Any]) -> dict[str, Any] | None:
    """For a gate with a numeric `baseline`: both texts, and both bars' widths in percent of the longer."""
    before, after = number(gate.get("baseline")), number(gate.get("value"))
    if gate.get("baseline") is None or before is None or after is None:
        return None
    longest = max(abs(before), abs(after)) or 1.0
    return {
        "before": as_text(gate["baseline"]),
        "after": as_text(gate["value"]),
        "before_width": round(100 * abs(before) / longest, 1),
        "after_width": round(100 * abs(after) / longest, 1),
    }


def sparks(timeline: Any) -> list[dict[str, Any]]:
    """The curves of a timeline: name, SVG points, lowest, highest and last value; [] where there is none.

    A timeline is a list of numbers, of `[when, number]` pairs, or of dicts of numbers (a curve for each key).
    """
    if not isinstance(timeline, list) or len(timeline) < 2:
        return []
    curves: dict[str, list[float]] = {}
    for point in timeline:
        named = (
            point
            if isinstance(point, dict)
            else {"": point[-1] if isinstance(point, list) and point else point}
        )
        for key, value in named.items():
            if key not in _WHEN and isinstance(value, (int, float)) and not isinstance(value, bool):
                curves.setdefault(key, []).append(float(value))
    return [_spark(name, values) for name, values in curves.items() if len(values) > 1]


def _spark(name: str, values: list[float]) -> dict[str, Any]:
    width, height = _SPARK
    low, high = min(values), max(values)
    span = (high - low) or 1.0
    step = width / (len(values) - 1)
    points = " ".join(
        f"{index * step:.1f},{height - 2 - (height - 4) * (value - low) / span:.1f}"
        for index, value in enumerate(values)
    )
    return {
        "name": name,
        "points": points,
        "low": f"{low:.4g}",
        "high": f"{high:.4g}",
        "last": f"{values[-1]:.4g}",
    }


def table(data: Any) -> dict[str, Any] | None:
    """A list of flat dicts as `head` and `rows` (cut, with the number of rows left out), else None."""
    if not isinstance(data, list) or not data or not all(item and flat(item) for item in data):
        return None
    head = list(dict.fromkeys(key for item in data for key in item))
    body = [[item.get(key, "") for key in head] for item in data[:_MOST_ROWS]]
    return {"head": head, "body": body, "more": max(0, len(data) - _MOST_ROWS)}


def words(data: Any) -> str:
    """A scalar or a short list of scalars as one line of text, else the empty string."""
    items = data if isinstance(data, list) else [data]
    if len(items) > 30 or any(isinstance(item, (dict, list)) for item in items):
        return ""
    text = ", ".join(map(as_text, items))
    return "" if "\n" in text else text


def _block(data: Any) -> str:
    """Data of any shape as indented JSON, cut."""
    lines = json.dumps(data, indent=2, ensure_ascii=False).split("\n")
    if len(lines) > MOST_LINES:
        lines = [*lines[:MOST_LINES], f"... {len(lines) - MOST_LINES} more lines in report.json"]
    return "\n".join(lines)
