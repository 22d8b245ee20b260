# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""The screen and the report of a release."""

from __future__ import annotations

DOCUMENTATION = r"""
name: slipway
type: stdout
short_description: A release as a person wants to read it, with a report
description:
  - Prints a line for each play, for each changed task and host, and for each gate with its value and limit.
    What succeeded and changed nothing is not mentioned. Failures are shown in full.
  - Collects C(gates) and C(report) from the results of all tasks, and at the end writes C(report.json),
    C(report.md), C(report.html) and C(junit.xml) for the release. C(docs/report.md) describes the fields.
  - With C(-v) and more, tasks are shown as P(ansible.builtin.default#callback) does, the gates below them.
  - In check mode nothing is written.
extends_documentation_fragment:
  - default_callback
  - result_format_callback
options:
  report_dir:
    description:
      - Where reports are written, as C(<report_dir>/<system>/<release id>/).
      - If it is not set, C(var/reports) beside the C(ansible.cfg) in use, or below the current directory.
    type: path
    env:
      - name: SLIPWAY_REPORT_DIR
    ini:
      - section: callback_slipway
        key: report_dir
requirements:
  - set as stdout in configuration
author:
  - slipway contributors
"""

import atexit
import contextlib
import io
import sys
import time
from pathlib import Path
from typing import Any

import ansible.module_utils
from ansible import constants as C
from ansible import context
from ansible.playbook.task_include import TaskInclude
from ansible.plugins.callback.default import CallbackModule as DefaultCallback

# Ansible puts a project's module_utils into the modules it ships, but not on its own import path.
_MODULE_UTILS = str(Path(__file__).resolve().parents[2] / "module_utils")
if _MODULE_UTILS not in ansible.module_utils.__path__:
    ansible.module_utils.__path__.append(_MODULE_UTILS)

from ansible.module_utils.slipway.masking.scrub import publishable, scrub
from ansible.module_utils.slipway.masking.texts import hide
from ansible.module_utils.slipway.model.operator import controller, operator
from ansible.module_utils.slipway.report import screen
from ansible.module_utils.slipway.report.collect import Run, assemble
from ansible.module_utils.slipway.report.files import ReportError, write

_COLOURS = {
    "pass": C.COLOR_OK,
    "fail": C.COLOR_ERROR,
    "warn": C.COLOR_WARN,
    "inconclusive": C.COLOR_UNREACHABLE,
}
_FAIL = frozenset(("fail", "ansible.builtin.fail", "ansible.legacy.fail"))
# A task that waits is mentioned at its first retry, then this often (seconds).
_RETRY_EVERY = 30.0


