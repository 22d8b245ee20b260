"""What is collected of a run, the verdict and decision made of it, and the four files."""

from __future__ import annotations

import json
import stat
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from ansible.module_utils.slipway.masking.names import MASK
from ansible.module_utils.slipway.masking.scrub import publishable
from ansible.module_utils.slipway.model import phases
from ansible.module_utils.slipway.report import files
from ansible.module_utils.slipway.report.collect import Run, assemble
from ansible.module_utils.slipway.report.files import ReportError, write
from ansible.module_utils.slipway.report.html import before_after, html, number, phase_bars, sparks
from ansible.module_utils.slipway.report.text import cell, junit, markdown
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

ID = "20261121T210000Z-ab12cd3"
RELEASE = {"system": "shop", "id": ID, "kind": "deploy", "version": "v2", "url": "https://shop.example"}
SECRET = "hunter2-Zq9"


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 1795294800.0

    def __call__(self) -> float:
        return self.now


def gate(name: str = "disk free", verdict: str = "pass", **more: Any) -> dict[str, Any]:
    return {"name": name, "value": "61 GB", "limit": ">= 5 GB", "verdict": verdict, **more}


def run(*, verdict: str | None = "live", gates: list[Any] | None = None, phase: str = "verify") -> Run:
    collected = Run("deploy.yml", now=Clock())
    collected.begin("Play", phase)
    collected.add(
        "app1", "task", {"report": {"release": {**RELEASE, "verdict": verdict}}, "gates": gates or []}
    )
    return collected


def report(**options: Any) -> dict[str, Any]:
    return assemble(run(**options).data())


# Collecting


def test_a_gate_is_known_by_phase_host_and_name_and_the_last_word_counts() -> None:
    collected = run(gates=[gate(verdict="fail")])
    collected.add("app1", "again", {"gates": [gate(verdict="pass")]})
    collected.add("app2", "task", {"gates": [gate(verdict="warn")]})
    collected.begin("Watch", "watch")
    collected.add("app1", "task", {"gates": [gate(verdict="pass")]})
    seen = [(item["phase"], item["host"], item["verdict"]) for item in collected.data()["gates"]]
    assert seen == [("verify", "app1", "pass"), ("verify", "app2", "warn"), ("watch", "app1", "pass")]


def test_who_ran_it_and_where_is_in_every_report() -> None:
    collected = Run("deploy.yml", now=Clock(), operator="anna", controller="build-7")
    collected.add("app1", "settle", {"report": {"release": {**RELEASE, "id": "20261120T210000Z-0000000"}}})
    collected.add("app1", "plan", {"report": {"release": RELEASE}})
    made = assemble(collected.data())
    assert (made["release"]["operator"], made["release"]["controller"]) == ("anna", "build-7")
    assert "| Operator | anna |" in markdown(made) and "| Controller | build-7 |" in markdown(made)
    assert "<dt>Operator</dt><dd>anna</dd>" in html(made) and "<dt>Controller</dt><dd>build-7</dd>" in html(
        made
    )
    assert "operator" not in report()["release"]


def test_gates_come_by_phase_and_host_in_whatever_order_the_hosts_answered() -> None:
    collected = Run()
    for phase, hosts in (("verify", ("b", "a")), ("confirm", ("a",)), ("verify", ("a",))):
        collected.begin("Play", phase)
        for host in hosts:
            collected.add(host, "look", {"gates": [gate("z"), gate("y")]})
    found = [(item["phase"], item["host"], item["name"]) for item in assemble(collected.data())["gates"]]
    assert found == [
        (phase, host, name)
        for phase, host in (("verify", "a"), ("verify", "b"), ("confirm", "a"))
        for name in ("z", "y")
    ]


@pytest.mark.parametrize("raw", ["disk", {}, {"name": "x", "verdict": "ok"}, {"name": "x"}, None])
def test_a_malformed_gate_proves_nothing(raw: Any) -> None:
    (found,) = run().add("app1", "look", {"gates": [raw]})
    assert found["verdict"] == "inconclusive"
    assert found["name"]
    assert found["detail"]


