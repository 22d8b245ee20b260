# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""The application's own Compose files: what they say, which files travel with them, what has to be built.

Runs on the controller. Nothing is interpolated: `${VARIABLES}` stay as they are written, so that what is
made of these files keeps them for Compose to fill in.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .problems import Problem
from .system import System
from .yamlfile import RESET, Document, Override, parse
from .yamlfile import Path as Keys

_REMOTE = re.compile(r"[a-z][a-z0-9+.-]*://|git@|github\.com/")


@dataclass
class Compose:
    """The Compose files of an application; not `complete` where one of them could not be read.

    `services` and the like are merged over all files; `extends` and `include` are followed.
    """

    root: Path
    documents: list[Document] = field(default_factory=list)
    included: list[Document] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    data: dict[str, Any] = field(default_factory=dict)
    complete: bool = True

    @property
    def files(self) -> list[str]:
        """The files that are named by -f, relative to the root of the source."""
        return [document.file for document in self.documents]

    @property
    def directory(self) -> str:
        """The directory that relative paths of the files start from, relative to the root ('' for the
        root itself).
        """
        return posixpath.dirname(self.files[0]) if self.documents else ""

    @property
    def services(self) -> dict[str, dict[str, Any]]:
        """The services by name."""
        return self.section("services")

    def section(self, name: str) -> dict[str, dict[str, Any]]:
        """Return a top-level section; what is empty or not a mapping is an empty mapping."""
        found = self.data.get(name)
        if not isinstance(found, dict):
            return {}
        return {str(key): value if isinstance(value, dict) else {} for key, value in found.items()}

    def locate(self, *path: Any) -> tuple[str, int]:
        """Return file and line of a key: in the last file that has it, else of the nearest key around it."""
        for length in range(len(path), 0, -1):
            for document in [*reversed(self.documents), *reversed(self.included)]:
                if path[:length] in document.lines:
                    return document.file, document.lines[path[:length]]
        return (self.files[0] if self.documents else ""), 0

    def problem(self, path: Keys, text: str, fix: str = "") -> Problem:
        """Return a problem that stands at a key."""
        file, line = self.locate(*path)
        return Problem(file, line, ".".join(str(part) for part in path), text, fix)


def load(root: Path, files: Sequence[str]) -> Compose:
    """Read Compose files below `root`; unreadable ones are in `problems` of the result, with everything
    else read.
    """
    compose = Compose(root)
    for name in files:
        document = _read(compose, name)
        if document is not None:
            compose.documents.append(document)
            for include in _includes(document):
                found = _read(compose, posixpath.join(posixpath.dirname(name), include))
                if found is not None:
                    compose.included.append(found)
    for document in [*compose.included, *compose.documents]:
        services = document.data.get("services")
        resolved = {}
        if isinstance(services, dict):
            extended = {name: _extended(compose, document, name, ()) for name in services}
            resolved = {"services": extended}
        compose.data = _merged(compose.data, {**document.data, **resolved})
    return compose


def _read(compose: Compose, name: str) -> Document | None:
    name = posixpath.normpath(name)
    document, fault = None, None
    try:
        document = parse((compose.root / name).read_text(encoding="utf-8"), name)
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is not UTF-8 text"
        fix = "correct app_source.compose, or the file"
        fault = Problem(name, 0, "", f"cannot be read: {why} (looked in {compose.root})", fix)
    if document and document.error:
        fault = Problem(name, document.error_line, "", f"is not YAML: {document.error}")
    elif document and not isinstance(document.data, dict):
        fault = Problem(name, 1, "", "is not a Compose file: expected a mapping", "write services:")
    if fault or not document:
        compose.problems += [fault] if fault else []
        compose.complete = False
        return None
    for path, line in document.duplicates:
        key = ".".join(str(part) for part in path)
        compose.problems.append(Problem(name, line, key, "stands twice", "remove one: Compose refuses it"))
    return document


def _includes(document: Document) -> list[str]:
    found: list[str] = []
    for entry in as_list(document.data.get("include")):
        found += [str(path) for path in as_list(entry.get("path") if isinstance(entry, dict) else entry)]
    return [path for path in found if not _REMOTE.match(path)]


