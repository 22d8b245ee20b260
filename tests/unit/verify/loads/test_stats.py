"""Percentiles, histograms and budgets: figures one can rely on, and verdicts that admit when they cannot."""

from __future__ import annotations

import math
from typing import Any

import pytest
from ansible.module_utils.slipway.verify.http.client import Request, parse_url
from ansible.module_utils.slipway.verify.http.wire import ResponseParser
from ansible.module_utils.slipway.verify.loads.budget import NO_DESCRIPTORS, judge, parse_budgets
from ansible.module_utils.slipway.verify.loads.engine import Job, Route
from ansible.module_utils.slipway.verify.loads.routes import parse_routes
from ansible.module_utils.slipway.verify.loads.run import Load, parse_loads
from ansible.module_utils.slipway.verify.loads.stats import Statistics, histogram, percentile
from ansible.module_utils.slipway.verify.moments import Place
from ansible.module_utils.slipway.verify.predicates import SpecError
from hypothesis import given
from hypothesis import strategies as st

ROUTE = Route("r", Request(parse_url("http://shop.test/")))
VALUES = st.lists(st.floats(0, 1000, allow_nan=False), min_size=1, max_size=200)


@given(VALUES, st.floats(0.001, 1))
def test_percentile_is_a_value_that_the_share_does_not_exceed(values: list[float], share: float) -> None:
    ordered = sorted(values)
    found = percentile(ordered, share)
    assert found in ordered
    assert sum(value <= found for value in ordered) >= share * len(ordered) - 1e-9
    assert sum(value < found for value in ordered) < share * len(ordered) + 1e-9


def test_percentile_of_a_hundred() -> None:
    ordered = [float(number) for number in range(1, 101)]
    assert [percentile(ordered, share) for share in (0.5, 0.95, 0.99, 1.0)] == [50, 95, 99, 100]


@given(VALUES)
def test_histogram_counts_everything_once(values: list[float]) -> None:
    found = histogram(values)
    assert sum(entry["count"] for entry in found) == len(values)
    edges = [entry["le_ms"] for entry in found]
    assert edges == sorted(edges)
    assert max(values) * 1000 <= edges[-1] * 1.000001 + 0.001


def answer(status: int, release: str | None = None) -> ResponseParser:
    parser = ResponseParser()
    extra = f"X-App-Version: {release}\r\n" if release else ""
    parser.feed(f"HTTP/1.1 {status} Word\r\nContent-Length: 0\r\n{extra}\r\n".encode())
    return parser


def test_counts_gaps_releases_and_failures() -> None:
    statistics = Statistics(100.0, "x-app-version")
    statistics.answered(Job(ROUTE, 100.0), 100.1, answer(200, "v1"), b"")
    statistics.answered(Job(ROUTE, 100.2), 100.3, answer(500, "v1"), b"Traceback: boom")
    statistics.answered(Job(ROUTE, 100.9), 101.0, answer(302, "v2"), b"")
    statistics.failed(Job(ROUTE, 101.1), 101.2, "closed", "connection closed inside the body")
    statistics.answered(Job(ROUTE, 101.4), 101.5, answer(200), b"")
    statistics.close(101.6)
    found = statistics.summary()
    assert (found["requests"], found["failed"], found["errors"]) == (5, 2, 40.0)
    assert found["statuses"] == {"200": 2, "302": 1, "500": 1}
    assert found["failures"] == {"status 500": 1, "closed": 1}
    assert found["longest_gap_ms"] == 900.0 and found["longest_gap_at_s"] == 0.1
    assert {name: entry["responses"] for name, entry in found["releases"].items()} == {
        "v1": 2,
        "v2": 1,
        "none named": 1,
    }
    assert found["releases"]["v1"]["last_sent_s"] == 0.2
    assert "Traceback: boom" in found["failure_details"][0]["detail"]
    assert [(e["second"], e["ok"], e["failed"]) for e in found["timeline"]] == [(0, 1, 1), (1, 2, 1)]
    assert found["release_timeline"] == [{"second": 0, "v1": 2}, {"second": 1, "v2": 1, "none named": 1}]


def test_a_gap_that_never_ends_is_a_gap() -> None:
    statistics = Statistics(0.0)
    statistics.answered(Job(ROUTE, 0.0), 0.1, answer(200), b"")
    statistics.close(9.1)
    assert statistics.summary()["longest_gap_ms"] == 9000.0


