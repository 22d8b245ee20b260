# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""The files a release runs from on one host, put together on the controller."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..compose import files as compose_files
from ..compose import override
from ..compose.yaml import dump
from ..declaration.read import Declared
from ..model import environment
from ..model.colours import COLOURS
from ..model.system import System


class BundleError(Exception):
    """A file can't be shipped; the message says which and why."""


def bundle(found: Declared, release: Mapping[str, Any], host: str, root: str) -> dict[str, Any]:
    """Return the options of release_files that bring a host the files of `release`, below the directory `root`.

    Raises BundleError.
    """
    system, compose = found.system, found.compose
    source = SourceFiles(found.root, compose, system)
    shared = source.texts
    env_file = str(Path(compose.directory) / system.environment_file)
    shared[env_file] = environment.render(found.texts)
    spec: dict[str, Any] = {
        "files": compose.files,
        "env_file": env_file,
        "directory": compose.directory,
        **override.resources(compose, system, host),
    }
    directory = f"releases/{release['id']}"
    files: dict[str, str] = {}
    if host in system.app_hosts:
        files.update(_of_a_colour(found, release, host, shared, spec, directory))
    if system.stateful_on(host):
        files.update(_of_the_stateful(found, release, host, shared, spec))
    secret = {name: files.pop(name) for name in list(files) if name.endswith(f"/{env_file}")}
    before = release.get("previous_content")
    return {
        "directory": root,
        **({"follows": {"new": directory, "old": f"releases/{before}"}} if before else {}),
        "files": files,
        "secret_files": secret,
        **{
            option: [
                name for name in files if name.partition("/")[2].removeprefix(f"{release['id']}/") in names
            ]
            for option, names in (
                ("base64", source.binary),
                ("executable", source.executable),
                ("hidden", source.hidden),
            )
        },
    }


def _of_a_colour(
    found: Declared,
    release: Mapping[str, Any],
    host: str,
    shared: Mapping[str, str],
    spec: Mapping[str, Any],
    directory: str,
) -> dict[str, str]:
    system = found.system
    files = {f"{directory}/{name}": text for name, text in shared.items()}
    for colour in COLOURS:
        over = override.colour_override(found.compose, system, colour, host, release["id"], release["images"])
        files[f"{directory}/slipway-{colour}.yaml"] = dump(over)
    running = {service.name: service.replicas for service in system.released_on(host)}
    described = {
        **spec,
        **{
            kind: [name for name in release["services"][kind] if name in running]
            for kind in ("web", "worker")
        },
        "replicas": running,
    }
    files[f"{directory}/colour.json"] = json.dumps(described, indent=2) + "\n"
    return files


def _of_the_stateful(
    found: Declared, release: Mapping[str, Any], host: str, shared: Mapping[str, str], spec: Mapping[str, Any]
) -> dict[str, str]:
    system = found.system
    files = {f"stateful/{name}": text for name, text in shared.items()}
    over = override.stateful_override(found.compose, system, host, release["images"])
    files["stateful/slipway.yaml"] = dump(over)
    services = [service.name for service in system.stateful_on(host)]
    files["stateful/project.json"] = json.dumps({**spec, "services": services}, indent=2) + "\n"
    return files


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
                raise BundleError(
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
