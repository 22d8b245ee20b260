# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""What stands in the way of releasing an application by its Compose files: everything, with lines and
fixes.
"""

from __future__ import annotations

import copy
import os
import re
import subprocess
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..masking.names import is_suspect
from ..masking.redactor import forms, secret_values
from ..model.environment import render, said_secret
from ..model.problems import Problem, near_miss, suggestion
from ..model.system import RELEASED, Service, System
from .files import Compose, as_list, mounts, needed_files, service_networks, with_texts
from .interpolate import filled
from .yaml import Path as Keys
from .yaml import dump

# Where a variable of the inventory stands: file and line.
Locate = Callable[[Keys], "tuple[str, int]"]

# Keys of a released service that tie it to one container, one host port or one project.
_IN_THE_WAY = {
    "ports": (
        "publishes ports; two colours cannot own the same port",
        "remove it: slipway publishes the port that app_services declares, on the private address",
    ),
    "container_name": ("has a fixed name; two colours cannot both have it", "remove it"),
    "links": ("uses links, which do not leave their project", "remove it: services find each other by name"),
    "external_links": (
        "uses external_links, which name containers",
        "remove it: use the service's name as host",
    ),
    "volumes_from": ("uses volumes_from, which names containers", "mount a named volume in both services"),
}
# Keys of a build: what slipway passes on, and what changes how fast or under which name, but not what is built.
_BUILD_KEYS = ("context", "dockerfile", "target", "args")
_BUILD_HARMLESS = (
    *("cache_from", "cache_to", "no_cache", "pull", "labels", "tags", "provenance", "sbom"),
    *("shm_size", "ulimits"),
)
# All others change what is built, or whether it can be. What to do instead:
_BUILD_INSTEAD = {
    "dockerfile_inline": "write it to a file, and name that file as dockerfile",
    "additional_contexts": "put what it names into context",
    "secrets": "only the secret 'ca' is passed on, by build_ca_file (docs/images.md); put what else it fetches "
    "into the source",
    "ssh": "put what it fetches into the source",
    "network": "remove it; for proxies set build_proxy (docs/images.md)",
    "extra_hosts": "use names that the controller resolves",
    "platforms": "remove it: images are built for the platform of the controller",
}
_SERVICE_KEYS = tuple(
    re.findall(
        r"\w+",
        "build cap_add cap_drop command configs container_name cpus depends_on deploy devices dns "
        "entrypoint env_file environment expose extends extra_hosts healthcheck hostname image init labels "
        "logging mem_limit networks network_mode ports privileged profiles pull_policy read_only restart "
        "secrets security_opt shm_size stop_grace_period stop_signal sysctls tmpfs ulimits user volumes "
        "working_dir test interval timeout retries start_period disable ",
    )
)
_TOP_KEYS = ("services", "networks", "volumes", "configs", "secrets", "name", "include")


def check(
    compose: Compose,
    system: System,
    provided: Collection[str],
    locate: Locate,
    ignored: Collection[str] = (),
) -> list[Problem]:
    """Return all that is wrong with the Compose files for this system, as far as slipway itself can tell.

    `provided` is the environment as texts, or the names of its variables alone; `locate` finds a variable of
    the inventory, `ignored` is app_services_ignored. `compose_says` adds what Compose itself refuses.
    """
    compose = with_texts(compose, provided if isinstance(provided, Mapping) else {})
    problems = list(compose.problems)
    problems += _undeclared(compose, system, locate, ignored)
    for service in system.services.values():
        if service.name in compose.services:
            problems += _service(compose, service)
    problems += _networks(compose, system)
    problems += _files(compose, system)
    problems += _variables(compose, system, {*provided, "COMPOSE_PROJECT_NAME"}, locate)
    return problems


def _undeclared(
    compose: Compose, system: System, locate: Locate, ignored: Collection[str]
) -> Iterator[Problem]:
    if not compose.complete:
        return
    meant = set()
    files = ", ".join(compose.files)
    for name in system.services:
        if name not in compose.services:
            missing = f"the Compose file ({files}) has no service '{name}'"
            others = set(compose.services) - set(system.services)
            meant.add(near_miss(name, others))
            fix = suggestion(name, others, f"it has: {', '.join(compose.services) or 'none'}")
            yield Problem(*locate(("app_services", name)), f"app_services.{name}", missing, fix)
    for name in ignored:
        if name not in compose.services:
            missing = f"names '{name}', which the Compose file ({files}) does not have"
            fix = suggestion(name, compose.services, "remove it")
            yield Problem(*locate(("app_services_ignored",)), "app_services_ignored", missing, fix)
    for name, service in compose.services.items():
        # Services with profiles are not part of a plain `docker compose up` either.
        if name in system.services or name in ignored or service.get("profiles"):
            continue
        if name in meant:  # said already, at the name that was meant to be this one
            continue
        fix = "declare it in app_services, or list it in app_services_ignored"
        problem = "is not in app_services: slipway would not know how to run it"
        yield compose.problem(("services", name), problem, fix)


def _service(compose: Compose, service: Service) -> Iterator[Problem]:
    own = compose.services[service.name]
    path: Keys = ("services", service.name)
    if service.kind in RELEASED:
        for key, (problem, fix) in _IN_THE_WAY.items():
            if own.get(key):
                yield compose.problem((*path, key), f"a {service.kind} service {problem}", fix)
        mode = str(own.get("network_mode") or "")
        if mode and mode != "none":
            problem = f"a {service.kind} service with network_mode: {mode} has no network of its own colour"
            yield compose.problem((*path, "network_mode"), problem, "remove it, or use networks")
        for name, settings in service_networks(own).items():
            for key in ("ipv4_address", "ipv6_address"):
                if settings.get(key):
                    where = (*path, "networks", name, key)
                    yield compose.problem(where, "is fixed; two colours cannot both have it", "remove it")
    if isinstance(own.get("build"), dict) and not service.image:
        yield from _build(compose, (*path, "build"), own["build"])
    image = service.image or str(own.get("image") or "")
    if service.kind == "stateful" and not service.image and "build" not in own:
        yield from _moving_tag(compose, path, filled(image, compose.texts))
    if not own.get("image") and not own.get("build") and not service.image and not own.get("extends"):
        yield compose.problem(path, "has neither image nor build", "add one, or an image in app_services")


def _build(compose: Compose, path: Keys, build: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield the keys of a build that would be lost, though the image is another one without them."""
    for key, value in build.items():
        if key in (*_BUILD_KEYS, *_BUILD_HARMLESS) or str(key).startswith("x-"):
            continue
        if not value or (key, value) == ("network", "default") or (key == "secrets" and _only_ca(value)):
            continue
        fix = _BUILD_INSTEAD.get(key, "remove it")
        yield compose.problem((*path, key), "is not passed on to the build by slipway", fix)


