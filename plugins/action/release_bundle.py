# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""Put together the files a release runs from on one host, and have the module release_files write them there."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import Any

import ansible.module_utils
from ansible.errors import AnsibleActionFail

# Ansible ships our module_utils to hosts, but does not put them where its own process finds them.
_OURS = str(Path(__file__).resolve().parents[2] / "module_utils")
if _OURS not in ansible.module_utils.__path__:
    ansible.module_utils.__path__.append(_OURS)

from ansible.module_utils.slipway.compose import files as compose_files
from ansible.module_utils.slipway.compose import override
from ansible.module_utils.slipway.compose.yaml import dump
from ansible.module_utils.slipway.declaration import read as declared
from ansible.module_utils.slipway.lean.controller import LeanAction, prepared
from ansible.module_utils.slipway.model import environment
from ansible.module_utils.slipway.model.colours import COLOURS
from ansible.module_utils.slipway.model.system import System

prepared("release_files")


class ActionModule(LeanAction):  # type: ignore[misc]
    """Renders on the controller, writes on the host."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the result of release_files."""
        # Ansible's own kinds of text and number are of no use to YAML and JSON writers.
        arguments = json.loads(json.dumps(self._task.args))
        release, host, root = arguments["release"], arguments["host"], arguments["root"]
        found = declared.read(arguments, task_vars or {})
        system, compose = found.system, found.compose
        source = SourceFiles(found.root, compose, system)
        shared = source.texts
        env_file = str(Path(compose.directory) / system.environment_file)
        shared[env_file] = environment.render(found.texts)
        made_beforehand = override.resources(compose, system, host)
        spec: dict[str, Any] = {
            "files": compose.files,
            "env_file": env_file,
            "directory": compose.directory,
            **made_beforehand,
        }
        files: dict[str, str] = {}
        directory = f"releases/{release['id']}"
        if host in system.app_hosts:
            files.update({f"{directory}/{name}": text for name, text in shared.items()})
            running = {service.name for service in system.released_on(host)}
            for colour in COLOURS:
                over = override.colour_override(
                    compose, system, colour, host, release["id"], release["images"]
                )
                files[f"{directory}/slipway-{colour}.yaml"] = dump(over)
            spec["web"] = [name for name in release["services"]["web"] if name in running]
            spec["worker"] = [name for name in release["services"]["worker"] if name in running]
            spec["replicas"] = {service.name: service.replicas for service in system.released_on(host)}
            files[f"{directory}/colour.json"] = json.dumps(spec, indent=2) + "\n"
        if system.stateful_on(host):
            files.update({f"stateful/{name}": text for name, text in shared.items()})
            files["stateful/slipway.yaml"] = dump(
                override.stateful_override(compose, system, host, release["images"])
            )
            services = [service.name for service in system.stateful_on(host)]
            files["stateful/project.json"] = json.dumps({**spec, "services": services}, indent=2) + "\n"
        secret = {name: files.pop(name) for name in list(files) if name.endswith(f"/{env_file}")}
        before = release.get("previous_content")
        module_arguments = {
            "directory": root,
            **({"follows": {"new": directory, "old": f"releases/{before}"}} if before else {}),
            "files": files,
            "secret_files": secret,
            **{
                option: [
                    name
                    for name in files
                    if name.partition("/")[2].removeprefix(f"{release['id']}/") in names
                ]
                for option, names in (
                    ("base64", source.binary),
                    ("executable", source.executable),
                    ("hidden", source.hidden),
                )
            },
        }
        result: dict[str, Any] = self.lean("release_files", module_arguments, task_vars or {})
        return result


class SourceFiles:
    """The source's files that must lie on the host: `texts` by path, and which of them are base64 (`binary`), programs
    (`executable`), and not to be shown (`hidden`: secrets, and environment files, which hold some).
    """

    def __init__(self, root: Path, compose: Any, system: System) -> None:
        self.root = root
        self.texts: dict[str, str] = {}
        self.binary: set[str] = set()
        self.executable: set[str] = set()
        self.hidden: set[str] = set()
        for needed in compose_files.needed_files(compose, system):
            path = root / needed["path"]
            if needed["path"].startswith(".."):
                raise AnsibleActionFail(
                    f"{needed['path']} ({needed['why']}) lies outside the source, so it can't be shipped with it."
                )
            for one in sorted(path.rglob("*")) if path.is_dir() else [path]:
                if one.is_file():
                    self._add(one, needed["why"] in ("secret", "env_file"))

    def _add(self, path: Path, hidden: bool) -> None:
        name = str(path.relative_to(self.root))
        try:
            self.texts[name] = path.read_text()
        except UnicodeDecodeError:
            self.texts[name] = base64.b64encode(path.read_bytes()).decode()
            self.binary.add(name)
        if os.access(path, os.X_OK):
            self.executable.add(name)
        if hidden:
            self.hidden.add(name)
