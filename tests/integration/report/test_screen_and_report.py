"""Run ansible-playbook for real, on this machine alone, and read the screen and the files it leaves."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
ID = "20261121T210000Z-ab12cd3"
RELEASE = {"system": "shop", "id": ID, "kind": "deploy", "version": "v2", "url": "https://shop.example"}
SECRET = "hunter2-Zq9"
HOSTS = ["app1", "app2", "app3"]
BEGIN: dict[str, Any] = {
    "name": "freeze the release",
    "run_once": True,
    "answer": {"result": {"report": {"release": RELEASE}}},
}
LIVE: dict[str, Any] = {
    "name": "close the record",
    "run_once": True,
    "answer": {"result": {"report": {"release": {"verdict": "live"}}}},
}


@dataclass
class Outcome:
    """What a run left: exit code, screen, and the directory of its report."""

    code: int
    screen: str
    reports: Path

    @property
    def report(self) -> dict[str, Any]:
        data: dict[str, Any] = json.loads((self.reports / "shop" / "latest" / "report.json").read_text())
        return data

    @property
    def lines(self) -> list[str]:
        """The screen, each run of spaces as one."""
        return [re.sub(r" +", " ", line).strip() for line in self.screen.split("\n")]


class Project:
    """A directory with ansible.cfg, inventory and playbooks."""

    def __init__(self, path: Path) -> None:
        self.path = path
        (path / "ansible.cfg").write_text(
            "[defaults]\n"
            f"library = {HERE / 'library'}\n"
            f"callback_plugins = {ROOT / 'plugins' / 'callback'}\n"
            "stdout_callback = slipway\n"
            f"interpreter_python = {sys.executable}\n"
            "inventory = hosts.yml\n"
        )
        hosts: dict[str, Any] = {host: {"ansible_connection": "local"} for host in HOSTS}
        # Nothing listens on port 1.
        hosts["lost"] = {"ansible_host": "127.0.0.1", "ansible_port": 1}
        (path / "hosts.yml").write_text(yaml.safe_dump({"all": {"hosts": hosts}}))

    def start(self, plays: list[dict[str, Any]], *arguments: str) -> subprocess.Popen[str]:
        (self.path / "deploy.yml").write_text(yaml.safe_dump(plays, sort_keys=False))
        program = Path(sys.executable).parent / "ansible-playbook"
        # As somebody who has set nothing.
        environment = {
            key: value for key, value in os.environ.items() if not key.startswith(("ANSIBLE_", "PYTHON"))
        }
        return subprocess.Popen(
            [str(program), "deploy.yml", *arguments],
            cwd=self.path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, plays: list[dict[str, Any]], *arguments: str) -> Outcome:
        process = self.start(plays, *arguments)
        screen, _ = process.communicate(timeout=120)
        print(screen)
        assert "[DEPRECATION WARNING]" not in screen
        return Outcome(process.returncode, screen, self.path / "var" / "reports")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def play(name: str, phase: str | None, *tasks: dict[str, Any], **more: Any) -> dict[str, Any]:
    variables = {"slipway_phase": phase} if phase else {}
    found = {"name": name, "hosts": ["app1", "app2"], "gather_facts": False, "vars": variables, **more}
    return {**found, "tasks": list(tasks)}


def gate(name: str, value: Any, limit: Any, verdict: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "value": value, "limit": limit, "verdict": verdict, **more}


def test_a_play_that_ends_at_once_is_not_mentioned(project: Project) -> None:
    end = {"name": "not today", "ansible.builtin.meta": "end_play", "when": "true"}
    told = {"name": "told", "ansible.builtin.debug": {"msg": "here I am"}}
    outcome = project.run(
        [
            play("Ended", "start", end, told),
            play("Begun", "verify", BEGIN, told),
            play("Silent", "switch", end),
        ]
    )
    assert outcome.code == 0
    assert "== Begun" in outcome.screen and "here I am" in outcome.screen
    assert "Ended" not in outcome.screen and "Silent" not in outcome.screen
    assert [phase["phase"] for phase in outcome.report["phases"]] == ["verify"]


def test_a_release_that_works(project: Project) -> None:
    outcome = project.run(
        [
            play(
                "Preflight: look, touch nothing",
                "preflight",
                BEGIN,
                {
                    "name": "look",
                    "answer": {"result": {"gates": [gate("disk free", "61 GB", ">= 5 GB", "pass")]}},
                },
                {"name": "nothing to see", "answer": {}},
                {"name": "not here", "answer": {}, "when": False},
                {
                    "name": "old ways",
                    "answer": {"result": {"deprecate": ["this is old"], "warnings": ["mind this"]}},
                },
            ),
            play(
                "Start the other colour",
                "start",
                {
                    "name": "start green",
                    "answer": {"result": {"changed": True}},
                    "when": "inventory_hostname == 'app1'",
                },
                {
                    "name": "replicas",
                    "loop": [1, 2],
                    "answer": {
                        "result": {"gates": [gate("replica {{ item }}", "ok", "ok", "pass")], "changed": True}
                    },
                },
                LIVE,
            ),
        ]
    )
    assert outcome.code == 0
    assert outcome.screen.count("\n== ") == 2
    assert re.search(r"^== Start the other colour =+ preflight \d+\.\d s$", outcome.screen, re.MULTILINE)
    assert outcome.lines.count("pass app1 disk free 61 GB limit >= 5 GB") == 1
    assert outcome.lines.count("pass app2 replica 2 ok limit ok") == 1
    assert outcome.lines.count("changed app1 start green") == 1
    assert outcome.lines.count("changed app1 replicas") == 1
    assert "mind this" in outcome.screen
    for absent in ("nothing to see", "not here", "this is old", "DEPRECATION", "PLAY RECAP", "TASK", "skipp"):
        assert absent not in outcome.screen
    assert "verdict live, GO (no gate failed)" in outcome.lines
    assert "address https://shop.example" in outcome.lines
    assert "hosts changed=3 on 2 hosts (app1 2, app2 1)" in outcome.lines
    assert f"report var/reports/shop/{ID}/report.html" in outcome.lines

    report = outcome.report
    assert report["decision"] == "GO"
    assert [(item["phase"], item["host"], item["name"]) for item in report["gates"][:2]] == [
        ("preflight", "app1", "disk free"),
        ("preflight", "app2", "disk free"),
    ]
    assert report["gate_counts"] == {"pass": 6, "fail": 0, "warn": 0, "inconclusive": 0}
    assert [item["phase"] for item in report["phases"]] == ["preflight", "start"]
    assert all(item["seconds"] > 0 for item in report["phases"])
    assert report["hosts"]["app1"]["changed"] == 2
    directory = outcome.reports / "shop" / ID
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()} == {0o600}
    assert ElementTree.parse(directory / "junit.xml").getroot().get("tests") == "6"


def test_the_report_says_who_ran_it_and_where(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_USER", "anna")
    release = project.run([play("Start", "start", BEGIN, LIVE)]).report["release"]
    assert (release["operator"], release["controller"]) == ("anna", os.uname().nodename)


def test_a_gate_that_fails(project: Project) -> None:
    outcome = project.run(
        [
            play(
                "Verify the new colour",
                "verify",
                BEGIN,
                {
                    "name": "ask every replica",
                    "answer": {
                        "fail": True,
                        "result": {
                            "msg": "1 gate failed:\n  version: v1, expected v2\nfix: build again",
                            "gates": [gate("version", "v1", "v2", "fail"), gate("health", 200, 200, "pass")],
                            "report": {"verification": {"steps": 7}},
                        },
                    },
                },
                hosts=["app1"],
            ),
            play("Never reached", "switch", {"name": "switch", "answer": {"result": {"changed": True}}}),
        ]
    )
    assert outcome.code == 2
    assert "fail app1 version v1 limit v2" in outcome.lines
    at = outcome.lines.index("FAILED app1 ask every replica")
    assert outcome.lines[at + 1 : at + 4] == [
        "1 gate failed:",
        "version: v1, expected v2",
        "fix: build again",
    ]
    assert "Never reached" not in outcome.screen
    assert "verdict abandoned, NO-GO (stopped before the switch, no traffic moved)" in outcome.lines
    report = outcome.report
    assert report["gate_counts"]["fail"] == 1
    assert report["failures"][0]["task"] == "ask every replica"
    assert report["failures"][0]["where"].startswith("deploy.yml:")
    assert report["sections"]["verification"] == {"app1": {"steps": 7}}
    root = ElementTree.parse(outcome.reports / "shop" / ID / "junit.xml").getroot()
    assert (root.get("failures"), root.get("errors")) == ("1", "1")


def failing_on_one_host(phase: str, *rescue: dict[str, Any]) -> list[dict[str, Any]]:
    fail = {"fail": "{{ inventory_hostname == 'app2' }}", "result": {"msg": "not healthy after 60 s"}}
    block = {"block": [{"name": "start green", "answer": fail}], "rescue": list(rescue)}
    return [play("Start", phase, BEGIN, block, hosts=HOSTS, any_errors_fatal=True)]


def test_hosts_that_fail_by_association_are_not_accused(project: Project) -> None:
    outcome = project.run(
        failing_on_one_host(
            "start",
            {"name": "remove green", "answer": {"result": {"changed": True}}},
            {"name": "pass it on", "ansible.builtin.fail": {"msg": "Abandoned: the old release serves on."}},
        )
    )
    assert outcome.code == 2
    assert [line for line in outcome.lines if line.startswith("FAILED")] == ["FAILED app2 start green"]
    assert outcome.lines.count("stopped Abandoned: the old release serves on.") == 1
    assert [line for line in outcome.lines if line.startswith("failed")] == [
        "failed app2 start green: not healthy after 60 s"
    ]
    report = outcome.report
    assert [(item["host"], item["task"]) for item in report["failures"]] == [("app2", "start green")]
    assert (report["release"]["verdict"], report["release"]["phase"]) == ("abandoned", "start")


def test_what_fails_by_itself_in_a_rescue_is_told(project: Project) -> None:
    broken = {"name": "put back", "answer": {"fail": True, "result": {"msg": "can not put back"}}}
    outcome = project.run(failing_on_one_host("switch", broken))
    assert sorted(line for line in outcome.lines if line.startswith("FAILED")) == [
        "FAILED app1 put back",
        "FAILED app2 put back",
        "FAILED app2 start green",
        "FAILED app3 put back",
    ]
    assert outcome.report["release"]["verdict"] == "inconclusive"


def test_a_rescue_in_another_file_passes_the_failure_on_too(project: Project) -> None:
    stop = {"name": "pass it on", "ansible.builtin.fail": {"msg": "Abandoned."}}
    tasks = project.path / "roles" / "back" / "tasks"
    tasks.mkdir(parents=True)
    (tasks / "main.yml").write_text(yaml.safe_dump([{"name": "put back", "block": [stop]}]))
    for word, value in (
        ("include_tasks", "roles/back/tasks/main.yml"),
        ("import_tasks", "roles/back/tasks/main.yml"),
        ("include_role", {"name": "back"}),
        ("import_role", {"name": "back"}),
    ):
        outcome = project.run(failing_on_one_host("start", {f"ansible.builtin.{word}": value}))
        assert [line for line in outcome.lines if line.startswith("FAILED")] == ["FAILED app2 start green"]
        assert outcome.lines.count("stopped Abandoned.") == 1


def test_a_fail_task_that_is_no_rescue_is_a_failure_of_its_host(project: Project) -> None:
    first = {"name": "one", "answer": {"fail": "{{ inventory_hostname == 'app1' }}", "result": {"msg": "no"}}}
    second = {"name": "two", "ansible.builtin.fail": {"msg": "not here either"}}
    outcome = project.run([play("Start", "start", BEGIN, first, second)])
    assert [line for line in outcome.lines if line.startswith("FAILED")] == [
        "FAILED app1 one",
        "FAILED app2 two",
    ]


def test_a_lost_host(project: Project) -> None:
    outcome = project.run(
        [
            play("Freeze", "preflight", BEGIN),
            play("Start", "start", {"name": "reach", "answer": {}, "loop": [1, 2]}, hosts=["lost"]),
            play("Never reached", "finish", LIVE),
        ]
    )
    assert outcome.code == 4
    assert [line for line in outcome.lines if line.startswith("UNREACHABLE")] == [
        "UNREACHABLE lost reach (item 1)"
    ]
    assert "Connection refused" in outcome.screen
    assert "ansible lost -i hosts.yml -m ansible.builtin.ping" in outcome.lines
    assert "Never reached" not in outcome.screen
    report = outcome.report
    assert [(item["host"], item["unreachable"]) for item in report["failures"]] == [("lost", True)]
    assert report["release"]["verdict"] == "abandoned"


def test_check_mode_is_a_plan_and_leaves_no_file(project: Project) -> None:
    copy = {"name": "write", "ansible.builtin.copy": {"content": "new\n", "dest": str(project.path / "made")}}
    outcome = project.run([play("Start", "start", BEGIN, copy, hosts=["app1"])], "--check", "--diff")
    assert outcome.code == 0
    at = outcome.lines.index("would change app1 write")
    assert "+new" in outcome.lines[at:]
    assert not [line for line in outcome.lines if line.startswith("changed")]
    assert "plan check mode: nothing was changed" in outcome.lines
    assert not outcome.reports.exists()
    assert not (project.path / "made").exists()


@pytest.mark.parametrize("verbosity", ["-e=x=1", "-v", "-vvv"])
def test_no_log_is_never_shown(project: Project, verbosity: str) -> None:
    result = {
        "msg": SECRET,
        "warnings": [SECRET],
        "changed": True,
        "gates": [gate(SECRET, SECRET, SECRET, "pass")],
        "report": {"backup": {"file": SECRET}},
        "diff": {"before": SECRET, "after": "x"},
    }
    hidden = {"no_log": True, "ignore_errors": True}
    outcome = project.run(
        [
            play(
                "Quiet",
                "backup",
                BEGIN,
                {"name": "quiet", "answer": {"result": result}, **hidden},
                {"name": "quiet item", "answer": {"result": result}, "loop": [SECRET], **hidden},
                {"name": "quiet failure", "answer": {"result": result, "fail": True}, **hidden},
                {"name": "quiet end", "answer": {"result": result, "fail": True}, "no_log": True},
                hosts=["app1"],
            )
        ],
        verbosity,
        "--diff",
    )
    assert outcome.code == 2
    assert SECRET not in outcome.screen
    assert "the output has been hidden" in outcome.screen
    assert outcome.report["gates"] == []
    for path in (outcome.reports / "shop" / ID).iterdir():
        assert SECRET not in path.read_text()


def test_what_looks_like_a_secret_is_masked_wherever_it_is_printed(project: Project) -> None:
    login = {"user": "joe", "password": SECRET, "url": f"postgres://joe:{SECRET}@db/shop"}
    diff = {"before": "", "after": f"user=joe\nDB_PASSWORD={SECRET}\n"}
    outcome = project.run(
        [
            play(
                "Careless",
                "start",
                BEGIN,
                {"name": "set", "ansible.builtin.set_fact": {"seen": login}},
                {"name": "look", "ansible.builtin.debug": {"var": "seen"}},
                {"name": f"log in at https://{SECRET}@shop.test", "answer": {"result": {"changed": True}}},
                {"name": "write", "answer": {"result": {"changed": True, "diff": diff}}},
                {"name": "each", "answer": {"fail": True, "result": {"msg": "no"}}, "loop": [login]},
                hosts=["app1"],
            )
        ],
        "--diff",
    )
    assert outcome.code == 2
    for shown in (
        "joe",
        "postgres://joe:********@db/shop",
        "+DB_PASSWORD=********",
        "https://********@shop.test",
    ):
        assert shown in outcome.screen
    assert SECRET not in outcome.screen
    for path in (outcome.reports / "shop" / ID).iterdir():
        assert SECRET not in path.read_text()


def test_verbose_shows_every_task_and_the_gates_too(project: Project) -> None:
    look = {
        "name": "look",
        "answer": {"result": {"gates": [gate("disk free", "61 GB", ">= 5 GB", "pass", detail="of 80")]}},
    }
    outcome = project.run(
        [play("Preflight", "preflight", BEGIN, look, {"name": "quiet", "answer": {}})], "-v"
    )
    assert "TASK [quiet]" in outcome.screen
    assert "PLAY RECAP" in outcome.screen
    assert "pass app1 disk free 61 GB limit >= 5 GB" in outcome.lines
    assert "of 80" in outcome.lines


def test_a_run_that_is_no_release_ends_with_the_plain_recap(project: Project) -> None:
    outcome = project.run(
        [play("Look around", None, {"name": "say", "ansible.builtin.debug": {"msg": "hello\nyou"}})]
    )
    assert outcome.code == 0
    assert "PLAY RECAP" in outcome.screen
    assert "note app1 hello" in outcome.lines
    assert not outcome.reports.exists()


def test_a_retry_is_mentioned_once_and_not_every_second(project: Project) -> None:
    wait = {"name": "wait for it", "answer": {}, "until": False, "retries": 4, "delay": 0}
    outcome = project.run([play("Start", "start", wait, hosts=["app1"])])
    assert [line for line in outcome.lines if line.startswith("waiting")] == [
        "waiting app1 wait for it (1 of 5)"
    ]
    assert "RETRYING" not in outcome.screen


def test_ignored_errors_take_one_line_and_are_no_failure(project: Project) -> None:
    task = {"name": "try", "answer": {"fail": True, "result": {"msg": "no\nmore"}}, "ignore_errors": True}
    outcome = project.run([play("Start", "start", BEGIN, task, {**task, "loop": [1]}, LIVE, hosts=["app1"])])
    assert outcome.code == 0
    assert [line for line in outcome.lines if line.startswith("ignored")] == [
        "ignored app1 try: no",
        "ignored app1 try (item 1): no",
    ]
    assert outcome.report["failures"] == []
    assert outcome.report["decision"] == "GO"


def test_the_directory_of_the_reports_can_be_set(project: Project, tmp_path: Path) -> None:
    with (project.path / "ansible.cfg").open("a") as config:
        config.write("[callback_slipway]\nreport_dir = elsewhere\n")
    project.run([play("Start", "start", BEGIN, LIVE)])
    assert (tmp_path / "elsewhere" / "shop" / ID / "report.json").exists()


def test_a_report_that_can_not_be_written_is_told_and_the_summary_still_comes(project: Project) -> None:
    (project.path / "var").write_text("a file in the way")
    outcome = project.run([play("Start", "start", BEGIN, LIVE)])
    assert outcome.code == 0
    assert "verdict live, GO (no gate failed)" in outcome.lines
    assert [line for line in outcome.lines if line.startswith("report the report could not be written")]


def test_without_an_id_there_is_no_report_and_the_end_says_so(project: Project) -> None:
    begin = {"name": "begin", "answer": {"result": {"report": {"release": {"system": "shop"}}}}}
    outcome = project.run([play("Start", "preflight", begin)])
    assert "report no report was written: the run ended before the release had a id" not in outcome.lines
    assert "report no report was written: the run ended before the release had its id" in outcome.lines
    assert not outcome.reports.exists()


SAYS_AND_WAITS = """
import pathlib, time
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