def _only_ca(value: Any) -> bool:
    """Tell whether the CA bundle, which slipway hands to every build, is the only secret of a build."""
    named = [one.get("source") if isinstance(one, dict) else one for one in as_list(value)]
    ids = [one.get("target") or one.get("source") if isinstance(one, dict) else one for one in as_list(value)]
    return all(one == "ca" for one in [*named, *ids])


def _moving_tag(compose: Compose, path: Keys, image: str) -> Iterator[Problem]:
    if image and is_moving(image):
        problem = f"image '{image}' of a stateful service can become another version by itself"
        yield compose.problem((*path, "image"), problem, "name the version, as in postgres:17")


def is_moving(image: str) -> bool:
    """Tell whether an image has no tag, or the tag `latest`, and no digest."""
    tag = image.rpartition("/")[2].partition(":")[2]
    return "@" not in image and tag in ("", "latest")


def _networks(compose: Compose, system: System) -> Iterator[Problem]:
    released = [one.name for one in system.of_kind(*RELEASED, "job")]
    used = {net for name in released for net in service_networks(compose.services.get(name, {}))}
    for name, network in compose.section("networks").items():
        ipam = network.get("ipam")
        if name in used and isinstance(ipam, dict) and ipam.get("config") and not network.get("external"):
            problem = "has fixed addresses; each colour needs a network of its own"
            yield compose.problem(("networks", name, "ipam", "config"), problem, "remove ipam.config")


def secret_names(texts: Mapping[str, str], contract: Mapping[str, Mapping[str, Any]]) -> set[str]:
    """Return the variables of the environment that must not end in an image or on a command line.

    These are those that the contract calls secret; where it does not say, those that look like one by name
    (`masking.names`) or value.
    """
    return {name for name, text in texts.items() if _is_secret(name, text, contract.get(name) or {})}


