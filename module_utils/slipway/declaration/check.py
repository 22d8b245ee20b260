# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""Is the declaration of a system whole and free of contradictions? Everything at once, each with file and
line.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..compose.check import check as check_compose
from ..compose.check import compose_says, is_moving
from ..compose.files import Compose, load
from ..compose.yaml import Path as Keys
from ..model import environment
from ..model.colours import COLOURS
from ..model.problems import Problem, suggestion
from ..model.system import MAX_WEB_SERVICES, Service, System
from . import role_variables
from .locate import Locator
from .schema import (
    SERVICE_KINDS,
    Fault,
    is_own,
    schema_faults,
)


@dataclass
class Declaration:
    """What is checked.

    `addresses` are the hosts' addresses, None where none is known; `untemplated` are variables that could
    not be templated: path and reason; `source` is the directory that holds the application's source;
    `role_options` the options of the roles by name.
    """

    variables: Mapping[str, Any]
    groups: Mapping[str, Sequence[str]]
    addresses: Mapping[str, str] | None
    locator: Locator
    untemplated: Sequence[tuple[Keys, str]] = ()
    duplicates: Sequence[Problem] = ()
    source: Path | None = None
    role_options: Mapping[str, dict[str, Any]] = field(default_factory=dict)


@dataclass
class Result:
    """The problems, what could not be checked, and, where there are no problems, the system itself."""

    problems: list[Problem]
    notes: list[str] = field(default_factory=list)
    system: System | None = None
    compose: Compose | None = None


def check(declaration: Declaration) -> Result:
    """Return everything that is wrong with a declaration; what can be judged in spite of a mistake is judged."""
    variables, locator = declaration.variables, declaration.locator
    own = {name: value for name, value in variables.items() if is_own(name)}
    unknown = {path for path, _ in declaration.untemplated}
    faults = [(path, f"cannot be read: {why}", "") for path, why in declaration.untemplated]
    faults += [fault for fault in schema_faults(own) if fault[0] not in unknown]
    faults += role_variables.faults(variables, declaration.role_options, locator.declares)
    valid = _valid_parts(own, faults)
    system = System.of(valid, declaration.groups, declaration.addresses or {})
    faults += _rules(own, system)
    faults += _hosts(declaration, system)
    faults += [
        fault for fault in _environment(variables) if ("environment_values", fault[0][1]) not in unknown
    ]
    problems = [*declaration.duplicates, *(_problem(locator, path, text, fix) for path, text, fix in faults)]
    result = Result(problems)
    if declaration.source and isinstance(valid.get("app_source"), dict):
        result.compose = load(declaration.source, valid["app_source"].get("compose") or ["compose.yaml"])
        texts = {**dict.fromkeys((str(path[-1]) for path in unknown), ""), **_texts(variables)}
        ignored = valid.get("app_services_ignored") or []
        problems += check_compose(result.compose, _all_named(system, own), texts, locator.find, ignored)
        said, note = compose_says(result.compose, system, texts)
        places = {(problem.file, problem.line, problem.key) for problem in problems}
        problems += [problem for problem in said if (problem.file, problem.line, problem.key) not in places]
        result.notes += [f"the Compose file was not read by Compose itself: {note}"] if note else []
    if not problems:
        result.system = system
    return result


def _problem(locator: Locator, path: Keys, text: str, fix: str) -> Problem:
    return Problem(*locator.find(path), ".".join(str(part) for part in path), text, fix)


def _valid_parts(own: Mapping[str, Any], faults: Sequence[Fault]) -> dict[str, Any]:
    """Return the variables without those parts that violate the schema, so that the rest can be judged."""
    bad_services = {path[1] for path, *_ in faults if path[0] == "app_services" and len(path) > 1}
    bad = {path[0] for path, *_ in faults if path[0] not in ("app_services", "environment_contract")}
    valid = {name: value for name, value in own.items() if name not in bad and value is not None}
    services = own.get("app_services")
    valid["app_services"] = {
        name: service
        for name, service in (services.items() if isinstance(services, dict) else ())
        if name not in bad_services
    }
    return {"app_name": "invalid", **valid}