class ActionModule(ActionBase):
    def run(self, tmp=None, task_vars=None):
        Display().display("half of it is done")
        deadline = time.monotonic() + 20
        while not pathlib.Path(self._task.args["until"]).exists():
            if time.monotonic() > deadline:
                return {"failed": True, "msg": "nobody has read it"}
            time.sleep(0.05)
        return {}
"""


def test_a_pipe_is_told_of_progress_while_it_happens(project: Project) -> None:
    (project.path / "action_plugins").mkdir()
    (project.path / "action_plugins" / "build.py").write_text(SAYS_AND_WAITS)
    task = {"name": "build", "build": {"until": str(project.path / "read")}}
    process = project.start([play("Build", "build", task, hosts=["app1"])])
    assert process.stdout is not None
    assert any("half of it is done" in line for line in process.stdout)
    (project.path / "read").touch()
    rest, _ = process.communicate(timeout=60)
    assert process.returncode == 0, rest


@pytest.mark.parametrize(("number", "written"), [(signal.SIGINT, True), (signal.SIGKILL, False)])
def test_an_interrupted_run(project: Project, number: signal.Signals, written: bool) -> None:
    process = project.start(
        [
            play(
                "Build",
                "build",
                BEGIN,
                {"name": "say", "ansible.builtin.debug": {"msg": "building"}},
                hosts=["app1"],
            ),
            play(
                "Switch",
                "switch",
                {"name": "sleep", "ansible.builtin.pause": {"seconds": 60}},
                hosts=["app1"],
            ),
        ]
    )
    assert process.stdout is not None
    seen = ""
    while "== Switch" not in seen:
        text = process.stdout.readline()
        assert text, seen
        seen += text
    time.sleep(0.5)
    os.killpg(process.pid, number)
    rest, _ = process.communicate(timeout=30)
    outcome = Outcome(process.returncode, seen + rest, project.path / "var" / "reports")
    assert outcome.code != 0
    assert (outcome.reports / "shop" / "latest").exists() is written
    if written:
        assert outcome.report["run"]["complete"] is False
        assert outcome.report["release"]["verdict"] == "inconclusive"
        assert "verdict inconclusive, NO-GO (it is not known to be live)" in outcome.lines


def test_a_task_costs_the_callback_less_than_a_millisecond(project: Project) -> None:
    """Counted inside one run: the time spent in the callback's own methods, divided by the tasks."""
    (project.path / "timed.py").write_text(
        "import sys, time\n"
        "from ansible.plugins.loader import callback_loader, init_plugin_loader\n"
        "import ansible.executor.task_queue_manager as tqm\n"
        "spent = [0.0, 0]\n"
        "original = tqm.TaskQueueManager.load_callbacks\n"
        "def wrap(method, name):\n"
        "    def call(*args, **kwargs):\n"
        "        started = time.perf_counter()\n"
        "        try:\n"
        "            return method(*args, **kwargs)\n"
        "        finally:\n"
        "            spent[0] += time.perf_counter() - started\n"
        "            spent[1] += name == 'v2_runner_on_ok'\n"
        "    return call\n"
        "def load(self):\n"
        "    if self._callback_plugins:\n"
        "        return\n"
        "    original(self)\n"
        "    plugin = self._callback_plugins[0]\n"
        "    for name in plugin._implemented_callback_methods:\n"
        "        if name != 'v2_playbook_on_stats':\n"
        "            setattr(plugin, name, wrap(getattr(plugin, name), name))\n"
        "tqm.TaskQueueManager.load_callbacks = load\n"
        "from ansible.cli.playbook import PlaybookCLI\n"
        "code = PlaybookCLI(['ansible-playbook', 'deploy.yml']).run()\n"
        "print('SPENT', spent[0], spent[1])\n"
        "sys.exit(code)\n"
    )
    facts = {"gates": [gate(f"gate {number}", number, 9, "pass") for number in range(3)], "changed": True}
    tasks = [{"name": f"task {number}", "ansible.builtin.set_fact": {"x": facts}} for number in range(40)]
    (project.path / "deploy.yml").write_text(
        yaml.safe_dump([play("Many", "verify", BEGIN, *tasks, hosts=HOSTS)])
    )
    done = subprocess.run(
        [sys.executable, "timed.py"],
        cwd=project.path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    match = re.search(r"SPENT ([\d.]+) (\d+)", done.stdout)
    assert match, done.stdout + done.stderr
    seconds, results = float(match[1]), int(match[2])
    print(f"{1000 * seconds / results:.3f} ms a result, {results} results")
    assert results > 100
    assert seconds / results < 0.001