def _merged(base: Any, over: Any) -> Any:
    """Merge two Compose values the way Compose does, but for lists whose items have keys of their own."""
    if over is RESET or isinstance(over, Override):
        return over.value if isinstance(over, Override) else RESET
    if isinstance(over, dict):
        base = base if isinstance(base, dict) else {}
        both = {**base, **{key: _merged(base.get(key), value) for key, value in over.items()}}
        return {key: value for key, value in both.items() if value is not RESET}
    if isinstance(base, list) and isinstance(over, list):
        return base + [item for item in over if item not in base]
    return base if over is None else over


def _extended(compose: Compose, document: Document, name: Any, seen: tuple[Any, ...]) -> Any:
    """Return a service of a file with what it extends, which may stand in another file."""
    services = document.data.get("services")
    service = services.get(name) if isinstance(services, dict) else None
    if not isinstance(service, dict) or not service.get("extends") or (document.file, name) in seen:
        return service
    extends = service["extends"]
    target = extends if isinstance(extends, dict) else {"service": extends}
    base: Any = None
    other: Document | None = document
    if target.get("file"):
        other = _read(compose, posixpath.join(posixpath.dirname(document.file), str(target["file"])))
    if other:
        base = _extended(compose, other, target.get("service"), (*seen, (document.file, name)))
    return _merged(base or {}, {key: value for key, value in service.items() if key != "extends"})


def as_list(value: Any) -> list[Any]:
    """Return a list: the value itself, its only item, or nothing."""
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def as_mapping(value: Any) -> dict[str, Any]:
    """Return what Compose lets one write as a mapping or as a list of NAME=value; a bare NAME has the
    value None.
    """
    if isinstance(value, dict):
        return {str(key): item for key, item in value.items()}
    pairs = [str(item).partition("=") for item in as_list(value)]
    return {name: text if mark else None for name, mark, text in pairs}


def mounts(service: Mapping[str, Any]) -> list[tuple[str, str, bool]]:
    """Return the volumes of a service as (type, source, read-only); type is bind, volume, tmpfs, or what
    is declared.
    """
    found = []
    for item in as_list(service.get("volumes")):
        if isinstance(item, dict):
            found.append(
                (str(item.get("type", "volume")), str(item.get("source") or ""), bool(item.get("read_only")))
            )
            continue
        parts = re.sub(r"\$\{[^}]*\}", lambda match: match.group().replace(":", "\0"), str(item)).split(":")
        source = parts[0].replace("\0", ":") if len(parts) > 1 else ""
        kind = "bind" if source.startswith((".", "/", "~")) or "/" in source else "volume"
        found.append((kind, source, len(parts) > 2 and "ro" in parts[2].split(",")))
    return found