def _all_named(system: System, own: Mapping[str, Any]) -> System:
    """Return the system with the faulty services, too, by name and kind alone: the Compose file is not to
    blame.
    """
    services = own.get("app_services")
    known = dict(system.services)
    for name, service in services.items() if isinstance(services, dict) else ():
        kind = service.get("kind") if isinstance(service, dict) else None
        known.setdefault(str(name), Service(str(name), str(kind) if kind in SERVICE_KINDS else "unknown"))
    return System(system.name, system.port_base, known, environment_file=system.environment_file)


def _rules(own: Mapping[str, Any], system: System) -> Iterator[Fault]:
    """Yield what no schema can say: what belongs together, and what excludes each other."""
    source = own.get("app_source")
    if isinstance(source, dict):
        if ("repo" in source) == ("path" in source):
            yield (
                ("app_source",),
                "needs either repo or path",
                "repo: a git repository; path: a plain directory",
            )
        if "repo" in source and not own.get("app_version"):
            yield (
                ("app_version",),
                "is missing",
                "name the branch, tag or commit of app_source.repo to release",
            )
    elif own.get("app_build_args"):
        yield ("app_build_args",), "has no effect without app_source", "remove it, or add app_source"
    web = system.of_kind("web")
    services = own.get("app_services")
    kinds = (
        [one.get("kind") for one in services.values() if isinstance(one, dict)]
        if isinstance(services, dict)
        else []
    )
    if kinds and not {"web", None} & set(kinds):
        yield (
            ("app_services",),
            "has no web service, and a release is verified and switched by its web services",
            "declare one of kind web; a worker can answer a health check, too",
        )
    migrations = own.get("database_migrations")
    if isinstance(migrations, dict) and isinstance(own.get("app_services"), dict):
        named = migrations.get("service")
        if named and named not in own["app_services"]:
            yield (
                ("database_migrations", "service"),
                f"'{named}' is not in app_services",
                suggestion(named, own["app_services"], "name the service whose image has the migrations"),
            )
        if migrations.get("tool") == "command" and "upgrade" not in (migrations.get("commands") or {}):
            yield (
                ("database_migrations", "commands"),
                "is missing upgrade, which tool: command needs",
                "commands: {upgrade: [./migrate, up]}",
            )
    if web and not own.get("app_domain"):
        yield ("app_domain",), "is missing", "the name under which the web services are reached"
    if len(web) > MAX_WEB_SERVICES:
        yield (
            ("app_services",),
            f"has {len(web)} web services, and there are ports for {MAX_WEB_SERVICES}",
            "split it",
        )
    routes: dict[str, str] = {}
    for service in web:
        if service.route in routes:
            route = ("app_services", service.name, "route")
            yield (
                route,
                f"'{service.route}' already leads to {routes[service.route]}",
                "give each its own route",
            )
        routes.setdefault(service.route, service.name)
    yield from _reachable_health(web[0], routes) if web else ()
    for service in system.services.values():
        path = ("app_services", service.name)
        if service.single_active and service.replicas > 1:
            yield (*path, "replicas"), f"is {service.replicas} for a single_active worker", "set replicas: 1"
        if service.kind == "stateful" and service.image and is_moving(service.image):
            problem = f"'{service.image}' can become another version by itself"
            yield (*path, "image"), problem, "name the version, as in postgres:17"
        if source is None and not service.image:
            yield (*path, "image"), "is missing, and there is no app_source to build from", "add an image"
        if source is None and service.kind == "stateful" and not service.data:
            yield (
                (*path, "data"),
                "is missing: without a volume its data would be lost",
                "data: /path/in/the/container",
            )
        for key in ("data", "command"):
            if source is not None and getattr(service, key):
                yield (*path, key), "has no effect: the application's Compose file decides this", "remove it"


def _reachable_health(first: Service, routes: Mapping[str, str]) -> Iterator[Fault]:
    """Yield where the edge would not ask the first web service for its health: a switch is confirmed by that."""
    leads = max((route for route in routes if first.health.startswith(route)), key=len, default="")
    if routes.get(leads) != first.name:
        whose = f"leads to {routes[leads]}" if leads else "leads nowhere"
        yield (
            ("app_services", first.name, "health"),
            f"'{first.health}' {whose} at the edge, and not to {first.name}, whose route is {first.route}",
            f"give it a path below {first.route}, or name the service with the route / first",
        )