def test_gates_and_report_of_a_foreign_module_do_no_harm() -> None:
    collected = run()
    before = collected.data()
    assert collected.add("app1", "task", {"gates": "closed", "report": "written"}) == []
    assert collected.add("app1", "task", {"report": {"release": "v2"}}) == []
    assert collected.data() == before


def test_release_is_merged_over_time_and_an_older_release_that_was_settled_leaves_no_trace() -> None:
    collected = Run()
    collected.add(
        "app1", "settle", {"report": {"release": {"id": "old", "verdict": "abandoned", "colour": "blue"}}}
    )
    collected.add("app1", "freeze", {"report": {"release": {"id": "new", "system": "shop"}}})
    collected.add("app1", "switch", {"report": {"release": {"colour": "green", "system": None}}})
    assert collected.release == {"id": "new", "system": "shop", "colour": "green"}


def test_sections_are_kept_by_host_and_grow() -> None:
    collected = run()
    collected.add("data1", "dump", {"report": {"backup": {"file": "a"}, "notes": [1]}})
    collected.add("data1", "restore", {"report": {"backup": {"rows": 7}, "notes": [2]}})
    collected.add("app1", "task", {"report": {"backup": {"file": "b"}}})
    sections = assemble(collected.data())["sections"]
    assert sections == {
        "backup": {"data1": {"file": "a", "rows": 7}, "app1": {"file": "b"}},
        "notes": {"data1": [1, 2]},
    }


def test_time_is_counted_by_phase_over_several_plays() -> None:
    clock = Clock()
    collected = Run(now=clock)
    for name, phase, seconds in (("A", "start", 2), ("Other", None, 1), ("B", "start", 3)):
        collected.begin(name, phase)
        clock.now += seconds
    clock.now += 0.5
    data = assemble(collected.data())
    assert [(play["phase"], play["name"], play["seconds"]) for play in data["phases"]] == [
        ("start", "A", 5.5),
        (None, "Other", 1),
    ]
    assert data["run"]["seconds"] == 6.5
    assert data["run"]["started_at"] == "2026-11-21T21:00:00Z"


# Verdict and decision


@pytest.mark.parametrize("phase", phases.NAMES)
def test_a_failure_without_a_verdict_is_abandoned_only_before_the_switch(phase: str) -> None:
    collected = run(verdict=None, phase=phase)
    collected.add_failure("app1", "start green", "not healthy\nafter 60 s")
    release = assemble(collected.data())["release"]
    assert release["verdict"] == ("abandoned" if phases.before_traffic(phase) else "inconclusive")
    assert release["phase"] == phase
    assert release["reason"] == "app1: start green: not healthy"


def test_a_warm_rollback_has_traffic_from_its_first_phase_on() -> None:
    collected = run(verdict=None, phase="rollback")
    collected.add("edge1", "plan", {"report": {"release": {"before_traffic": []}}})
    collected.add_failure("edge1", "turn", "no")
    release = assemble(collected.data())["release"]
    assert release["verdict"] == "inconclusive" and "before_traffic" not in release


def test_the_latest_phase_that_failed_decides() -> None:
    collected = run(verdict=None, phase="confirm")
    collected.add_failure("app1", "probe", "500")
    collected.begin("Cleaning up", None)
    collected.add_failure("app1", "remove", "no")
    collected.begin("Again", "start")
    collected.add_failure("app1", "remove", "no")
    assert assemble(collected.data())["release"]["verdict"] == "inconclusive"


def test_a_failure_outside_any_phase_counts_as_the_phase_that_was_reached() -> None:
    collected = run(verdict=None, phase="backup")
    collected.begin("Between", None)
    collected.add_failure("app1", "task", "no")
    assert assemble(collected.data())["release"]["verdict"] == "abandoned"
    nothing = Run()
    nothing.begin("First", None)
    nothing.add_failure("app1", "task", "no")
    assert assemble(nothing.data())["release"]["verdict"] == "inconclusive"


