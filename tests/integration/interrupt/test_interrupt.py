"""Ctrl-C at the moments at which Ansible alone loses it (plugins/callback/interrupt.py says which)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
PLAY = """
- hosts: all
  gather_facts: false
  tasks:
    - block:
        - name: first
          ansible.builtin.debug: {msg: first}
        - name: interrupted
          TASK
        - name: next task
          ansible.builtin.debug: {msg: went on}
      rescue:
        - name: way back
          ansible.builtin.debug: {msg: went on}
- hosts: all
  gather_facts: false
  tasks:
    - name: next play
      ansible.builtin.debug: {msg: went on}
"""


@pytest.mark.parametrize("moment", ["at_fork", "in_result"])
def test_an_interrupt_ends_the_run_at_any_moment(tmp_path: Path, moment: str) -> None:
    own = f":{HERE / 'callback'}" if moment == "at_fork" else ""
    (tmp_path / "ansible.cfg").write_text(
        f"[defaults]\ncallback_plugins = {ROOT / 'plugins' / 'callback'}{own}\naction_plugins = {HERE / 'action'}\n"
        f"stdout_callback = slipway\ninterpreter_python = {sys.executable}\n"
    )
    task = {"at_fork": "ansible.builtin.pause: {seconds: 1}", "in_result": "in_result:"}[moment]
    (tmp_path / "play.yml").write_text(PLAY.replace("TASK", task))
    (tmp_path / "hosts").write_text("one ansible_connection=local\ntwo ansible_connection=local\n")
    process = subprocess.Popen(
        [str(Path(sys.executable).parent / "ansible-playbook"), "-i", "hosts", "play.yml"],
        cwd=tmp_path,
        env={key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        screen, _ = process.communicate(timeout=40)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        pytest.fail(f"the run did not end: {process.communicate()[0]}")
    assert "first" in screen
    assert "went on" not in screen
    assert "User interrupted execution" in screen
    assert process.returncode == 99, screen
