"""The lines a person reads during and after a run."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.module_utils.slipway.report import screen
from ansible.module_utils.slipway.report.collect import Run, assemble


def gate(name: str, value: Any, limit: Any, verdict: str = "pass", **more: Any) -> dict[str, Any]:
    return {"host": "app1", "name": name, "value": value, "limit": limit, "verdict": verdict, **more}


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 s"),
        (0.15, "0.1 s"),
        (9.96, "10 s"),
        (119.4, "119 s"),
        (185, "3 min 05 s"),
        (3720, "1 h 02 min"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert screen.duration(seconds) == text


def test_gates_are_aligned_with_value_beside_limit() -> None:
    lines = [
        text
        for _, text in screen.gate_lines([gate("disk free", "61 GB", ">= 5 GB"), gate("x" * 30, 3, 4)], 8)
    ]
    assert lines[0].split() == ["pass", "app1", "disk", "free", "61", "GB", "limit", ">=", "5", "GB"]
    assert lines[0].index("limit") == lines[1].index("limit")
    assert len(lines) == 2


def test_a_gate_tells_its_detail_when_it_did_not_pass() -> None:
    found = [gate("a", 1, 2, "warn", detail="one\ntwo"), gate("b", 1, 2, detail="fine"), gate("c", 1, "")]
    lines = screen.gate_lines(found, 4)
    assert [verdict for verdict, _ in lines] == ["warn", "warn", "warn", "pass", "pass"]
    assert [text.strip() for _, text in lines[1:3]] == ["one", "two"]
    assert "limit" not in lines[-1][1]
    assert any("fine" in text for _, text in screen.gate_lines(found, 4, details=True))


def test_a_value_with_line_breaks_stays_on_its_line() -> None:
    assert len(screen.gate_lines([gate("a", "x\ny", "z\n1")], 4)) == 1


def test_a_failure_keeps_its_line_breaks_and_shows_the_end_of_what_was_printed() -> None:
    result = {
        "msg": "seen: a\nexpected: b",
        "stderr": "\n".join(map(str, range(100))),
        "rc": 3,
        "cmd": ["x", "y"],
    }
    lines = screen.failure_lines("FAILED", "app1", "start green", result, "roles/start/tasks/main.yml:3")
    assert lines[0] == "FAILED       app1  start green"
    text = [line.strip() for line in lines[1:]]
    assert text[:3] == ["seen: a", "expected: b", "exit code 3 of: x y"]
    assert text[3] == "stderr, last 15 of 100 lines:"
    assert text[4:19] == [str(number) for number in range(85, 100)]
    assert text[19:] == ["at roles/start/tasks/main.yml:3"]


@pytest.mark.parametrize("result", [{}, {"msg": ""}, {"msg": None}, {"msg": []}])
def test_a_failure_without_a_message_still_says_something(result: dict[str, Any]) -> None:
    assert screen.message_of(result) == "the task gave no message"


def test_a_failure_shows_no_secret_and_no_terminal_escape() -> None:
    result = {
        "msg": "\x1b[2Jpassword=hunter2",
        "stdout": "token=hunter2",
        "cmd": "psql postgres://a:hunter2@b",
        "rc": 1,
    }
    text = "\n".join(screen.failure_lines("FAILED", "app1", "x", result))
    assert "hunter2" not in text
    assert "\x1b" not in text


def test_a_lost_host_comes_with_what_to_do() -> None:
    text = "\n".join(screen.unreachable_lines("app1", "edge1", "look", {"msg": "timed out"}, "prod"))
    assert "ansible edge1 -i prod -m ansible.builtin.ping" in text
    assert "timed out" in text


def test_the_banner_carries_the_time_of_the_phase_before() -> None:
    assert screen.banner("Back up", {"phase": "preflight", "seconds": 4.2}, 200).endswith("= preflight 4.2 s")
    assert len(screen.banner("Back up", None, 60)) == 60
    assert screen.banner("x" * 300, None, 80).endswith("===")


def test_the_summary_is_short_however_much_failed() -> None:
    run = Run("deploy.yml")
    run.begin("Start", "start")
    run.add(
        "app1",
        "x",
        {"report": {"release": {"system": "shop", "id": "r1", "version": "v2", "url": "https://a"}}},
    )
    for number in range(40):
        run.add_failure(f"app{number}", "start green", "not healthy\nmore")
    lines = [
        text for _, text in screen.summary_lines(assemble(run.data()), "var/reports/shop/r1/report.html")
    ]
    assert lines[0].startswith("release      shop r1 (v2), ")
    assert lines[1] == "verdict      abandoned, NO-GO (stopped before the switch, no traffic moved)"
    assert "address      https://a" in lines
    assert "failed       app0  start green: not healthy" in lines
    assert [line.strip() for line in lines if "more" in line] == ["and 35 more"]
    assert lines[-1] == "report       var/reports/shop/r1/report.html"
    assert len(lines) < 14


def test_a_reason_is_told_where_no_failure_tells_it() -> None:
    run = Run()
    run.add(
        "app1",
        "x",
        {"report": {"release": {"id": "r", "verdict": "rolled_back", "reason": "p95 over 200 ms"}}},
    )
    assert "reason       p95 over 200 ms" in [
        text for _, text in screen.summary_lines(assemble(run.data()), "")
    ]


def test_check_mode_says_would() -> None:
    run = Run(check=True)
    run.add("app1", "x", {"report": {"release": {"system": "shop", "id": "r"}}})
    lines = [
        text
        for _, text in screen.summary_lines(
            assemble(run.data({"a": {"changed": 2}, "b": {"changed": 0}})), ""
        )
    ]
    assert "plan         check mode: nothing was changed" in lines
    assert "hosts        would change 2 on 2 hosts (a 2)" in lines
    assert not [line for line in lines if "NO-GO" in line]