def _is_secret(name: str, text: str, rule: Mapping[str, Any]) -> bool:
    said = said_secret(rule)
    return is_suspect(name) or bool(secret_values({name: text})) if said is None else said


def secrets_in_images(
    compose: Compose,
    system: System,
    texts: Collection[str],
    secret: Collection[str],
    arguments: Mapping[str, Any],
) -> Iterator[Problem]:
    """Yield where a build or an image's name has a variable that only a secret would fill.

    `texts` is the environment, `secret` the names of its secrets, `arguments` app_build_args.
    """
    public = {name for name in texts if name not in secret}
    for service in system.services.values():
        own = compose.services.get(service.name)
        if service.image or not own:
            continue
        for key, text in _texts_for_images(own, arguments):
            for name in _only_secret(text, public, secret):
                yield compose.problem(("services", service.name, *key), *_told(name))
    for argument, value in arguments.items():
        for name in _only_secret(str(value), public, secret):
            yield Problem("app.yml", 0, f"app_build_args.{argument}", *_told(name))


def _texts_for_images(own: Mapping[str, Any], arguments: Mapping[str, Any]) -> Iterator[tuple[Keys, str]]:
    """Yield what of a service ends in an image or in the name of one, by key."""
    build = own.get("build")
    if not build:
        yield ("image",), str(own.get("image") or "")
        return
    for key in ("context", "dockerfile", "target"):
        yield ("build", key), str(build.get(key) or "")
    for name, value in (build.get("args") or {}).items():
        if name not in arguments:
            yield ("build", "args", name), f"${{{name}}}" if value is None else str(value)


def _only_secret(text: str, public: Collection[str], secret: Collection[str]) -> list[str]:
    return [name for name, _ in interpolations(text, public) if name in secret]


def _told(name: str) -> tuple[str, str]:
    return (
        f"uses ${{{name}}}, a secret: it would stay in the image's history and be seen on command lines",
        "hand it to the running service instead; if it is none, say so in "
        f"environment_contract.{name}: {{secret: false}}, or set the argument in app_build_args",
    )


def _files(compose: Compose, system: System) -> Iterator[Problem]:
    needed = {entry["path"]: entry for entry in needed_files(compose, system)}
    for path, entry in needed.items():
        outside = path.startswith("..")
        if outside:
            problem = f"{entry['why']} '{path}' lies outside the source"
            yield compose.problem(
                tuple(entry["key"]), problem, "move it into the source, or use an absolute path of the host"
            )
        elif not entry["exists"] and entry["why"] in ("env_file", "config", "secret"):
            yield compose.problem(
                tuple(entry["key"]), f"{entry['why']} '{path}' does not exist in the source", "add the file"
            )
    for service in system.services.values():
        for kind, source, read_only in mounts(compose.services.get(service.name, {})):
            inside = os.path.normpath(Path(compose.directory, source))
            if kind != "bind" or inside not in needed or needed[inside]["exists"] or inside.startswith(".."):
                continue
            if read_only:
                problem, fix = f"'{source}' does not exist in the source", "add the file, or correct the path"
            else:
                problem = f"'{source}' does not exist in the source: each release would start with it empty"
                fix = "use a named volume for data, or an absolute path of the host"
            yield compose.problem(("services", service.name, "volumes"), problem, fix)


def _variables(
    compose: Compose, system: System, provided: Collection[str], locate: Locate
) -> Iterator[Problem]:
    file, _ = locate(("environment_values",))
    extended = [document for file in compose.extended if (document := compose.read.get(file))]
    for document in [*compose.documents, *compose.included, *extended]:
        seen: set[tuple[str, int]] = set()
        for path, text in _texts(document.data, ()):
            for name, required in interpolations(text, provided):
                # Compose reads the services that are not used, too, but an empty text does not matter there.
                unused = path[0] == "services" and len(path) > 1 and path[1] not in system.services
                line = document.line(path)
                if (unused and not required) or (name, line) in seen:
                    continue
                seen.add((name, line))
                fix = suggestion(name, provided, "set it in environment_values") + f" ({file})"
                key = ".".join(str(part) for part in path)
                problem = f"uses ${{{name}}}, which has no default and is not in the environment"
                yield Problem(document.file, line, key, problem, fix)


