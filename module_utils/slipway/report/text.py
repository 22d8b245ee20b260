"""report.md for people and tickets, junit.xml for CI, from the data of report.json. Standard library only."""

from __future__ import annotations

import json
import re
from typing import Any
from xml.etree import ElementTree

from .screen import duration

# A report is read; what is longer than this is looked up in report.json.
MOST_LINES = 200

_MARKDOWN = re.compile(r"([\\`*_\[\]<>|~#!&])")
_FACTS = (
    ("system", "System"),
    ("id", "Release"),
    ("kind", "Kind"),
    ("version", "Version"),
    ("revision", "Revision"),
    ("previous", "Before"),
    ("colour", "Colour"),
    ("url", "Address"),
    ("operator", "Operator"),
    ("controller", "Controller"),
    ("started_at", "Started"),
    ("finished_at", "Finished"),
    ("verdict", "Verdict"),
    ("phase", "Last phase"),
    ("reason", "Reason"),
)


def facts(release: dict[str, Any]) -> list[tuple[str, str]]:
    """Label and value of what is known of a release, in reading order; keys without a label come last."""
    labels = dict(_FACTS)
    keys = [*labels, *(key for key in release if key not in labels)]
    return [
        (labels.get(key, key), as_text(release[key])) for key in keys if release.get(key) not in (None, "")
    ]


def as_text(value: Any) -> str:
    """A scalar as it is, anything else as compact JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def cell(value: Any) -> str:
    """Any value as inert Markdown that fits into a table cell."""
    text = _MARKDOWN.sub(r"\\\1", as_text(value).strip())
    return "<br>".join(part.strip() for part in text.split("\n"))


def fenced(text: str, language: str = "") -> list[str]:
    """A code block whose fence no line of the text can close, cut after MOST_LINES lines."""
    lines = text.split("\n")
    if len(lines) > MOST_LINES:
        lines = [*lines[:MOST_LINES], f"... {len(lines) - MOST_LINES} more lines in report.json"]
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return ["", fence + language, *lines, fence, ""]


def _table(head: list[str], rows: list[list[Any]]) -> list[str]:
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    return ["", *lines, *("| " + " | ".join(map(cell, row)) + " |" for row in rows), ""]


def flat(data: Any) -> dict[str, Any] | None:
    """The data itself where it is a dict of scalars (fit for a table of two columns), else None."""
    if isinstance(data, dict) and not any(isinstance(value, (dict, list)) for value in data.values()):
        return data
    return None


def markdown(report: dict[str, Any]) -> str:
    """report.md: decision, facts, what failed, gates, times, and every section that tasks reported."""
    release = report["release"]
    title = cell(f"{release['system'] or ''} {release['id'] or ''}".strip() or "release")
    lines = [f"# {title}: {report['decision']}", "", f"{cell(report['decision_reason']).capitalize()}.", ""]
    lines += _table(["Fact", "Value"], [[label, value] for label, value in facts(release)])
    if report["failures"]:
        lines.append("## Failed")
        for failure in report["failures"]:
            kind = "unreachable" if failure["unreachable"] else "failed"
            phase = f" in {cell(failure['phase'])}" if failure["phase"] else ""
            lines += ["", f"{cell(failure['host'])}, {kind}{phase}: {cell(failure['task'])}"]
            lines += fenced(failure["message"])
    if report["gates"]:
        lines.append("## Gates")
        keys = ("verdict", "phase", "host", "name", "value", "limit", "baseline", "detail")
        rows = [
            [gate.get(key) if gate.get(key) is not None else "" for key in keys] for gate in report["gates"]
        ]
        lines += _table(["Verdict", "Phase", "Host", "Gate", "Value", "Limit", "Before", "Detail"], rows)
    if report["phases"]:
        lines.append("## Time")
        times = [[play["phase"] or play["name"], duration(play["seconds"])] for play in report["phases"]]
        lines += _table(["Phase", "Took"], [*times, ["all", duration(report["run"]["seconds"])]])
    for section, hosts in report["sections"].items():
        lines.append(f"## {cell(section)}")
        for host, data in hosts.items():
            lines += ["", f"### {cell(section)}: {cell(host)}"]
            pairs = flat(data)
            if pairs:
                lines += _table(["Key", "Value"], [[key, value] for key, value in pairs.items()])
            else:
                lines += fenced(json.dumps(data, indent=2, ensure_ascii=False), "json")
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).rstrip() + "\n"


def junit(report: dict[str, Any]) -> str:
    """junit.xml: a suite for each phase, a test case for each gate and for each failed task.

    A gate that fails is a failure, an inconclusive one is skipped, a failed task is an error.
    """
    release = report["release"]
    name = ".".join(str(release[key]) for key in ("system", "id") if release[key]) or "release"
    root = ElementTree.Element("testsuites", name=name, time=f"{report['run']['seconds']:.2f}")
    seconds = {play["phase"]: play["seconds"] for play in report["phases"]}
    phases = list(dict.fromkeys(item["phase"] for item in (*report["gates"], *report["failures"])))
    totals = {"tests": 0, "failures": 0, "errors": 0, "skipped": 0}
    for phase in phases:
        counts = dict.fromkeys(totals, 0)
        label = phase or "other"
        suite = ElementTree.SubElement(root, "testsuite", name=label, time=f"{seconds.get(phase, 0):.2f}")
        suite.set("timestamp", report["run"]["started_at"])
        for gate in (gate for gate in report["gates"] if gate["phase"] == phase):
            counts["tests"] += 1
            case = _case(suite, f"{name}.{label}", f"{gate['name']} [{gate['host']}]")
            seen = f"value {as_text(gate['value'])}, limit {as_text(gate['limit'])}"
            detail = as_text(gate.get("detail", ""))
            if gate["verdict"] == "fail":
                counts["failures"] += 1
                ElementTree.SubElement(case, "failure", message=seen, type="gate").text = detail
            elif gate["verdict"] == "inconclusive":
                counts["skipped"] += 1
                ElementTree.SubElement(case, "skipped", message=f"{seen} {detail}".strip())
            else:
                ElementTree.SubElement(
                    case, "system-out"
                ).text = f"{gate['verdict']}: {seen} {detail}".strip()
        for failure in (failure for failure in report["failures"] if failure["phase"] == phase):
            counts["tests"] += 1
            counts["errors"] += 1
            case = _case(suite, f"{name}.{label}", f"{failure['task']} [{failure['host']}]")
            kind = "unreachable" if failure["unreachable"] else "task"
            error = ElementTree.SubElement(
                case, "error", message=failure["message"].split("\n")[0], type=kind
            )
            error.text = failure["message"]
        for key, count in counts.items():
            suite.set(key, str(count))
            totals[key] += count
    for key, count in totals.items():
        root.set(key, str(count))
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _case(suite: ElementTree.Element, classname: str, name: str) -> ElementTree.Element:
    return ElementTree.SubElement(suite, "testcase", classname=classname, name=name, time="0")
