# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""The host's half of `lean`: run a module of ours from texts that came with it. Sent by `lean` as a text."""

from __future__ import annotations

import json
import os
import sys
import types
from importlib.machinery import ModuleSpec
from typing import Any, ClassVar, NoReturn

# Begins what a module says, whatever a login shell has said before.
MARK = "\n--slipway--"


class Sources:
    """Finds and loads Python modules in a dictionary of texts by dotted name."""

    def __init__(self, texts: dict[str, str]) -> None:
        self.texts = texts

    def find_spec(self, name: str, _path: Any = None, _target: Any = None) -> ModuleSpec | None:
        """Return the spec of a module that is among the texts."""
        if name not in self.texts:
            return None
        package = any(other.startswith(f"{name}.") for other in self.texts)
        return ModuleSpec(name, self, is_package=package)  # type: ignore[arg-type]

    def create_module(self, _spec: ModuleSpec) -> None:
        """Leave it to Python."""

    def exec_module(self, module: types.ModuleType) -> None:
        """Run a module's text."""
        exec(compile(self.texts[module.__name__], module.__name__, "exec"), module.__dict__)  # noqa: S102 - our own text


class HostModule:
    """What modules of ours use of AnsibleModule, the arguments having been validated on the controller."""

    params: ClassVar[dict[str, Any]] = {}
    secrets: ClassVar[list[str]] = []
    mask = ""
    check_mode = False
    _diff = False

    def __init__(self, **_spec: Any) -> None:
        self.no_log_values = set(self.secrets)
        self._warnings: list[str] = []

    def warn(self, text: str) -> None:
        """Add a warning to the result."""
        self._warnings.append(text)

    def exit_json(self, **result: Any) -> NoReturn:
        """End with a result."""
        self._end(result)

    def fail_json(self, msg: str, **result: Any) -> NoReturn:
        """End as failed."""
        self._end({**result, "failed": True, "msg": msg})

    def run_command(self, args: list[str]) -> tuple[int, str, str]:
        """Run a command; (127, '', why) where there is no such program."""
        # Imported where they are used: most modules need neither, and each host and task would wait for both.
        import subprocess

        try:
            done = subprocess.run(  # noqa: S603 - whoever calls names the command
                args,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                check=False,
            )
        except OSError as error:
            return 127, "", str(error)
        return done.returncode, done.stdout, done.stderr

    def get_bin_path(self, name: str) -> str | None:
        """Return where a program lies; looks into the sbin directories too."""
        import shutil

        return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin")

    def _end(self, result: dict[str, Any]) -> NoReturn:
        if self._warnings:
            result["warnings"] = self._warnings
        # Here, not on the controller: what a host prints is on the screen with -vvv.
        secrets = sorted((text for text in self.no_log_values if text), key=len, reverse=True)
        sys.stdout.write(MARK + json.dumps(masked({"changed": False, **result}, secrets, self.mask)))
        sys.stdout.flush()
        sys.exit(0)


def masked(value: Any, secrets: list[str], mask: str) -> Any:
    """Return JSON data with `mask` in place of the texts in `secrets`."""
    # Not by `masking`, which would have to go to each host with each module; it is the controller that asks there
    # in which forms a secret may appear.
    if isinstance(value, dict):
        return {key: masked(item, secrets, mask) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [masked(item, secrets, mask) for item in value]
    if isinstance(value, str):
        for secret in secrets:
            value = value.replace(secret, mask)
    return value


def missing_required_lib(library: str, reason: str | None = None, url: str | None = None) -> str:
    """Say that the host's Python lacks a library."""
    more = "".join(f" {text}" for text in (reason, url and f"See {url}.") if text)
    return f"The Python library {library} is missing on {os.uname().nodename} for {sys.executable}.{more}"


def run(
    texts: dict[str, str],
    name: str,
    params: dict[str, Any],
    secrets: list[str],
    mask: str,
    check: bool,
    diff: bool,
) -> None:
    """Run the module `name`, the text of that name in `texts`, with `mask` for all `secrets` in its result."""
    HostModule.params, HostModule.secrets, HostModule.mask = params, secrets, mask
    HostModule.check_mode, HostModule._diff = check, diff
    basic = types.ModuleType("ansible.module_utils.basic")
    vars(basic).update(AnsibleModule=HostModule, missing_required_lib=missing_required_lib)
    sys.meta_path.insert(0, Sources(texts))
    sys.modules[basic.__name__] = basic
    exec(compile(texts[name], f"{name}.py", "exec"), {"__name__": "__main__"})  # noqa: S102 - our own text