def test_an_interrupted_run_has_a_verdict_and_says_so() -> None:
    release = assemble(run(verdict=None, phase="build").data(complete=False))["release"]
    assert (release["verdict"], release["phase"]) == ("abandoned", "build")
    assert "interrupted" in release["reason"]
    assert (
        assemble(run(verdict=None, phase="watch").data(complete=False))["release"]["verdict"]
        == "inconclusive"
    )


def test_a_reported_verdict_is_never_overruled() -> None:
    collected = run(verdict="rolled_back", phase="start")
    collected.add_failure("app1", "task", "no")
    assert assemble(collected.data())["release"]["verdict"] == "rolled_back"


@pytest.mark.parametrize(
    ("verdict", "gates", "decision"),
    [
        ("live", ["pass", "warn", "inconclusive"], "GO"),
        ("live", [], "GO"),
        ("live", ["pass", "fail"], "NO-GO"),
        ("rolled_back", ["pass"], "NO-GO"),
        ("abandoned", ["pass"], "NO-GO"),
        ("inconclusive", ["pass"], "NO-GO"),
        (None, ["pass"], "NO-GO"),
    ],
)
def test_go_needs_live_and_no_failed_gate(verdict: str | None, gates: list[str], decision: str) -> None:
    found = report(
        verdict=verdict, gates=[gate(name=str(number), verdict=item) for number, item in enumerate(gates)]
    )
    assert found["decision"] == decision
    assert found["decision_reason"]
    assert sum(found["gate_counts"].values()) == len(gates)


# Files


def rich() -> dict[str, Any]:
    collected = run(
        gates=[
            gate(baseline="58 GB", timeline=[1, 2, 3]),
            gate("load", "fail", detail="p95 too high"),
            gate("replicas", "inconclusive", detail="none answered"),
            gate("certificate", "warn"),
        ]
    )
    collected.add(
        "data1", "dump", {"report": {"backup": {"tables": [{"table": "a", "rows": 3}], "notes": ["x", "y"]}}}
    )
    collected.add(
        "edge1",
        "load",
        {"report": {"load": {"timeline": [{"second": 0, "p95": 3}, {"second": 1, "p95": 4}]}}},
    )
    collected.add_failure(
        "app1", "start: wait", "line one\n```\n<script>alert(1)</script>", "roles/start/tasks/main.yml:3"
    )
    collected.add_failure("app2", "reach", "ssh: timed out", unreachable=True)
    return assemble(collected.data({"app1": {"ok": 3, "changed": 1}}))


def test_the_report_is_written_readable_by_its_owner_only(tmp_path: Path) -> None:
    target = write(rich(), tmp_path / "var" / "reports")
    assert target == tmp_path / "var" / "reports" / "shop" / ID
    assert sorted(path.name for path in target.iterdir()) == [
        "junit.xml",
        "report.html",
        "report.json",
        "report.md",
    ]
    for path in target.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    for directory in (target, target.parent, target.parent.parent):
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert (target.parent / "latest").readlink() == Path(ID)
    assert json.loads((target / "report.json").read_text())["schema"] == 1


def test_an_earlier_report_of_the_same_release_is_kept(tmp_path: Path) -> None:
    first = write(report(verdict="live"), tmp_path)
    write(report(verdict="live"), tmp_path, own=True)
    assert not first.with_name(f"{ID}.1").exists()
    write(report(verdict="rolled_back"), tmp_path)
    write(report(verdict="inconclusive"), tmp_path)
    verdicts = [
        json.loads((first.with_name(name) / "report.json").read_text())["release"]["verdict"]
        for name in (f"{ID}.1", f"{ID}.2", ID)
    ]
    assert verdicts == ["live", "rolled_back", "inconclusive"]
    assert (tmp_path / "shop" / "latest").resolve() == first


