# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""The application's own Compose files: what they say, and which files travel with them.

Runs on the controller. The files are shipped as they are, with their `${VARIABLES}` for Compose to fill in.
Here only paths are filled in, to know which files travel; images and builds are when a release is planned, from
what is no secret.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..model.problems import Problem
from ..model.system import System
from .interpolate import filled
from .yaml import RESET, Document, Override, parse
from .yaml import Path as Keys

# A build context or an include that is not in the source.
REMOTE = re.compile(r"[a-z][a-z0-9+.-]*://|git@|github\.com/")


@dataclass
class Compose:
    """The Compose files of an application; not `complete` where one of them could not be read.

    `services` and the like are merged over all files, each service in one form whatever its files use;
    `extends` and `include` are followed, and relative paths count from `directory`, whatever file they stand in.
    `names` are the files asked for, `texts` is the environment, `read` every file by name (None where it
    cannot be read), `extended` the files that others extend, each with the key that names it.
    """

    root: Path
    names: list[str] = field(default_factory=list)
    texts: dict[str, str] = field(default_factory=dict)
    documents: list[Document] = field(default_factory=list)
    included: list[Document] = field(default_factory=list)
    extended: dict[str, Keys] = field(default_factory=dict)
    read: dict[str, Document | None] = field(default_factory=dict)
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


def load(root: Path, files: Sequence[str], texts: Mapping[str, str] | None = None) -> Compose:
    """Read Compose files below `root`; unreadable ones are in `problems` of the result, with everything
    else read. Without `texts`, the environment, variables have their defaults.
    """
    compose = Compose(root, list(files), dict(texts or {}))
    found = [_read(compose, name) for name in files]
    compose.documents = [document for document in found if document]
    compose.data = _combined(compose, compose.documents, compose.directory)
    return compose


def with_texts(compose: Compose, texts: Mapping[str, str]) -> Compose:
    """Return the same files with their variables filled in from another environment."""
    return load(compose.root, compose.names, texts)


def _read(compose: Compose, name: str) -> Document | None:
    name = posixpath.normpath(name)
    if name not in compose.read:
        compose.read[name] = _parsed(compose, name)
    return compose.read[name]


def _parsed(compose: Compose, name: str) -> Document | None:
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
        compose.problems.append(Problem(name, line, key, "is there twice", "remove one: Compose refuses it"))
    return document


@dataclass(frozen=True)
class _Place:
    """A file, and the directory that relative paths in it count from."""

    compose: Compose
    document: Document
    base: str

    def filled(self, text: Any) -> str:
        """Return a text with its variables filled in."""
        return filled(str(text), self.compose.texts)

    def joined(self, path: Any) -> str:
        """Return a path as one from the root of the source."""
        return posixpath.normpath(posixpath.join(self.base, self.filled(path)))

    def moved(self, path: Any) -> str:
        """Return a path as one from the directory of the first file, which all of a result count from."""
        return self.rebased(self.filled(path))

    def rebased(self, text: str) -> str:
        """Return the same of a path that has no variables any more."""
        if self.base == self.compose.directory or not text or text.startswith(("/", "~")):
            return text
        return str(posixpath.relpath(posixpath.join(self.base, text), self.compose.directory or "."))

    def fault(self, path: Keys, text: str, fix: str) -> None:
        """Note a problem of a key, once: a service may be extended by several."""
        key = ".".join(str(part) for part in path)
        problem = Problem(self.document.file, self.document.line(path), key, text, fix)
        if problem not in self.compose.problems:
            self.compose.problems.append(problem)


def _combined(compose: Compose, documents: Sequence[Document], base: str) -> dict[str, Any]:
    """Return what files whose paths count from `base` say together, with what they include and extend."""
    data: dict[str, Any] = {}
    for document in documents:
        for names, directory in _includes(_Place(compose, document, base)):
            known = {one.file for one in [*compose.documents, *compose.included]}  # a file may include itself
            found = [one for name in names if name not in known and (one := _read(compose, name))]
            compose.included += found
            data = _merged(data, _combined(compose, found, directory))
    for document in documents:
        data = _merged(data, _resolved(_Place(compose, document, base)))
    return data


