"""Collect what the tasks of a run report, and put it together as the data of report.json.

Nothing here knows Ansible or the screen: the callback plugin feeds a `Run`, `assemble` makes the report.
"""

from __future__ import annotations

import datetime
import time
from typing import Any, Callable

from ..masking.scrub import publishable, scrub
from ..model import phases

SCHEMA = 1
GATE_VERDICTS = ("pass", "fail", "warn", "inconclusive")
GO, NO_GO = "GO", "NO-GO"
_MEANING = {
    "rolled_back": "the release before it serves again",
    "abandoned": "stopped before the switch, no traffic moved",
    "inconclusive": "it is not known to be live",
}
_GATE_KEYS = ("name", "value", "limit", "verdict", "detail", "baseline", "timeline")


def utc(moment: float) -> str:
    """A moment (seconds since 1970) as an ISO 8601 text in UTC, to the second."""
    return datetime.datetime.fromtimestamp(moment, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


class Run:
    """What is known of one run of ansible-playbook.

    `playbook` is the path as it was typed, `check` says that nothing is really changed, `operator` and `controller`
    name who runs it and on which host (empty: not said), `now` gives seconds since 1970 (a test hands in its own
    clock).
    """

    def __init__(
        self,
        playbook: str = "",
        check: bool = False,
        now: Callable[[], float] = time.time,
        operator: str = "",
        controller: str = "",
    ) -> None:
        self.playbook = playbook
        self.check = check
        self.operator = operator
        self.controller = controller
        self.phase: str | None = None
        self.release: dict[str, Any] = {}
        self.failures: list[dict[str, Any]] = []
        self._now = now
        self._started = now()
        self._finished: float | None = None
        self._play_started = self._started
        self._plays: dict[str, dict[str, Any]] = {}
        self._play: dict[str, Any] | None = None
        self._gates: dict[tuple[str | None, str, str], dict[str, Any]] = {}
        self._sections: dict[str, dict[str, Any]] = {}

    def begin(self, name: str, phase: str | None) -> None:
        """A play begins. Plays of one phase, and batches of one play, count as one entry."""
        self.pause()
        self.phase = phase
        self._play_started = self._now()
        self._play = self._plays.setdefault(
            phase or name,
            {"phase": phase, "name": name, "started_at": utc(self._play_started), "seconds": 0.0},
        )

    def pause(self) -> dict[str, Any] | None:
        """Stop the clock of the play that runs; its entry, or None before the first play."""
        play, self._play = self._play, None
        self._finished = self._now()
        if play is not None:
            play["seconds"] += self._finished - self._play_started
        return play

    def add(self, host: str, task: str, result: dict[str, Any]) -> list[dict[str, Any]]:
        """Take `gates` and `report` out of a task result; returns the gates as they will be reported."""
        gates = result.get("gates")
        found = []
        if isinstance(gates, (list, tuple)):
            found = [_gate(raw, self.phase, host, task) for raw in gates]
            for gate in found:
                self._gates[(self.phase, host, gate["name"])] = gate
        report = result.get("report")
        if isinstance(report, dict):
            for section, data in report.items():
                if section == "release":
                    self._merge_release(data)
                else:
                    hosts = self._sections.setdefault(str(section), {})
                    hosts[host] = _merged(hosts.get(host), data)
        return found

    def add_failure(
        self, host: str, task: str, message: str, where: str = "", unreachable: bool = False
    ) -> dict[str, Any]:
        """A task failed on a host (by itself, not by association), or the host could not be reached."""
        failure = {
            "phase": self.phase,
            "host": host,
            "task": task,
            "message": scrub(message),
            "where": where,
            "unreachable": unreachable,
        }
        self.failures.append(failure)
        return failure

    def data(self, hosts: dict[str, dict[str, int]] | None = None, complete: bool = True) -> dict[str, Any]:
        """Everything collected, for `assemble`. `hosts` counts results by host; `complete` is False for a run
        that was interrupted."""
        self.pause()
        finished = self._finished or self._now()
        by = {"operator": self.operator, "controller": self.controller}
        return {
            "release": {**{key: value for key, value in by.items() if value}, **self.release},
            "run": {
                "playbook": self.playbook,
                "check": self.check,
                "complete": complete,
                "started_at": utc(self._started),
                "finished_at": utc(finished),
                "seconds": finished - self._started,
            },
            "phases": list(self._plays.values()),
            "gates": list(self._gates.values()),
            "failures": list(self.failures),
            "hosts": hosts or {},
            "sections": self._sections,
        }

    def _merge_release(self, data: Any) -> None:
        if not isinstance(data, dict):
            return
        known, new = self.release.get("id"), data.get("id")
        if known and new and known != new:
            # A run may first settle an older release: nothing of that one may be said of this one.
            self.release = {}
        self.release.update({key: value for key, value in data.items() if value is not None})


def _merged(old: Any, new: Any) -> Any:
    """Several tasks may add to a section: dicts are merged by key, lists joined, anything else replaced."""
    if isinstance(old, dict) and isinstance(new, dict):
        return {**old, **new}
    if isinstance(old, list) and isinstance(new, list):
        return old + new
    return new


def _gate(raw: Any, phase: str | None, host: str, task: str) -> dict[str, Any]:
    """A gate as it is reported. One that is malformed proves nothing, so it is inconclusive, and says so."""
    if not isinstance(raw, dict):
        raw = {"detail": f"not a gate: {raw!r}"}
    gate: dict[str, Any] = {"phase": phase, "host": host}
    gate.update((key, publishable(raw[key])) for key in _GATE_KEYS if raw.get(key) is not None)
    gate["name"] = str(gate.get("name") or f"unnamed gate of task '{task}'")
    gate.setdefault("value", "")
    gate.setdefault("limit", "")
    if gate.get("verdict") not in GATE_VERDICTS:
        detail = f"verdict {gate.get('verdict')!r} is none of {', '.join(GATE_VERDICTS)}"
        gate["detail"] = f"{gate['detail']}; {detail}" if gate.get("detail") else detail
        gate["verdict"] = "inconclusive"
    return gate


def assemble(data: dict[str, Any]) -> dict[str, Any]:
    """The content of report.json (docs/report.md has its schema) from what `Run.data` returned.

    Adds the verdict where none was reported, the decision, and the count of gates by verdict; hides secrets.
    """
    report: dict[str, Any] = {"schema": SCHEMA}
    for key, value in data.items():
        # Names of hosts and sections are no keys of data: a host called `auth` hides nothing.
        report[key] = _by_name(value) if key in ("hosts", "sections") else publishable(value)
    run, gates = report["run"], report["gates"]
    # Hosts answer in any order; two reports must be comparable.
    order = list(dict.fromkeys(gate["phase"] for gate in gates))
    gates.sort(key=lambda gate: (order.index(gate["phase"]), gate["host"]))
    for entry in (run, *report["phases"]):
        entry["seconds"] = round(entry["seconds"], 2)
    release: dict[str, Any] = {
        "system": None,
        "id": None,
        "kind": None,
        "verdict": None,
        "reason": None,
        "phase": None,
    }
    release.update(report["release"])
    release.setdefault("started_at", run["started_at"])
    release.setdefault("finished_at", run["finished_at"])
    ended = [failure["phase"] for failure in report["failures"]]
    begun = [play["phase"] for play in report["phases"]]
    if release["verdict"] is None and (ended or not run["complete"]):
        release["verdict"] = _verdict(ended or begun[-1:], begun, release.get("before_traffic"))
    release.pop("before_traffic", None)
    if release["phase"] is None:
        release["phase"] = phases.latest(ended) or phases.latest(begun)
    if release["reason"] is None:
        release["reason"] = _reason(report)
    report["release"] = release
    report["gate_counts"] = {
        verdict: sum(gate["verdict"] == verdict for gate in gates) for verdict in GATE_VERDICTS
    }
    report["decision"], report["decision_reason"] = _decision(release["verdict"], gates, ended)
    return report


def _by_name(data: dict[str, Any]) -> dict[str, Any]:
    return {
        scrub(name): {scrub(key): publishable(item) for key, item in hosts.items()}
        for name, hosts in data.items()
    }


def _verdict(ended: list[str | None], begun: list[str | None], before_traffic: list[str] | None) -> str:
    """`abandoned` where it is certain that no traffic moved, else `inconclusive`.

    `before_traffic` names the phases in which this release has none; None where that is not known.
    """
    last = phases.latest(ended) or phases.latest(begun)
    certain = last in before_traffic if before_traffic is not None else last and phases.before_traffic(last)
    return "abandoned" if certain else "inconclusive"


def _reason(report: dict[str, Any]) -> str | None:
    if report["failures"]:
        first = report["failures"][0]
        message = first["message"].strip().split("\n")[0]
        return f"{first['host']}: {first['task']}: {message}"
    if not report["run"]["complete"]:
        return "the run was interrupted; the next deploy or rollback settles it"
    return None


def _decision(verdict: str | None, gates: list[dict[str, Any]], ended: list[str | None]) -> tuple[str, str]:
    failed = [f"{gate['name']} on {gate['host']}" for gate in gates if gate["verdict"] == "fail"]
    if verdict != "live":
        return NO_GO, _MEANING.get(verdict or "", "the run ended without a verdict")
    if failed:
        more = f" and {len(failed) - 3} more" if len(failed) > 3 else ""
        return NO_GO, f"failed: {', '.join(failed[:3])}{more}"
    if ended:
        return (
            NO_GO,
            f"the run failed in {phases.latest(ended) or 'a step of its own'}; what was live stays live",
        )
    return GO, "no gate failed"