@pytest.mark.parametrize("name", [None, "", "..", "../x", "a/b", "latest", ".hidden", "a\nb"])
@pytest.mark.parametrize("key", ["system", "id"])
def test_no_report_leaves_its_directory(tmp_path: Path, key: str, name: str | None) -> None:
    data = report()
    data["release"][key] = name
    with pytest.raises(ReportError):
        write(data, tmp_path / "reports")
    assert list(tmp_path.iterdir()) == []


def test_what_can_not_be_written_is_told_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "shop").write_text("a file in the way")
    with pytest.raises(ReportError, match="report_dir"):
        write(report(), tmp_path)


def test_a_page_that_can_not_be_drawn_costs_only_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_report: dict[str, Any]) -> str:
        raise ZeroDivisionError("bars")

    monkeypatch.setattr(files, "html", broken)
    with pytest.raises(ReportError, match=r"report\.html .* could not be made"):
        write(report(), tmp_path)
    assert (tmp_path / "shop" / "latest" / "report.json").exists()


def test_no_secret_reaches_any_of_the_files(tmp_path: Path) -> None:
    collected = run()
    collected.add(
        "app1",
        "careless",
        {
            "gates": [
                gate(value=f"postgres://app:{SECRET}@db/shop", detail=f"password={SECRET}", token=SECRET)
            ],
            "report": {
                "release": {"db_password": SECRET},
                "environment": {"API_KEY": SECRET, "deep": [{"client_secret": {"value": SECRET}}]},
            },
        },
    )
    collected.add_failure("app1", "task", f"PGPASSWORD={SECRET} psql failed")
    target = write(assemble(collected.data()), tmp_path)
    for path in target.iterdir():
        assert SECRET not in path.read_text(), path
    assert MASK in (target / "report.html").read_text()


def test_a_host_or_section_that_is_called_like_a_secret_hides_nothing() -> None:
    collected = run()
    collected.add("auth", "task", {"report": {"token": {"rows": "seen"}}})
    assert assemble(collected.data())["sections"] == {"token": {"auth": {"rows": "seen"}}}


def test_junit_counts_what_a_ci_server_will_show() -> None:
    root = ElementTree.fromstring(junit(rich()))
    assert {key: root.get(key) for key in ("tests", "failures", "errors", "skipped")} == {
        "tests": "6",
        "failures": "1",
        "errors": "2",
        "skipped": "1",
    }
    assert len(root.findall("testsuite/testcase")) == 6
    failure = root.find("testsuite/testcase[@name='load [app1]']/failure")
    assert failure is not None
    assert failure.text == "p95 too high"
    assert failure.get("message") == "value 61 GB, limit >= 5 GB"
    assert [case.get("name") for case in root.findall("testsuite/testcase[skipped]")] == ["replicas [app1]"]