def service_networks(service: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the networks of a service and what it says of each; `default` where it names none."""
    if service.get("network_mode"):
        return {}
    named = service.get("networks")
    if isinstance(named, dict):
        return {str(name): value if isinstance(value, dict) else {} for name, value in named.items()}
    return {str(name): {} for name in as_list(named)} or {"default": {}}


def needed_files(compose: Compose, system: System) -> list[dict[str, Any]]:
    """Return what has to lie beside the Compose files on a host: `{path, why, exists, key}`.

    Relative bind mounts, environment files (but not the one that slipway writes), the files of configs and
    secrets, and what is extended or included. `path` is relative to the root; it starts with `..` where it
    lies outside.
    """
    wanted: list[tuple[str, str, Keys]] = []
    base = compose.directory
    for document in compose.documents:
        wanted.append((document.file, "Compose file", ()))
        for include in _includes(document):
            wanted.append(
                (posixpath.join(posixpath.dirname(document.file), include), "include", ("include",))
            )
    for name, service in compose.services.items():
        if name not in system.services:
            continue
        for kind, source, _ in mounts(service):
            if kind == "bind":
                wanted.append((source, "bind mount", ("services", name, "volumes")))
        for entry in as_list(service.get("env_file")):
            path = str(entry.get("path", "") if isinstance(entry, dict) else entry)
            if posixpath.normpath(path) != posixpath.normpath(system.environment_file):
                wanted.append((path, "env_file", ("services", name, "env_file")))
    for section in ("configs", "secrets"):
        for name, entry in compose.section(section).items():
            if entry.get("file"):
                wanted.append((str(entry["file"]), section[:-1], (section, name, "file")))
    for document in [*compose.documents, *compose.included]:
        services = document.data.get("services")
        for name, service in services.items() if isinstance(services, dict) else ():
            extends = service.get("extends") if isinstance(service, dict) else None
            if isinstance(extends, dict) and extends.get("file"):
                wanted.append((str(extends["file"]), "extends", ("services", name, "extends", "file")))
    found: dict[str, dict[str, Any]] = {}
    for path, why, key in wanted:
        if path.startswith(("/", "~")) or "$" in path or not path:
            continue
        inside = posixpath.normpath(
            path if why in ("Compose file", "include") else posixpath.join(base, path)
        )
        exists = (compose.root / inside).exists()
        found.setdefault(inside, {"path": inside, "why": why, "exists": exists, "key": list(key)})
    return list(found.values())


def build_plan(
    compose: Compose, system: System, revision: str, arguments: Mapping[str, Any] | None = None
) -> list[dict[str, Any]]:
    """Return the images to build: `{service, image, services, build}`, one for all equal builds.

    `image` is `<app_name>-<service>:<first 12 of the revision>` after the first service of that build;
    `services` are those that run it, by their own `build` or by the name that the Compose file gives the
    image. `build` is Compose's section as a mapping, its `context` relative to the root of the source (or a
    URL), its `args` a mapping that `arguments` (app_build_args) overrides; the value None is taken from the
    environment by Docker. Services with an `image` in app_services are not built.
    """
    plans: dict[str, dict[str, Any]] = {}
    names: dict[str, dict[str, Any]] = {}
    declared = {
        name: service
        for name, service in compose.services.items()
        if name in system.services and not system.services[name].image
    }
    for name, service in declared.items():
        build = service.get("build")
        if not build:
            continue
        build = dict(build) if isinstance(build, dict) else {"context": str(build)}
        context = str(build.get("context") or ".")
        build["context"] = (
            context
            if _REMOTE.match(context)
            else posixpath.normpath(posixpath.join(compose.directory, context))
        )
        build["args"] = {**as_mapping(build.get("args")), **(arguments or {})}
        same = json.dumps(build, sort_keys=True, default=str)
        plan = plans.setdefault(
            same,
            {
                "service": name,
                "image": f"{system.name}-{name}:{revision[:12]}",
                "services": [],
                "build": build,
            },
        )
        plan["services"].append(name)
        if service.get("image"):
            names.setdefault(str(service["image"]), plan)
    for name, service in declared.items():
        if not service.get("build") and str(service.get("image")) in names:
            names[str(service["image"])]["services"].append(name)
    return list(plans.values())


def images(compose: Compose, system: System, plan: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return the image of every declared service: its replacement, what is built for it, or what its file
    names.
    """
    built = {name: str(entry["image"]) for entry in plan for name in entry["services"]}
    found = {
        name: service.image or built.get(name) or str(compose.services.get(name, {}).get("image") or "")
        for name, service in system.services.items()
    }
    return {name: image for name, image in found.items() if image}


def minimal(system: System, environment: bool) -> dict[str, Any]:
    """Return the Compose file of a system that has none: images only.

    `environment`: there are variables to pass on. A stateful service keeps its data in the volume
    `<service>-data`.
    """
    services: dict[str, Any] = {}
    volumes: dict[str, Any] = {}
    for service in system.services.values():
        entry: dict[str, Any] = {"image": service.image, "security_opt": ["no-new-privileges:true"]}
        if service.command:
            entry["command"] = service.command
        if environment:
            entry["env_file"] = [system.environment_file]
        if service.data:
            entry["volumes"] = [f"{service.name}-data:{service.data}"]
            volumes[f"{service.name}-data"] = {}
        services[service.name] = entry
    return {"services": services, **({"volumes": volumes} if volumes else {})}
