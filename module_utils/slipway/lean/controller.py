# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""Run small modules of ours on a host in 30 ms of its time instead of 150 (controller only).

Ansible packs each module with its own module_utils, 180 kB that every host unpacks and compiles for every task. Modules that
need of AnsibleModule only what `lean.host.HostModule` has go without: their arguments are validated here, by
ansible-core's own validator against the module's own argument_spec, and the module's text goes to the host's Python with
the texts it imports, through the same connection and the same become method. The modules are ordinary modules all the same.

Paths are taken as they are: `~` is not expanded.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import sys
from collections.abc import Collection
from functools import cache
from pathlib import Path
from typing import Any

from ansible import constants as C
from ansible.module_utils import basic
from ansible.module_utils.common.arg_spec import ModuleArgumentSpecValidator
from ansible.plugins.action import ActionBase

from ..host import fence
from ..masking.names import MASK
from ..masking.redactor import forms
from .host import MARK

PROJECT = Path(__file__).resolve().parents[3]
PACKAGE = "ansible.module_utils.slipway"
_IMPORT = re.compile(
    rf"^ *from (\.+|{re.escape(PACKAGE)}\b)\.?([\w.]*) import ([^\n(]+|\([^)]+\))", re.MULTILINE
)
_DOCUMENTATION = re.compile(r'^(DOCUMENTATION|EXAMPLES|RETURN) = r""".*?"""\n', re.MULTILINE | re.DOTALL)
# Read when the plugin is loaded: once a run, not once a task.
_HOST = (PROJECT / "module_utils" / "slipway" / "lean" / "host.py").read_text()
_VALIDATION = ("mutually_exclusive", "required_together", "required_one_of", "required_if", "required_by")


class _Found(Exception):
    """Carries what a module gave AnsibleModule."""

    def __init__(self, spec: dict[str, Any]) -> None:
        super().__init__()
        self.spec = spec


class _Recorder:
    """Stands for AnsibleModule until the spec is known."""

    def __init__(self, **spec: Any) -> None:
        raise _Found(spec)


def texts(module: str) -> dict[str, str]:
    """Return the texts a module of ours consists of, by dotted name; the module itself under its own name.

    Raises OSError where there is no such module.
    """
    own = _DOCUMENTATION.sub("", (PROJECT / "library" / f"{module}.py").read_text())
    found = {"ansible": "", "ansible.module_utils": "", PACKAGE: ""}
    todo = [(PACKAGE, own)]
    while todo:
        package, text = todo.pop()
        for start, rest, names in _IMPORT.findall(text):
            parents = package.split(".")
            base = PACKAGE if start == PACKAGE else ".".join(parents[: len(parents) - len(start) + 1])
            imported = f"{base}.{rest}" if rest else base
            # `from . import name` may import modules; what is no module is a name in one.
            for name in (*_ancestors(imported), *(f"{imported}.{word.split()[0]}" for word in _words(names))):
                if name not in found and (one := _text(name)) is not None:
                    found[name], is_package = one
                    todo.append((name if is_package else name.rpartition(".")[0], found[name]))
    return {**found, module: own}


def _ancestors(name: str) -> list[str]:
    """Return a dotted name and the packages it is in, outermost first: Python imports each of them."""
    parts = name.split(".")
    return [".".join(parts[:number]) for number in range(1, len(parts) + 1)]


def _words(names: str) -> list[str]:
    return [word for word in names.strip("( )\n").split(",") if word.strip()]


def _text(name: str) -> tuple[str, bool] | None:
    """Return the text of a module or package of ours, and whether it is a package."""
    path = PROJECT / "module_utils" / "slipway" / name.removeprefix(PACKAGE).strip(".").replace(".", "/")
    for file, is_package in ((path.with_suffix(".py"), False), (path / "__init__.py", True)):
        if path.name != "slipway" and file.is_file():
            return file.read_text(), is_package
    return None


def argument_spec(module: str, text: str) -> dict[str, Any]:
    """Return what a module gives AnsibleModule, by running its text up to there."""
    present = basic.AnsibleModule
    basic.AnsibleModule = _Recorder
    # Ours are imported anew, for those that derive from AnsibleModule, and forgotten again.
    ours = {name: sys.modules.pop(name) for name in list(sys.modules) if _is_ours(name)}
    try:
        namespace: dict[str, Any] = {"__name__": module}
        exec(compile(text, f"{module}.py", "exec"), namespace)  # noqa: S102 - our own text
        namespace["main"]()
    except _Found as found:
        return found.spec
    finally:
        basic.AnsibleModule = present
        for name in [name for name in sys.modules if _is_ours(name)]:
            del sys.modules[name]
        sys.modules.update(ours)
    raise TypeError(f"{module} makes no AnsibleModule")