class Page(HTMLParser):
    """Tags, attributes and text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_the_page_is_one_file_without_scripts_and_with_its_charts() -> None:
    text = html(rich())
    page = Page(text)
    assert "script" not in page.tags
    assert not [name for name, _ in page.attributes if name in ("src", "style") or name.startswith("on")]
    assert [value for name, value in page.attributes if name == "href"] == ["https://shop.example"]
    assert text.count("<polyline") == 2
    assert "before 58 GB" in page.words
    assert "NO-GO" in page.words
    assert "<script>alert(1)</script>" in "".join(page.words)


@pytest.mark.parametrize(
    "url", ["javascript:alert(1)", "data:text/html,x", "https://a b", 'https://x" onclick="y']
)
def test_only_an_address_becomes_a_link(url: str) -> None:
    data = report()
    data["release"]["url"] = url
    page = Page(html(data))
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    assert not [value for name, value in page.attributes if name == "href" and value != url]
    if not url.startswith("https://x"):
        assert "a" not in page.tags


def test_markdown_keeps_a_message_whole_whatever_it_contains() -> None:
    text = markdown(rich())
    tokens = MarkdownIt().enable("table").parse(text)
    fences = [token.content for token in tokens if token.type == "fence"]
    assert "line one\n```\n<script>alert(1)</script>\n" in fences


NASTY = st.text(max_size=60) | st.sampled_from(
    [
        "<script>x</script>",
        "a|b",
        "| --- |",
        "`x`",
        "```\n# head",
        "&amp;",
        "]]>",
        "\x00\x1b[31m",
        "[a](b)",
        "{{ 1 }}",
    ]
)
SECTION = st.recursive(
    NASTY | st.integers() | st.floats() | st.booleans() | st.none(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NASTY, inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(NASTY, NASTY, SECTION)
def test_nothing_that_is_reported_can_break_a_file(name: str, value: str, data: Any) -> None:
    collected = run(
        gates=[gate(name or "x", value=value, limit=value, detail=value, verdict="fail", timeline=data)]
    )
    collected.add("app1", "task", {"report": {"section": data, name: data}})
    collected.add_failure(name, name, value)
    found = assemble(collected.data())
    root = ElementTree.fromstring(junit(found))
    shown = [case.find("failure") for case in root.iter("testcase") if case.find("failure") is not None]
    assert [item.get("type") for item in shown if item is not None] == ["gate"]
    page = Page(html(found))
    assert not {"script", "img", "b", "iframe"} & set(page.tags)
    assert found["failures"][0]["message"].replace("\n", "") in "".join(page.words).replace("\n", "")
    json.dumps(found, allow_nan=False).encode()
    markdown(found).encode()


@given(NASTY)
def test_a_markdown_cell_shows_the_text_and_nothing_else(value: str) -> None:
    text = publishable(value)
    tokens = MarkdownIt().enable("table").parse(f"| a |\n| --- |\n| {cell(text)} |\n\nend\n")
    assert [token.type for token in tokens].count("tr_open") == 2
    inline = tokens[[token.type for token in tokens].index("td_open") + 1]
    children = inline.children or []
    assert {child.type for child in children} <= {"text", "text_special", "html_inline"}
    assert {child.content for child in children if child.type == "html_inline"} <= {"<br>"}
    shown = "".join(" " if child.type == "html_inline" else child.content for child in children)
    assert shown.split() == text.split()


# Charts


@pytest.mark.parametrize(
    ("value", "expected"),
    [("61 GB", 61.0), (-3, -3.0), ("0.15 s", 0.15), ("n/a", None), (True, None), ("", None), ("v2", None)],
)
def test_the_number_a_value_starts_with(value: Any, expected: float | None) -> None:
    assert number(value) == expected


def test_before_and_after_share_one_scale() -> None:
    bars = before_after({"value": "20 ms", "baseline": "40 ms"})
    assert bars is not None
    assert (bars["before_width"], bars["after_width"]) == (100, 50)
    assert before_after({"value": "20 ms"}) is None
    assert before_after({"value": "none", "baseline": 3}) is None
    assert before_after({"value": 0, "baseline": 0}) is not None


def test_a_curve_for_each_number_of_a_timeline() -> None:
    assert [spark["points"] for spark in sparks([0, 10])] == ["0.0,34.0 220.0,2.0"]
    assert [spark["last"] for spark in sparks([[0, 5], [1, 7]])] == ["7"]
    assert [
        spark["name"] for spark in sparks([{"t": 0, "p95": 1, "rate": 2}, {"t": 1, "p95": 3, "rate": 4}])
    ] == [
        "p95",
        "rate",
    ]
    for nothing in (None, "x", [], [1], ["a", "b"], [[], []]):
        assert sparks(nothing) == []


def test_bars_of_phases_follow_each_other() -> None:
    bars = phase_bars(
        [{"phase": "a", "name": "A", "seconds": 1.0}, {"phase": None, "name": "B", "seconds": 3.0}]
    )
    assert [(bar["label"], bar["x"], bar["width"]) for bar in bars] == [("a", 0, 25), ("B", 25, 75)]
    assert phase_bars([{"phase": "a", "name": "A", "seconds": 0.0}])[0]["width"] == 0