def _includes(place: _Place) -> list[tuple[list[str], str]]:
    """Return the files of each `include` and the directory that paths in them count from."""
    found = []
    for entry in as_list(place.document.data.get("include")):
        given = entry if isinstance(entry, dict) else {"path": entry}
        paths = [place.filled(path) for path in as_list(given.get("path"))]
        if any(REMOTE.match(path) for path in paths):
            text = (
                f"includes {', '.join(paths)}, which is not in the source: slipway cannot tell what it holds"
            )
            place.fault(("include",), text, "copy it into the source and include the copy")
            continue
        if given.get("env_file"):
            text = "has an env_file, whose variables slipway does not know"
            place.fault(("include",), text, "set them in environment_values, and remove env_file")
        names = [place.joined(path) for path in paths]
        own = given.get("project_directory")
        if names:
            found.append((names, _directory(place.joined(own)) if own else posixpath.dirname(names[0])))
    return found


def _directory(path: str) -> str:
    """Return a directory as `dirname` names it: the root of the source is an empty text."""
    return "" if path == "." else path


def _resolved(place: _Place) -> dict[str, Any]:
    """Return the data of a file with each service in one form, what it extends, and paths moved."""
    data = dict(place.document.data)
    if isinstance(data.get("services"), dict):
        data["services"] = {name: _extended(place, name, ()) for name in data["services"]}
    for section in ("configs", "secrets"):
        if isinstance(data.get(section), dict):
            data[section] = {name: _with_file(place, entry) for name, entry in data[section].items()}
    return data


def _with_file(place: _Place, entry: Any) -> Any:
    """Return a config or secret with its file moved."""
    if not isinstance(entry, dict) or not entry.get("file"):
        return entry
    return {**entry, "file": place.moved(entry["file"])}


def _extended(place: _Place, name: Any, seen: tuple[Any, ...]) -> Any:
    """Return a service of a file in one form, with what it extends, which may stand in another file."""
    services = place.document.data.get("services")
    service = services.get(name) if isinstance(services, dict) and isinstance(name, Hashable) else None
    if isinstance(service, Override) and isinstance(service.value, dict):
        return Override(_merged(None, _canonical(place, name, service.value)))
    if not isinstance(service, dict):
        return service
    own = _canonical(place, name, service)
    extends = own.pop("extends", None)
    here = (place.document.file, name)
    if not extends or here in seen:
        return own
    target = extends if isinstance(extends, dict) else {"service": extends}
    other = _other(place, name, target["file"]) if target.get("file") else place
    inherited = _extended(other, target.get("service"), (*seen, here)) if other else None
    return _merged(inherited or {}, own)


def _other(place: _Place, name: Any, file: Any) -> _Place | None:
    """Return the file that a service extends; paths in it count from its own directory."""
    path = place.joined(file)
    place.compose.extended.setdefault(path, ("services", name, "extends", "file"))
    document = _read(place.compose, path)
    return _Place(place.compose, document, posixpath.dirname(path)) if document else None


def _canonical(place: _Place, name: Any, service: Mapping[str, Any]) -> dict[str, Any]:
    """Return a service in the one form that can be merged: Compose has short and long ones for many keys."""
    forms: dict[str, Callable[[Any], Any]] = {
        "build": lambda value: _built(place, name, value),
        "env_file": lambda value: _env_files(place, value),
        "volumes": lambda value: _volumes(place, value),
        "networks": lambda value: _named(value, {}),
        "depends_on": lambda value: _named(value, {"condition": "service_started"}),
        "environment": _settings,
        "labels": _settings,
        # A later file replaces these lists; all others it makes longer.
        "command": Override,
        "entrypoint": Override,
    }
    return {key: _formed(forms[key], value) if key in forms else value for key, value in service.items()}


def _built(place: _Place, name: Any, value: Any) -> dict[str, Any]:
    build = dict(value) if isinstance(value, dict) else {"context": str(value)}
    if "args" in build:
        build["args"] = _formed(_settings, build["args"])
    context = build.get("context")
    moves = isinstance(context, str) and place.base != place.compose.directory
    if not moves or REMOTE.match(str(context)) or str(context).startswith(("/", "~")):
        return build
    # Not filled in: only public values may do so, and which those are is known when a release is planned.
    if str(context).startswith("$"):
        text = (
            f"starts with a variable, so that slipway cannot tell whether it counts from {place.base or '.'}"
        )
        place.fault(("services", name, "build"), text, f"write ./{context}, or move it to the first file")
        return build
    path = posixpath.join(place.base, str(context))
    return {**build, "context": posixpath.relpath(path, place.compose.directory or ".")}