def test_a_secret_at_the_cut_is_masked_before_the_cut() -> None:
    statistics = Statistics(0.0, mask=lambda text: text.replace("sesame", "***"))
    statistics.answered(Job(ROUTE, 0.0), 0.1, answer(500), b"sesame" + b"." * 197)
    assert "same" not in statistics.details[0]["detail"]


FIGURES: dict[str, Any] = {
    "requests": 1000,
    "failed": 0,
    "errors": 0.0,
    "rps": 500.0,
    "mean": 20.0,
    "p95": 50.0,
}
FAST = {"rps": 20000.0, "mean": 0.5, "p95": 1.0, "p99": 2.0, "max": 5.0}


def verdict(budgets: dict[str, Any], figures: Any = FIGURES, own: Any = FAST, baseline: Any = None) -> str:
    (gate,) = judge(parse_budgets(budgets), figures, own, baseline)
    assert {"name", "value", "limit", "verdict"} <= set(gate)
    return str(gate["verdict"])


@pytest.mark.parametrize(
    ("budgets", "expected"),
    [
        ({"p95": "50ms"}, "pass"),
        ({"p95": "49ms"}, "fail"),
        ({"mean": 0.02}, "pass"),
        ({"rps": 500}, "pass"),
        ({"rps": 501}, "fail"),
        ({"errors": "0%"}, "pass"),
    ],
)
def test_absolute_budgets(budgets: dict[str, Any], expected: str) -> None:
    assert verdict(budgets) == expected


def test_relative_budgets() -> None:
    assert verdict({"p95": "2x baseline"}, baseline={"p95": 25.0}) == "pass"
    assert verdict({"p95": "2x baseline"}, baseline={"p95": 24.0}) == "fail"
    assert verdict({"p95": "2x baseline or +30ms"}, baseline={"p95": 24.0}) == "pass"
    small = {**FIGURES, "p95": 5.0}
    assert verdict({"p95": "2x baseline"}, small, baseline={"p95": 2.0}) == "pass", (
        "2 ms to 5 ms is no breach"
    )
    assert verdict({"p95": "2x baseline"}) == "inconclusive"
    assert verdict({"rps": "0.5x baseline"}, baseline={"rps": 900.0}) == "pass"
    assert verdict({"rps": "0.5x baseline"}, baseline={"rps": 1100.0}) == "fail"


def test_own_overhead_spoils_only_what_it_could_have_broken() -> None:
    slow = {**FAST, "p95": 20.0, "rps": 510.0}
    assert verdict({"p95": "40ms"}, own=slow) == "inconclusive"
    assert verdict({"p95": "60ms"}, own=slow) == "pass"
    assert verdict({"p95": "5ms"}, {**FIGURES, "p95": 500.0}, slow) == "fail", "far beyond any overhead"
    assert verdict({"rps": 520}, own=slow) == "inconclusive"
    assert verdict({"rps": 505}, own=slow) == "fail", "alone it was fast enough"
    assert verdict({"rps": 520}, {**FIGURES, "rps": 300.0}, slow) == "fail", "it could have been far faster"
    assert verdict({"errors": 0}, {**FIGURES, "errors": 0.1, "failed": 1}, {**slow, "errors": 50.0}) == "fail"


def test_a_rate_that_was_not_kept_up_fails() -> None:
    """In an open loop the generator alone shows the rate and never more, whatever it could do."""
    own = {**FAST, "rps": 100.0}
    assert verdict({"rps": 95}, {**FIGURES, "rps": 60.0}, own) == "fail"
    assert verdict({"rps": 95}, {**FIGURES, "rps": 94.0}, own) == "fail"
    assert verdict({"rps": 95}, {**FIGURES, "rps": 96.0}, own) == "pass"


def parsed_load(**declared: Any) -> Load:
    (load,) = parse_loads([{"name": "l", "routes": ["/"], **declared}], [Place("http://shop.test")])
    return load


def test_a_load_of_failures_holds_no_budget() -> None:
    """The few that were answered were answered fast."""
    figures = {**FIGURES, "failed": 900, "errors": 90.0}
    gates = judge(parsed_load(requests=1000, budgets={"p95": "50ms", "rps": 100}).budgets, figures, FAST)
    assert {gate["name"]: gate["verdict"] for gate in gates} == {
        "errors": "fail",
        "p95": "pass",
        "rps": "pass",
    }
    said = parsed_load(requests=1000, budgets={"p95": "50ms", "errors": "95%"}).budgets
    assert [budget.limit for budget in said if budget.name == "errors"] == [95.0]
    assert parsed_load(requests=1000).budgets == [], "only measured"