def _texts(data: Any, path: Keys) -> Iterator[tuple[Keys, str]]:
    if isinstance(data, str):
        yield path, data
    elif isinstance(data, dict):
        for key, value in data.items():
            yield from _texts(value, (*path, key))
    elif isinstance(data, list):
        for number, value in enumerate(data):
            yield from _texts(value, (*path, number))


_VARIABLE = re.compile(r"\$(?:\$|([A-Za-z_]\w*)|\{([A-Za-z_]\w*)(:?[-?+])?)", re.ASCII)


def interpolations(text: str, provided: Collection[str] = ()) -> list[tuple[str, bool]]:
    """Return the variables that a text of a Compose file needs beyond those `provided`.

    Each comes with whether it is required (`${NAME:?...}`) rather than empty when missing. Defaults are read
    only where they are used.
    """
    found = []
    position = 0
    while match := _VARIABLE.search(text, position):
        position = match.end()
        name, operator = match[1] or match[2], match[3] or ""
        if not name:
            continue
        if operator.endswith(("-", "+")):
            if (name in provided) == operator.endswith("-"):
                position = _closing(text, position)
        elif name not in provided:
            found.append((name, operator.endswith("?")))
    return found


def _closing(text: str, position: int) -> int:
    depth = 1
    while position < len(text) and depth:
        depth += {"{": 1, "}": -1}.get(text[position], 0)
        position += 1
    return position


# What Compose says, and the key that it means.
_BLAME = (
    re.compile(r"validating \S+: (?P<path>\S+) Additional property (?P<unknown>\S+) is not allowed"),
    re.compile(r"validating \S+: (?P<path>\S+) (?P<said>.+)"),
    re.compile(r"error while interpolating (?P<path>\S+): (?P<said>.+)"),
    re.compile(r"(?P<said>invalid interpolation format) for (?P<path>\S+)\."),
    re.compile(r"error decoding '(?P<path>[^']+)': (?P<said>.+)"),
    re.compile(r'service "(?P<service>[^"]+)" (?P<said>refers to undefined (?P<kind>\w+) (?P<item>[^:\s]+))'),
    re.compile(r'service "(?P<service>[^"]+)" (?P<said>depends on undefined service "?(?P<item>[^":\s]+)"?)'),
    re.compile(r'service "(?P<service>[^"]+)" (?P<said>.+?)(: invalid compose project)?$'),
)
_MISSING = re.compile(r"required variable (\w+) is missing a value")
_ROUNDS = 20  # Compose names one mistake at a time; each is noted, taken out, and the rest is read again.


def compose_says(compose: Compose, system: System, texts: Mapping[str, str]) -> tuple[list[Problem], str]:
    """Return what `docker compose config` refuses, one problem for each mistake, and why it could not run, if so.

    `texts` is the effective environment; it is written to a private directory and removed again.
    """
    if not compose.complete:
        return [], ""
    copies = [copy.deepcopy(document.data) for document in compose.documents]
    for service in (service for data in copies for service in _services_of(data)):
        # The environment file that slipway writes does not exist yet, the others are checked; so are images.
        service.pop("env_file", None)
        if not service.get("build") and not service.get("extends"):
            service.setdefault("image", system.name)
    problems: list[Problem] = []
    with tempfile.TemporaryDirectory(prefix="slipway-") as directory:
        for _ in range(_ROUNDS):
            try:
                message = _config(compose, system, texts, copies, Path(directory))
            except FileNotFoundError:
                return [], "docker is not installed here"
            except subprocess.TimeoutExpired:
                return problems, "docker compose config did not answer within 20 s"
            if not message:
                break
            if missing := _MISSING.search(message):  # found by ourselves already, with all others of its kind
                texts = {**texts, missing[1]: "1"}
                continue
            if "is not a docker command" in message or "unknown shorthand flag" in message:
                return [], "docker has no Compose plugin here"
            problem, go_on = _blamed(compose, copies, message)
            problems.append(replace(problem, problem=_without_values(problem.problem, texts)))
            if not go_on:
                break
    return problems, ""