def _hosts(declaration: Declaration, system: System) -> Iterator[Fault]:
    groups, addresses = declaration.groups, declaration.addresses
    needs = {
        "edge": ("web", system.of_kind("web")),
        "app": ("web and worker", system.of_kind("web", "worker", "job")),
        "data": ("stateful", system.of_kind("stateful")),
    }
    for group, (what, services) in needs.items():
        if services and not groups.get(group):
            problem = f"no host is in group {group}, which {what} services need"
            yield ("groups", group), problem, f"list hosts under {group}: in hosts.yml"
    here = {host for group in needs for host in groups.get(group, [])}
    binding = {
        *system.app_hosts,
        *system.data_hosts,
        *(one.host for one in system.of_kind("stateful") if one.host),
    }
    for host in sorted(here & binding):
        address = (addresses or {}).get(host, host)
        fix = f"set ansible_host or app_address of {host} to its private IP address"
        if addresses is None:
            continue
        if not _is_address(address):
            yield ("hosts", host), f"'{address}' is not an IP address, and ports are published on one", fix
        elif len(here) > 1 and ipaddress.ip_address(address).is_loopback:
            yield ("hosts", host), f"{address} cannot be reached from the other hosts", fix
    for service in system.of_kind("stateful"):
        if addresses is not None and service.host and service.host not in addresses:
            fix = suggestion(service.host, addresses, "name a host of the inventory")
            yield (
                ("app_services", service.name, "host"),
                f"'{service.host}' is not a host of the inventory",
                fix,
            )
        elif service.host and groups.get("data") and service.host not in groups["data"]:
            yield (
                ("app_services", service.name, "host"),
                f"'{service.host}' is not in group data, whose hosts run stateful services",
                f"list {service.host} under data: in hosts.yml; a host may be in several groups",
            )
    yield from _ports(system)


def _ports(system: System) -> Iterator[Fault]:
    """Yield ports of a host that two services would own."""
    slots = [
        (first, last, f"{service.name} ({colour})")
        for service in system.of_kind("web")[:MAX_WEB_SERVICES]
        for colour in COLOURS
        for first, last in [system.ports(service.name, colour)]
    ]
    taken: dict[tuple[str, int], str] = {}
    for service in system.of_kind("stateful"):
        if service.port is None or not (service.host or system.data_hosts):
            continue
        path = ("app_services", service.name, "port")
        host = system.host_of(service)
        if (host, service.port) in taken:
            yield (
                path,
                f"{service.port} is also that of {taken[host, service.port]} on {host}",
                "use another port or host",
            )
        taken.setdefault((host, service.port), service.name)
        for first, last, owner in slots:
            if host in system.app_hosts and first <= service.port <= last:
                problem = f"{service.port} lies in the range {first}-{last} of {owner} on {host}"
                yield path, problem, "set app_port_base to another range"


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _contract(variables: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    contract = variables.get("environment_contract")
    rules = contract.items() if isinstance(contract, dict) else ()
    return {name: rule if isinstance(rule, dict) else {} for name, rule in rules}


def _usable_contract(variables: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the contract with the rules that meet the schema; the others only keep their names."""
    contract = _contract(variables)
    faulty = {
        path[1]: None
        for path, *_ in schema_faults({"environment_contract": contract})
        if path[0] == "environment_contract" and len(path) > 1
    }
    return {name: {"required": False} if name in faulty else rule for name, rule in contract.items()}


def _environment(variables: Mapping[str, Any]) -> Iterator[Fault]:
    values = variables.get("environment_values")
    known = values if isinstance(values, dict) else {}
    for name, in_contract, text, fix in environment.validate(known, _usable_contract(variables)):
        yield ("environment_contract" if in_contract else "environment_values", name), text, fix


def _texts(variables: Mapping[str, Any]) -> dict[str, str]:
    """Return what of the environment can be told."""
    values = variables.get("environment_values")
    contract = _usable_contract(variables)
    texts: dict[str, str] = {}
    for name in {*contract, *(values if isinstance(values, dict) else ())}:
        one = {name: values[name]} if isinstance(values, dict) and name in values else {}
        try:
            texts.update(environment.effective(one, {name: contract.get(name, {})}))
        except ValueError:
            texts[name] = ""
    return texts