def test_deadline_of_a_load() -> None:
    assert parsed_load(requests=1000).shape.deadline == 300
    assert parsed_load(requests=1000, rate=10).shape.deadline == 400
    assert parsed_load(duration="10m").shape.deadline == 900
    assert parsed_load(duration="10s", deadline="11s").shape.deadline == 11
    for wrong, words in (("10s", "more than the 10 s"), (0, "more than nothing"), ("soon", "not a duration")):
        with pytest.raises(SpecError, match=f"deadline: .*{words}"):
            parsed_load(duration="10s", deadline=wrong)


def test_a_load_that_was_cut_short_has_failed() -> None:
    overdue = {"value": "20 of 1000 requests", "limit": "all within 5 s", "detail": "ended"}
    gates = judge(parse_budgets({"p95": "50ms"}), {**FIGURES, "overdue": overdue}, FAST)
    assert [(gate["name"], gate["verdict"]) for gate in gates] == [("deadline", "fail"), ("p95", "pass")]
    assert [gate["verdict"] for gate in judge([], {"overdue": overdue}, FAST)] == ["fail"]


def test_a_generator_without_file_descriptors_judges_nobody() -> None:
    figures = {**FIGURES, "errors": 50.0, "failures": {NO_DESCRIPTORS: 500}}
    gates = judge(parse_budgets({"errors": 0, "p95": "50ms"}), figures, FAST)
    assert [gate["verdict"] for gate in gates] == ["inconclusive", "inconclusive"]
    assert "RLIMIT_NOFILE" in gates[0]["detail"] and "500 requests were never sent" in gates[0]["detail"]


def test_too_few_answers() -> None:
    few = {**FIGURES, "requests": 50, "p99": 1.0}
    assert verdict({"p99": "2ms"}, few) == "inconclusive"
    assert verdict({"p95": "60ms"}, {**FIGURES, "requests": 19}) == "inconclusive"
    nothing = {"requests": 0, "failed": 0, "errors": None, "rps": None}
    assert verdict({"errors": "1%"}, nothing) == "fail"
    assert verdict({"p95": "1s"}, nothing) == "fail"
    all_failed = {"requests": 10, "failed": 10, "errors": 100.0, "rps": 5.0}
    assert verdict({"errors": "0%"}, all_failed) == "fail"


@pytest.mark.parametrize(
    "raw", [{}, None, {"p59": "1s"}, {"p95": "fast"}, {"rps": "many"}, {"errors": "few"}]
)
def test_budget_mistakes(raw: Any) -> None:
    with pytest.raises(SpecError):
        parse_budgets(raw)


def test_near_miss_in_budget() -> None:
    with pytest.raises(SpecError, match="did you mean 'errors'"):
        parse_budgets({"error": "1%"})


@given(st.floats(0.1, 1000), st.floats(0.1, 10))
def test_relative_limit_never_falls_below_baseline(before: float, times: float) -> None:
    budgets = parse_budgets({"p95": f"{times:.3f}x baseline"})
    (gate,) = judge(budgets, {**FIGURES, "p95": before}, FAST, {"p95": before})
    assert gate["verdict"] == "pass"
    assert math.isnan(budgets[0].limit)


def test_routes() -> None:
    routes = parse_routes(
        ["/a", {"path": "/b?x=1", "json": {"k": 1}, "connections": "fresh"}], "http://shop.test/"
    )
    assert [route.name for route in routes] == ["GET /a", "POST /b"]
    assert [route.fresh for route in routes] == [False, True]
    assert routes[1].request.headers["Content-Type"] == "application/json"


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ([], "loads nothing"),
        ([{"path": "/", "wieght": 2}], "did you mean 'weight'"),
        ([{"path": "/", "url": "http://x/"}], "either url, or path"),
        ([{"path": "/", "weight": 0}], "weight: must be at least 1"),
        ([{"path": "/", "connections": "kept"}], "neither keep-alive nor fresh"),
        (["/a b"], "contains a blank"),
        ([{"path": "/", "status": []}], "asserts nothing"),
        ([5], "must be a path or a mapping"),
    ],
)
def test_route_mistakes(raw: Any, words: str) -> None:
    with pytest.raises(SpecError, match=words):
        parse_routes(raw, "http://shop.test")
