"""What a person sees of a run, as lines of text; the callback plugin adds the colours."""

from __future__ import annotations

from typing import Any

from ..masking.scrub import scrub

STATUS_WIDTH = 12
# What a failed task printed is shown from its end: that is where programs say why they stopped.
TAIL_LINES = 15
_INDENT = " " * (STATUS_WIDTH + 1)
_MOST_FAILURES = 5
_LONGEST = 48


def duration(seconds: float) -> str:
    """Seconds as a person says them: `0.4 s`, `42 s`, `3 min 05 s`, `1 h 02 min`."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 120:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def line(status: str, text: str) -> str:
    """One line: what happened in a column of its own, then the rest."""
    return f"{status:<{STATUS_WIDTH}} {text}".rstrip()


def banner(name: str, previous: dict[str, Any] | None, columns: int) -> str:
    """The line that opens a play; at its end how long the play before took."""
    took = ""
    if previous is not None:
        took = f" {previous['phase'] or 'before'} {duration(previous['seconds'])}"
    head = f"== {name} "
    return head + "=" * max(3, min(columns, 100) - len(head) - len(took)) + took


def gate_lines(gates: list[dict[str, Any]], host_width: int, details: bool = False) -> list[tuple[str, str]]:
    """A line for each gate as (verdict for the colour, text): columns aligned, the value beside its limit.

    `detail` follows in lines of its own unless the gate passed (with `details`, always).
    """
    # What is good need not be read in full here: the report has it.
    texts = [tuple(_shown(gate, key) for key in ("value", "limit")) for gate in gates]
    names = max([24, *(len(gate["name"]) for gate in gates)])
    values = max([10, *(len(value) for value, _limit in texts)])
    lines = []
    for gate, (value, wanted) in zip(gates, texts):
        verdict = gate["verdict"]
        row = f"{gate['host']:<{host_width}}  {gate['name']:<{names}}  {value:<{values}}"
        limit = f"  limit {wanted}" if wanted else ""
        lines.append((verdict, line(verdict, row + limit)))
        if gate.get("detail") and (details or verdict != "pass"):
            lines += [(verdict, _INDENT + text) for text in str(gate["detail"]).split("\n")]
    return lines


def _shown(gate: dict[str, Any], key: str) -> str:
    text = _flat(gate[key])
    return text if len(text) <= _LONGEST or gate["verdict"] != "pass" else text[: _LONGEST - 3] + "..."


def _flat(value: Any) -> str:
    return " ".join(str(value).split())


def failure_lines(status: str, host: str, task: str, result: dict[str, Any], where: str = "") -> list[str]:
    """A failed task in full: where, the message with its line breaks, and the end of what it printed."""
    lines = [line(status, f"{host}  {task}")]
    lines += [_INDENT + text for text in message_of(result).split("\n")]
    if result.get("assertion"):
        lines.append(f"{_INDENT}this is not true: {scrub(str(result['assertion']))}")
    if result.get("rc") is not None and result.get("cmd"):
        command = result["cmd"]
        command = " ".join(map(str, command)) if isinstance(command, list) else str(command)
        lines.append(f"{_INDENT}exit code {result['rc']} of: {scrub(command)}")
    for stream in ("stderr", "stdout", "module_stderr", "module_stdout"):
        printed = scrub(str(result.get(stream) or "")).strip("\n").split("\n")
        if printed == [""]:
            continue
        cut = f", last {TAIL_LINES} of {len(printed)} lines" if len(printed) > TAIL_LINES else ""
        lines.append(f"{_INDENT}{stream}{cut}:")
        lines += [f"{_INDENT}  {text}" for text in printed[-TAIL_LINES:]]
    if where:
        lines.append(f"{_INDENT}at {where}")
    return [text.rstrip() for text in lines]


def message_of(result: dict[str, Any]) -> str:
    """What a failed result says, line breaks kept, secrets hidden; never empty."""
    message = (
        result.get("msg") or result.get("reason") or result.get("censored") or "the task gave no message"
    )
    if isinstance(message, (list, tuple)):
        message = "\n".join(map(str, message))
    return scrub(str(message)).strip("\n").removeprefix("Task failed: ")


def unreachable_lines(where: str, lost: str, task: str, result: dict[str, Any], inventory: str) -> list[str]:
    """A lost host, and what to do about it. `inventory` is what follows `-i` on the command line."""
    return [
        *failure_lines("UNREACHABLE", where, task, {"msg": message_of(result)}),
        f"{_INDENT}Nothing more runs on {where.strip()} in this run. See whether {lost} answers:",
        f"{_INDENT}  ansible {lost} -i {inventory} -m ansible.builtin.ping",
        f"{_INDENT}then run the same command again: it settles what was left. If it will not come back soon, first take it"
        " out of the inventory.",
    ]


def summary_lines(report: dict[str, Any], written: str) -> list[tuple[str, str]]:
    """The end of a release as pairs of (verdict for the colour, line); `written`: where the report lies."""
    release, run = report["release"], report["run"]
    failures = report["failures"]
    name = " ".join(str(release[key]) for key in ("system", "id") if release[key]) or "without an id"
    version = f" ({release['version']})" if release.get("version") else ""
    what = "rollback" if release["kind"] == "rollback" else "release"
    if release.get("nothing_to_do"):
        what, version = "release", f"{version} is live already, nothing to ship"
    lines = [("", line(what, f"{name}{version}, {duration(run['seconds'])}"))]
    if run["check"]:
        lines.append(("fail" if failures else "pass", line("plan", "check mode: nothing was changed")))
    else:
        verdict = f"{release['verdict'] or 'no verdict'}, {report['decision']} ({report['decision_reason']})"
        lines.append(("pass" if report["decision"] == "GO" else "fail", line("verdict", verdict)))
        if release.get("url"):
            lines.append(("", line("address", release["url"])))
    reason = release["reason"]
    if reason and report["decision"] != "GO" and not (failures and _first(failures[0]["message"]) in reason):
        lines.append(("", line("reason", reason)))
    for failure in failures[:_MOST_FAILURES]:
        status = "unreachable" if failure["unreachable"] else "failed"
        text = f"{failure['host']}  {failure['task']}: {_first(failure['message'])}"
        lines.append(("fail", line(status, text)))
    if len(failures) > _MOST_FAILURES:
        lines.append(("fail", line("", f"and {len(failures) - _MOST_FAILURES} more")))
    counts = ", ".join(f"{count} {verdict}" for verdict, count in report["gate_counts"].items() if count)
    if counts:
        lines.append(("", line("gates", counts)))
    times = [f"{play['phase'] or play['name']} {duration(play['seconds'])}" for play in report["phases"]]
    if times:
        lines.append(("", line("time", ", ".join(times))))
    if report["hosts"]:
        lines.append(("", line("hosts", _changes(report["hosts"], run["check"]))))
    if written:
        lines.append(("", line("report", written)))
    return lines


def _first(message: str) -> str:
    return message.strip().split("\n")[0]


def _changes(hosts: dict[str, dict[str, int]], check: bool) -> str:
    """`changed=0 on 4 hosts`, or who was changed by how many tasks."""
    changed = {host: counts["changed"] for host, counts in hosts.items() if counts.get("changed")}
    who = f" ({', '.join(f'{host} {count}' for host, count in changed.items())})" if changed else ""
    verb = "would change " if check else "changed="
    return f"{verb}{sum(changed.values())} on {len(hosts)} host{'s' * (len(hosts) != 1)}{who}"