def _env_files(place: _Place, value: Any) -> list[dict[str, Any]]:
    entries = [entry if isinstance(entry, dict) else {"path": entry} for entry in as_list(value)]
    return [{**entry, "path": place.moved(entry.get("path") or "")} for entry in entries]


def _volumes(place: _Place, value: Any) -> dict[str, Any]:
    """Return volumes by target: a later file replaces what an earlier one mounts there."""
    volumes = {}
    for item in as_list(value):
        entry = _volume(place, item)
        if entry["type"] == "bind":
            entry["source"] = place.rebased(entry["source"])
        volumes[posixpath.normpath(str(entry.get("target")))] = Override(entry)
    return volumes


def _volume(place: _Place, item: Any) -> dict[str, Any]:
    """Return a volume of a service in the long form, its variables filled in."""
    if isinstance(item, dict):
        source = place.filled(item.get("source") or "")
        return {**item, "type": str(item.get("type", "volume")), "source": source}
    parts = place.filled(item).split(":")
    source = parts[0] if len(parts) > 1 else ""
    kind = "bind" if source.startswith((".", "/", "~")) or "/" in source else "volume"
    read_only = len(parts) > 2 and "ro" in parts[2].split(",")
    return {"type": kind, "source": source, "target": parts[min(1, len(parts) - 1)], "read_only": read_only}


def _formed(form: Callable[[Any], Any], value: Any) -> Any:
    if isinstance(value, Override):
        # Into nothing, so that no other mark is left inside.
        return Override(_merged(None, form(value.value)))
    return value if value is None or value is RESET else form(value)


def _named(value: Any, default: Mapping[str, Any]) -> dict[str, Any]:
    """Return what may be a list of names as a mapping."""
    if isinstance(value, dict):
        return {str(name): dict(default) if item is None else item for name, item in value.items()}
    return {str(name): dict(default) for name in as_list(value)}


def _settings(value: Any) -> dict[str, Any]:
    """Return NAME=value as a mapping, in which a NAME without value replaces one that has a value."""
    return {name: Override(None) if item is None else item for name, item in as_mapping(value).items()}


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
    volumes = service.get("volumes") or {}
    return [(one["type"], one["source"], bool(one.get("read_only"))) for one in volumes.values()]


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
    for name, service in compose.services.items():
        if name not in system.services:
            continue
        for kind, source, _ in mounts(service):
            if kind == "bind":
                wanted.append((source, "bind mount", ("services", name, "volumes")))
        for entry in as_list(service.get("env_file")):
            if not _left_out(compose, system, entry):
                wanted.append((entry["path"], "env_file", ("services", name, "env_file")))
    for section in ("configs", "secrets"):
        for name, entry in compose.section(section).items():
            if entry.get("file"):
                wanted.append((str(entry["file"]), section[:-1], (section, name, "file")))
    # A variable is left in a path only where it cannot be filled in.
    local = [one for one in wanted if one[0] and not one[0].startswith(("/", "~")) and "$" not in one[0]]
    files: list[tuple[str, str, Keys]] = [(file, "Compose file", ()) for file in compose.files]
    files += [(document.file, "include", ("include",)) for document in compose.included]
    files += [(posixpath.normpath(posixpath.join(base, path)), why, key) for path, why, key in local]
    files += [(file, "extends", key) for file, key in compose.extended.items()]
    found: dict[str, dict[str, Any]] = {}
    for path, why, keys in files:
        exists = (compose.root / path).exists()
        found.setdefault(path, {"path": path, "why": why, "exists": exists, "key": list(keys)})
    return list(found.values())


def _left_out(compose: Compose, system: System, entry: Mapping[str, Any]) -> bool:
    """Tell whether an env_file does not travel: slipway writes it, or Compose does without it."""
    if posixpath.normpath(entry["path"]) == posixpath.normpath(system.environment_file):
        return True
    return entry.get("required") is False and not (compose.root / compose.directory / entry["path"]).exists()


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