def program(
    module: str,
    params: dict[str, Any],
    secrets: Collection[str] = (),
    check: bool = False,
    diff: bool = False,
) -> str:
    """Return the program to feed to a host's Python. No text in `secrets` will be in what it prints, in any form."""
    sources, _ = prepared(module)
    given = json.dumps(
        {
            "texts": sources,
            "name": module,
            "params": params,
            "secrets": sorted({form for secret in secrets for form in _forms(secret)}),
            "mask": MASK,
            "check": check,
            "diff": diff,
        },
        default=str,
    )
    return f"{_HOST}\nrun(**json.loads({given!r}))\n"


def _forms(secret: str) -> Collection[str]:
    """Return the forms of a secret to look for; a whole file, which is large, is repeated nowhere in another form."""
    return {secret} if "\n" in secret else forms(secret)


def _is_ours(name: str) -> bool:
    return name == PACKAGE or name.startswith(f"{PACKAGE}.")


@cache
def prepared(module: str) -> tuple[dict[str, str], dict[str, Any]]:
    """Return texts and argument spec of a module.

    Called when its action plugin is loaded, which ansible-playbook does before it forks: once a run, not once a task.
    """
    sources = texts(module)
    return sources, _remembered(module, sources)


def _remembered(module: str, sources: dict[str, str]) -> dict[str, Any]:
    """Return the argument spec of a module, kept in var/cache by its texts: it costs all the imports of the module."""
    texts_now = hashlib.sha256(json.dumps(sources, sort_keys=True).encode()).hexdigest()
    path = PROJECT / "var" / "cache" / "lean" / f"{module}.json"
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        known = json.loads(path.read_text())
        if known["texts"] == texts_now:
            return dict(known["spec"])
    spec = argument_spec(module, sources[module])
    with contextlib.suppress(OSError, TypeError):
        text = json.dumps({"texts": texts_now, "spec": spec})
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_suffix(f".{os.getpid()}")
        fresh.write_text(text)
        fresh.replace(path)
    return spec


class LeanAction(ActionBase):  # type: ignore[misc]
    """The action plugin of a module that is run lean."""

    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the module of the task."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        return {**result, **self.lean(self._task.action.rpartition(".")[2], self._task.args, task_vars or {})}

    def lean(self, module: str, arguments: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        """Run a module with `arguments` on the task's host and return its result."""
        _, spec = prepared(module)
        if "fence" in spec["argument_spec"]:
            arguments = fence.handed(arguments, task_vars)
        validated = ModuleArgumentSpecValidator(
            spec["argument_spec"], **{key: spec[key] for key in _VALIDATION if key in spec}
        ).validate(json.loads(json.dumps(arguments, default=str)))
        if validated.error_messages:
            said = "; ".join(validated.error_messages)
            unknown = "Unsupported parameters for " if validated.unsupported_parameters else ""
            return {"failed": True, "msg": f"{unknown}({module}) module: {said}"}
        done = self._low_level_execute_command(
            f"{self._python(task_vars)} -X utf8 -",
            in_data=program(
                module,
                validated.validated_parameters,
                validated._no_log_values,
                bool(self._task.check_mode),
                bool(self._task.diff),
            ).encode(),
        )
        _, mark, found = done["stdout"].rpartition(MARK)
        if not mark:
            last = (done["stderr"] or done["stdout"]).strip().splitlines()[-1:] or ["it said nothing"]
            host = task_vars.get("inventory_hostname", "the host")
            return {
                "failed": True,
                "msg": f"{module} broke off on {host} with status {done['rc']}: {last[0]}",
                "exception": done["stderr"],
            }
        result: dict[str, Any] = json.loads(found)
        return result

    def _python(self, task_vars: dict[str, Any]) -> str:
        declared = task_vars.get("ansible_python_interpreter") or C.config.get_config_value(
            "INTERPRETER_PYTHON", variables=task_vars
        )
        chosen = str(self._templar.template(declared))
        return "/usr/bin/python3" if chosen.startswith("auto") else chosen