class CallbackModule(DefaultCallback):  # type: ignore[misc]
    """What `ansible-playbook` prints, and the report of a release; see DOCUMENTATION."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "slipway"

    def __init__(self) -> None:
        super().__init__()
        # Into a pipe, a log of CI say, Python would hold back minutes of output, that of action plugins too.
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(line_buffering=True)
        self._run: Run | None = None
        self._report_path: Path | None = None
        self._unopened: Any = None
        self._settled = False
        self._previous: dict[str, Any] | None = None
        self._host_width = 8
        # (task, host) whose line or failure is already on the screen; emptied with each play.
        self._shown: set[tuple[str, str]] = set()
        self._retry_shown: dict[tuple[str, str], float] = {}

    # The run and its plays

    def v2_playbook_on_start(self, playbook: Any) -> None:
        super().v2_playbook_on_start(playbook)
        self._settled = False
        if self._run is None:
            arguments = context.CLIARGS.get("args") or [playbook._file_name]
            self._run = Run(
                playbook=" ".join(map(str, arguments)),
                check=self._check,
                operator=operator(),
                controller=controller(),
            )
            atexit.register(self._interrupted)
            if self._check:
                self._print(screen.line("plan", "check mode: says what would be done, changes nothing"))

    def v2_playbook_on_play_start(self, play: Any) -> None:
        self._play = self._unopened = play
        self._shown.clear()

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:
        # A play that a `meta` task ends at once is not mentioned.
        if task.action not in C._ACTION_META:
            self._open_play()
        super().v2_playbook_on_task_start(task, is_conditional)

    def _open_play(self) -> None:
        play, self._unopened = self._unopened, None
        if play is None:
            return
        phase = play.vars.get("slipway_phase")
        previous = self._started.pause()
        name = play.get_name().strip()
        self._started.begin(name, str(phase) if phase else None)
        self._print("\n" + screen.banner(name, previous, self._display.columns), C.COLOR_HIGHLIGHT)

    def v2_playbook_on_no_hosts_matched(self) -> None:
        self._open_play()
        self._print(screen.line("", "no host of the inventory belongs to this"), C.COLOR_SKIP)

    def v2_playbook_on_no_hosts_remaining(self) -> None:
        self._open_play()
        self._print(screen.line("stopped", "no host is left to go on with"), C.COLOR_ERROR)

    def v2_playbook_on_include(self, included_file: Any) -> None:
        if self._verbose:
            super().v2_playbook_on_include(included_file)

    def v2_playbook_on_stats(self, stats: Any) -> None:
        self._settled = True
        run = self._started
        if self._verbose or not run.release:
            super().v2_playbook_on_stats(stats)
        if run.release:
            hosts = {host: stats.summarize(host) for host in sorted(stats.processed)}
            self._finish(run.data(hosts))

    def _interrupted(self) -> None:
        """At the end of the process: a run that Ctrl-C or an error of Ansible ended gets no statistics."""
        if not self._settled and self._run is not None and self._run.release:
            self._finish(self._run.data(complete=False))

    def _finish(self, data: dict[str, Any]) -> None:
        report = assemble(data)
        written = ""
        if not self._check:
            try:
                self._report_path = write(report, self._report_dir(), own=self._report_path is not None)
                written = _short(self._report_path / "report.html")
            except ReportError as error:
                written = str(error)
        self._print("")
        for verdict, text in screen.summary_lines(report, written):
            self._print(text, _COLOURS.get(verdict))

    def _report_dir(self) -> Path:
        configured = self.get_option("report_dir")
        if configured:
            return Path(configured)
        return (Path(C.CONFIG_FILE).parent if C.CONFIG_FILE else Path.cwd()) / "var" / "reports"

    # Results

    def v2_runner_on_ok(self, result: Any) -> None:
        gates = self._collect(result)
        if self._verbose:
            super().v2_runner_on_ok(result)
        else:
            self._handle_warnings_and_exception(result)
            if not isinstance(result.task, TaskInclude):
                if result.result.get("changed", False):
                    self._changed(result)
                elif result.task.action in C._ACTION_DEBUG:
                    self._note(result)
        self._gates(gates)

    def v2_runner_on_skipped(self, result: Any) -> None:
        gates = self._collect(result)
        if self._verbose:
            super().v2_runner_on_skipped(result)
        self._gates(gates)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        gates = self._collect(result)
        if self._verbose:
            super().v2_runner_on_failed(result, ignore_errors)
        self._gates(gates)
        if _key(result) not in self._shown:
            self._failure(result, ignore_errors)

    def v2_runner_on_unreachable(self, result: Any) -> None:
        gates = self._collect(result)
        if self._verbose:
            super().v2_runner_on_unreachable(result)
        self._gates(gates)
        self._unreachable(result)

    def v2_runner_item_on_ok(self, result: Any) -> None:
        gates = self._collect(result)
        if self._verbose:
            super().v2_runner_item_on_ok(result)
        elif result.task.action in C._ACTION_DEBUG:
            self._handle_warnings_and_exception(result)
            self._note(result)
        self._gates(gates)

    def v2_runner_item_on_skipped(self, result: Any) -> None:
        gates = self._collect(result)
        if self._verbose:
            super().v2_runner_item_on_skipped(result)
        self._gates(gates)

    def v2_runner_item_on_failed(self, result: Any) -> None:
        gates = self._collect(result)
        if self._verbose:
            super().v2_runner_item_on_failed(result)
        self._gates(gates)
        item = f" (item {scrub(str(self._get_item_label(result.result)))})"
        if result.is_unreachable():
            self._unreachable(result, item)
        else:
            self._failure(result, bool(result.task.ignore_errors), item)

    def v2_on_file_diff(self, result: Any) -> None:
        if self._verbose:
            super().v2_on_file_diff(result)
            return
        data = result.result
        loop = data.get("results") if result.task.loop else None
        for item in loop if isinstance(loop, list) else [data]:
            diff = item.get("changed") and item.get("diff") and self._get_diff(item["diff"])
            if diff:
                self._changed(result)
                self._print(hide(diff))

    def v2_runner_retry(self, result: Any) -> None:
        if self._verbose:
            super().v2_runner_retry(result)
            return
        now = time.monotonic()
        if now - self._retry_shown.get(_key(result), -_RETRY_EVERY) >= _RETRY_EVERY:
            self._retry_shown[_key(result)] = now
            attempts, retries = result.result.get("attempts"), result.result.get("retries")
            self._print(
                screen.line(
                    "waiting", f"{self._where(result)}  {_task_name(result)} ({attempts} of {retries})"
                ),
                C.COLOR_DEBUG,
            )

    def v2_runner_on_async_poll(self, result: Any) -> None:
        if self._verbose:
            super().v2_runner_on_async_poll(result)

    def v2_runner_on_async_ok(self, result: Any) -> None:
        if self._verbose:
            super().v2_runner_on_async_ok(result)

    def v2_runner_on_async_failed(self, result: Any) -> None:
        if self._verbose:
            super().v2_runner_on_async_failed(result)

    # What is shown of a result

    def _print_task_banner(self, task: Any) -> None:
        if self._verbose:
            super()._print_task_banner(task)

    def _handle_warnings(self, res: Any) -> None:
        # Deprecations are for the people who write slipway, and ansible-lint tells them.
        res.pop("deprecations", None)
        if "censored" in res:
            res.pop("warnings", None)
        super()._handle_warnings(res)

    def _handle_exception(self, result: Any, use_stderr: bool = False) -> None:
        # Ansible censors the message of a task with no_log, but keeps it in the exception, and prints that.
        if not self._verbose or "censored" in result:
            result.pop("exception", None)
        super()._handle_exception(result, use_stderr)

    def _changed(self, result: Any) -> None:
        if _key(result) in self._shown:
            return
        self._shown.add(_key(result))
        would = bool(result.task.check_mode)
        text = f"{self._where(result)}  {_task_name(result)}"
        self._print(screen.line("would change" if would else "changed", text), C.COLOR_CHANGED)

    def _note(self, result: Any) -> None:
        """What a debug task says; it is there to be read."""
        data = result.result
        if data.get("_ansible_no_log") or "censored" in data:
            return
        if "msg" in data:
            text = screen.message_of({"msg": data["msg"] if data["msg"] != "" else " "})
        else:
            self._clean_results(data, result.task.action)
            text = self._dump_results(publishable(data))
        for number, part in enumerate(text.split("\n")):
            self._print(screen.line("" if number else "note", f"{self._where(result)}  {part}"))

    def _failure(self, result: Any, ignored: bool, item: str = "") -> None:
        self._shown.add(_key(result))
        data, task = result.result, _task_name(result) + item
        host = result.host.get_name()
        if not self._verbose:
            self._handle_warnings_and_exception(result)
        if ignored:
            message = screen.message_of(data).split("\n")[0]
            self._print(screen.line("ignored", f"{self._where(result)}  {task}: {message}"), C.COLOR_SKIP)
            return
        if self._by_association(result):
            # Every host of the play says this; it is about the release, and nothing failed here.
            key = (result.task._uuid, "")
            if key not in self._shown:
                self._shown.add(key)
                for number, part in enumerate(screen.message_of(data).split("\n")):
                    self._print(screen.line("" if number else "stopped", part), C.COLOR_ERROR)
            return
        where = _short(result.task.get_path() or "")
        self._started.add_failure(host, task, screen.message_of(data), where)
        lines = screen.failure_lines("FAILED", self._where(result), task, data, where)
        self._print("\n".join(lines), C.COLOR_ERROR, stderr=self.get_option("display_failed_stderr"))

    def _by_association(self, result: Any) -> bool:
        """Whether this is only a rescue that passes on an earlier failure: `fail` inside a `rescue`."""
        return bool(self._started.failures) and result.task.action in _FAIL and _in_rescue(result.task)

    def _unreachable(self, result: Any, item: str = "") -> None:
        if _key(result) in self._shown:
            return
        self._shown.add(_key(result))
        data, host = result.result, result.host.get_name()
        task = _task_name(result) + item
        if result.task.ignore_unreachable:
            message = screen.message_of(data).split("\n")[0]
            self._print(screen.line("unreachable", f"{self._where(result)}  {task}: {message}"), C.COLOR_WARN)
            return
        self._started.add_failure(host, task, screen.message_of(data), unreachable=True)
        # With delegate_to it is the other host that did not answer.
        lost = str(result.task.delegate_to or host)
        inventory = " -i ".join(_short(path) for path in context.CLIARGS.get("inventory") or ["prod"])
        lines = screen.unreachable_lines(self._where(result), lost, task, data, inventory)
        self._print("\n".join(lines), C.COLOR_UNREACHABLE, stderr=self.get_option("display_failed_stderr"))

    def _collect(self, result: Any) -> list[dict[str, Any]]:
        """Gates and report of a result into the run; the gates. Items of a loop come here one by one."""
        if "gates" not in result.result and "report" not in result.result:
            return []
        gates: list[dict[str, Any]] = self._started.add(
            result.host.get_name(), _task_name(result), result.result
        )
        return gates

    def _gates(self, gates: list[dict[str, Any]]) -> None:
        if not gates:
            return
        self._host_width = max(self._host_width, *(len(gate["host"]) for gate in gates))
        for verdict, text in screen.gate_lines(gates, self._host_width, details=self._verbose):
            self._print(text, _COLOURS[verdict])

    def _where(self, result: Any) -> str:
        label = self.host_label(result)
        self._host_width = max(self._host_width, min(len(label), 24))
        return f"{label:<{self._host_width}}"

    @property
    def _started(self) -> Run:
        if self._run is None:
            self._run = Run(check=self._check)
        return self._run

    @property
    def _verbose(self) -> bool:
        return bool(self._display.verbosity > 0)

    @property
    def _check(self) -> bool:
        return bool(context.CLIARGS.get("check"))

    def _print(self, text: str, colour: str | None = None, stderr: bool = False) -> None:
        # A terminal that was closed must not keep a result out of the report.
        with contextlib.suppress(OSError):
            self._display.display(text, color=colour, stderr=stderr)


def _key(result: Any) -> tuple[str, str]:
    return result.task._uuid, result.host.get_name()


def _task_name(result: Any) -> str:
    """`role: task`, with the values of this host in it."""
    name = str(result.task.get_name(include_role_fqcn=False))
    return str(scrub(name)).strip().replace(" : ", ": ", 1)


def _short(path: Any) -> str:
    """A path relative to the current directory where it lies below it."""
    try:
        return str(Path(path).relative_to(Path.cwd())) if path else ""
    except ValueError:
        return str(path)


def _in_rescue(task: Any) -> bool:
    # An import leaves no entry of its own in `rescue`: not only the direct child may stand there.
    inner, parent = {task._uuid}, task._parent
    while parent is not None:
        if any(child._uuid in inner for child in getattr(parent, "rescue", None) or ()):
            return True
        inner.add(parent._uuid)
        parent = parent._parent
    return False
