"""Modules of ours on a host without AnsiballZ: the same arguments, the same results."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils import basic
from ansible.module_utils.common.arg_spec import ModuleArgumentSpecValidator
from ansible.module_utils.slipway.lean import controller as lean

LEAN = sorted(path.stem for path in (lean.PROJECT / "plugins" / "action").glob("*.py") if path.is_symlink())


def run(module: str, arguments: dict[str, Any], check: bool = False) -> dict[str, Any]:
    """Run a module the way a host does, in an isolated Python without Ansible."""
    _, spec = lean.prepared(module)
    validated = ModuleArgumentSpecValidator(spec["argument_spec"]).validate(arguments)
    program = lean.program(module, validated.validated_parameters, validated._no_log_values, check)
    done = subprocess.run(
        [sys.executable, "-I", "-X", "utf8", "-"],
        input=program,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said: dict[str, Any] = json.loads(done.stdout.rpartition(lean.MARK)[2])
    return said


@pytest.mark.parametrize("module", LEAN)
def test_everything_a_module_imports_goes_with_it(module: str) -> None:
    sources, spec = lean.prepared(module)
    assert "argument_spec" in spec
    check = f"import sys; sys.path[:] = [p for p in sys.path if 'packages' not in p]; texts = {sources!r}"
    host = (lean.PROJECT / "module_utils/slipway/lean/host.py").read_text()
    # Run as an import: everything but main().
    script = f"{host}\n{check}\ntexts[{module!r}] += '\\nprint(\"imported\")'"
    script += f"\nrun(texts, {module!r}, {{}}, [], '', True, False)\n"
    script = script.replace('{"__name__": "__main__"}', '{"__name__": "imported"}')
    done = subprocess.run(
        [sys.executable, "-I", "-"], input=script, capture_output=True, text=True, check=False
    )
    assert "imported" in done.stdout, done.stderr


def test_the_module_does_its_work(tmp_path: Path) -> None:
    said = run(
        "release_record", {"root": str(tmp_path), "state": "begun", "release": "20261121T210000Z-1a2b3c4"}
    )
    assert said["changed"] is True
    assert said["unfinished"]["id"] == "20261121T210000Z-1a2b3c4"
    assert run("release_record", {"root": str(tmp_path)})["changed"] is False


def test_check_mode_is_passed_on(tmp_path: Path) -> None:
    arguments = {"root": str(tmp_path), "state": "begun", "release": "20261121T210000Z-1a2b3c4"}
    assert run("release_record", arguments, check=True)["changed"] is False
    assert not list(tmp_path.iterdir())


def test_failing_says_why(tmp_path: Path) -> None:
    arguments = {
        "root": str(tmp_path),
        "state": "phase",
        "release": "20261121T210000Z-1a2b3c4",
        "phase": "build",
    }
    result = run("release_record", arguments)
    assert result["failed"] is True and "no release" in result["msg"]


def test_what_a_module_finds_to_be_secret_is_masked_on_the_host() -> None:
    checks = [{"name": "x", "http": "http://user:hunter2secret@127.0.0.1:1/"}]
    said = run("health_check", {"checks": checks, "deadline": "1s", "interval": "100ms"})
    assert said["failed"] is True and "x" in said["checks"]
    assert "hunter2secret" not in json.dumps(said)


def test_what_a_spec_marks_as_secret_is_masked_on_the_host(tmp_path: Path) -> None:
    secret = "hunter2secret"
    arguments = {
        "directory": str(tmp_path),
        "files": {f"{secret}.txt": "x"},
        "secret_files": {".env": secret},
    }
    said = run("release_files", arguments)
    assert (tmp_path / ".env").read_text() == secret
    assert "********.txt" in json.dumps(said) and secret not in json.dumps(said)


def test_it_is_masked_in_every_form(tmp_path: Path) -> None:
    secret = "hunter2 secret"
    form = base64.b64encode(secret.encode()).decode()
    arguments = {"directory": str(tmp_path), "files": {f"{form}.txt": "x"}, "secret_files": {".env": secret}}
    assert form not in json.dumps(run("release_files", arguments))


def test_programs_stay_programs_and_what_is_hidden_is_not_shown(tmp_path: Path) -> None:
    arguments = {
        "directory": str(tmp_path),
        "files": {"bin/start": "#!/bin/sh", "secrets/db": "hunter2secret"},
        "executable": ["bin/start"],
        "hidden": ["secrets/db"],
    }
    said = run("release_files", arguments)
    assert (tmp_path / "bin/start").stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "secrets/db").stat().st_mode & 0o777 == 0o644
    assert "#!/bin/sh" in json.dumps(said["diff"]) and "hunter2secret" not in json.dumps(said)
    assert run("release_files", arguments)["changed"] is False


def test_the_real_ansible_module_is_back_in_its_place() -> None:
    lean.argument_spec("release_lock", lean.texts("release_lock")["release_lock"])
    assert basic.AnsibleModule.__module__ == "ansible.module_utils.basic"


def test_relative_imports_of_a_package_are_followed() -> None:
    sources = lean.texts("health_check")
    assert f"{lean.PACKAGE}.verify.checks.http" in sources
    assert f"{lean.PACKAGE}.verify.http.client" in sources


def test_the_edge_is_not_turned_to_a_colour_that_does_not_answer(tmp_path: Path) -> None:
    (tmp_path / "blue").touch()
    arguments = {
        "directory": str(tmp_path),
        "colour": "green",
        "domain": "shop.example.test",
        "servers": [{"address": "127.0.0.1:1", "path": "/health"}],
    }
    said = run("edge_switch", arguments)
    assert said["failed"] and "127.0.0.1:1" in said["msg"] and said["colour"] == "blue"
    assert [path.name for path in tmp_path.iterdir()] == ["blue"]


def test_the_arguments_of_a_module_are_read_anew_when_its_text_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lean, "PROJECT", tmp_path)
    text = "from ansible.module_utils.basic import AnsibleModule\ndef main():\n    AnsibleModule(argument_spec={})\n"
    first = lean._remembered("one", {"one": text})
    assert first == {"argument_spec": {}}
    cached = tmp_path / "var" / "cache" / "lean" / "one.json"
    changed = json.loads(cached.read_text())
    cached.write_text(json.dumps({**changed, "spec": {"argument_spec": {"seen": {}}}}))
    assert lean._remembered("one", {"one": text}) == {"argument_spec": {"seen": {}}}
    assert lean._remembered("one", {"one": f"{text}\n# edited"}) == first
    cached.write_text("{ half")
    assert lean._remembered("one", {"one": text}) == first