def _without_values(message: str, texts: Mapping[str, str]) -> str:
    """Return what Compose says without values of the environment: they may be secrets."""
    for name, text in sorted(texts.items(), key=lambda item: -len(item[1])):
        for shown in sorted(forms(text), key=len, reverse=True):
            # Short ones may be part of any word.
            hidden = rf"{re.escape(shown)}" if len(shown) >= 8 else rf"(?<=['\"]){re.escape(shown)}(?=['\"])"
            message = re.sub(hidden, f"(value of {name})", message) if shown else message
    return message


def _services_of(data: Any) -> list[dict[str, Any]]:
    services = data.get("services")
    found = services.values() if isinstance(services, dict) else ()
    return [service for service in found if isinstance(service, dict)]


def _config(
    compose: Compose, system: System, texts: Mapping[str, str], copies: list[Any], directory: Path
) -> str:
    """Return what Compose says against these data, or an empty text."""
    environment = directory / "environment"
    environment.write_text(render(texts), encoding="utf-8")
    arguments = ["--project-directory", str(compose.root / compose.directory), "--env-file", str(environment)]
    for number, data in enumerate(copies):
        file = directory / f"{number}.yaml"
        file.write_text(dump(data), encoding="utf-8")
        arguments += ["-f", str(file)]
    ran = subprocess.run(  # noqa: S603
        ["docker", "compose", "-p", system.name, *arguments, "--profile", "*", "config", "-q"],  # noqa: S607
        env={"PATH": os.environ.get("PATH", os.defpath), "HOME": os.environ.get("HOME", "/")},
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    lines = [line for line in ran.stderr.splitlines() if line.strip() and not line.startswith("time=")]
    return "" if ran.returncode == 0 else "\n".join(lines)


def _blamed(compose: Compose, copies: list[Any], message: str) -> tuple[Problem, bool]:
    """Return the problem that Compose means, and whether its cause could be taken out to read on."""
    match = next((found for pattern in _BLAME if (found := pattern.search(message))), None)
    if match is None:
        text = re.sub(r"\S*/slipway-\w+/", "", " ".join(message.split()))
        return Problem(compose.files[0], 0, "", f"Compose refuses it: {text}"), False
    parts = match.groupdict()
    said = str(parts.get("said") or "")
    if parts.get("item"):
        section = f"{parts['kind']}s" if parts.get("kind") else "depends_on"
        path: Keys = ("services", parts["service"], section)
        return compose.problem(path, said, "declare it, or correct the name"), _take_out(
            copies, path, parts["item"]
        )
    if parts.get("service"):
        return compose.problem(("services", parts["service"]), said), False
    around = () if parts["path"] == "(root)" else _keys(compose.data, parts["path"])
    unknown = parts.get("unknown")
    if not unknown:
        said = re.sub(rf"^{re.escape(parts['path'])} ", "", said)
        return compose.problem(around, f"Compose refuses it: {said}"), _take_out(copies, around)
    fix = suggestion(unknown, _SERVICE_KEYS if around else _TOP_KEYS, "remove it, or name it x-...")
    path = (*around, unknown)
    return compose.problem(path, "is not a key of Compose", fix), _take_out(copies, path)


def _keys(data: Any, dotted: str) -> Keys:
    """Return the path that Compose writes as `services.web.ports` or `services[web].ports`; names may
    contain dots.
    """
    rest = re.sub(r"\[([^\]]*)\]", r".\1", dotted)
    path: list[Any] = []
    while rest and isinstance(data, dict):
        key = next((key for key in data if rest == str(key) or rest.startswith(f"{key}.")), None)
        if key is None:
            break
        path.append(key)
        data, rest = data[key], rest[len(str(key)) + 1 :]
    return tuple(path)


def _take_out(copies: list[Any], path: Keys, item: str | None = None) -> bool:
    """Remove a key, or one item below it, from all files; tell whether any of them had it."""
    done = False
    for data in copies:
        for key in path[:-1]:
            data = data.get(key) if isinstance(data, dict) else None
        if not isinstance(data, dict) or not path or path[-1] not in data:
            continue
        value = data[path[-1]]
        if item is None:
            del data[path[-1]]
            done = True
        elif isinstance(value, dict):
            done |= value.pop(item, data) is not data
        else:
            left = [one for one in as_list(value) if _source(one) != item]
            done |= len(left) < len(as_list(value))
            data[path[-1]] = left
    return done


def _source(item: Any) -> str:
    return str(item.get("source")) if isinstance(item, dict) else str(item).partition(":")[0]
