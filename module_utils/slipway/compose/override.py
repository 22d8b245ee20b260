# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""The second Compose file: what blue/green changes about the application's own, which is shipped as it is.

Each colour is a Compose project of its own (`<app_name>-blue`, `<app_name>-green`), and so are the stateful
services (`<app_name>`). Three rules make that work on any mix of hosts:

- Services that another project or another host runs are removed from the project, and so is `depends_on` on
  them.
- Named volumes belong to the system (`<app_name>_<volume>`), so that both colours and the next release find
  them.
- A network belongs to its colour (`<app_name>-<colour>_<network>`), so that `http://api` never answers from
  the other colour. Stateful services on the same host join that network of both colours; those elsewhere
  are in /etc/hosts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..model.colours import COLOURS
from ..model.system import Service, System
from .files import Compose, mounts, service_networks
from .yaml import RESET, Override

LOGGING = {"driver": "json-file", "options": {"max-size": "10m", "max-file": "5"}}


def colour_override(
    compose: Compose, system: System, colour: str, host: str, release: str, images: Mapping[str, str]
) -> dict[str, Any]:
    """Return the Compose file that makes one app host's project of a colour.

    It holds the web services and workers that run on the host, and all jobs, for `docker compose run`.
    `images` are the pinned ones by service.
    """
    running = system.released_on(host)
    kept = [*running, *system.of_kind("job")]
    services: dict[str, Any] = _removed(compose, kept)
    for service in kept:
        own = compose.services.get(service.name, {})
        entry: dict[str, Any] = {"image": images[service.name], "pull_policy": "never"}
        if service.kind == "job":
            entry["restart"] = "no"
        else:
            entry["restart"] = "unless-stopped"
            entry["deploy"] = {"replicas": service.replicas}
            if "scale" in own:
                entry["scale"] = RESET
        if service.kind == "web":
            first, last = system.ports(service.name, colour)
            published = f"{first}-{last}" if last > first else str(first)
            entry["ports"] = Override([f"{_bracketed(system.addresses[host])}:{published}:{service.port}"])
        if service.drain is not None:
            entry["stop_grace_period"] = f"{service.drain}s"
        entry["labels"] = {
            "slipway.system": system.name,
            "slipway.release": release,
            "slipway.colour": colour,
        }
        services[service.name] = {**entry, **_common(own, running, system, host)}
    shared = _network_names(compose, system.stateful_on(host))
    used = _network_names(compose, kept)
    networks: dict[str, Any] = {}
    for name in [*compose.section("networks"), *(used - compose.section("networks").keys())]:
        declared = compose.section("networks").get(name, {})
        if declared.get("external"):
            continue
        if name not in used:
            networks[name] = RESET
        elif name in shared:
            networks[name] = Override({"external": True, "name": f"{system.project(colour)}_{name}"})
        elif "name" in declared:
            networks[name] = Override({key: value for key, value in declared.items() if key != "name"})
    return _file(services, networks, _volumes(compose, system, kept))


def stateful_override(
    compose: Compose, system: System, host: str, images: Mapping[str, str]
) -> dict[str, Any]:
    """Return the Compose file that makes one host's project of stateful services.

    Nothing in it depends on the release, so that a release never recreates a database.
    """
    kept = system.stateful_on(host)
    services: dict[str, Any] = _removed(compose, kept)
    declared = compose.section("networks")
    networks: dict[str, Any] = dict.fromkeys(declared.keys() - _network_names(compose, kept), RESET)
    for service in kept:
        own = compose.services.get(service.name, {})
        entry: dict[str, Any] = {
            "image": images[service.name],
            "pull_policy": "never",
            "restart": "unless-stopped",
        }
        address = _bracketed(system.addresses[host])
        if service.port or "ports" in own:
            entry["ports"] = Override([f"{address}:{service.port}:{service.port}"] if service.port else [])
        if service.drain is not None:
            entry["stop_grace_period"] = f"{service.drain}s"
        entry["labels"] = {"slipway.system": system.name}
        if host in system.app_hosts and service_networks(own):
            joined: dict[str, Any] = {}
            for name, settings in service_networks(own).items():
                if declared.get(name, {}).get("external"):
                    joined[name] = settings
                    continue
                for colour in COLOURS:
                    joined[f"{name}-{colour}"] = settings
                    networks[f"{name}-{colour}"] = {
                        "external": True,
                        "name": f"{system.project(colour)}_{name}",
                    }
                if name in declared:
                    networks[name] = RESET
            entry["networks"] = Override(joined)
        services[service.name] = {**entry, **_common(own, kept, system, host)}
    return _file(services, networks, _volumes(compose, system, kept))


def resources(compose: Compose, system: System, host: str) -> dict[str, list[dict[str, Any]]]:
    """Return the networks and volumes that the projects of a host find ready: `{networks, volumes}`.

    Each is `{name, labels}` and what the Compose file says of it: driver, driver_opts, internal, ...
    """
    labels = {"slipway.system": system.name}
    stateful = system.stateful_on(host)
    here = [*stateful, *(_on_app_host(system, host))]
    networks, volumes = [], []
    if host in system.app_hosts:
        for name in sorted(_network_names(compose, stateful)):
            declared = compose.section("networks").get(name, {})
            if not declared.get("external"):
                for colour in COLOURS:
                    networks.append(
                        {**declared, "name": f"{system.project(colour)}_{name}", "labels": labels}
                    )
    for name in sorted(_volume_names(compose, here)):
        declared = compose.section("volumes").get(name, {})
        if not declared.get("external"):
            volumes.append({**declared, "name": _volume_name(system, name, declared), "labels": labels})
    return {"networks": networks, "volumes": volumes}


def _on_app_host(system: System, host: str) -> list[Service]:
    return [*system.released_on(host), *system.of_kind("job")] if host in system.app_hosts else []


def _removed(compose: Compose, kept: Iterable[Service]) -> dict[str, Any]:
    names = {service.name for service in kept}
    return {name: RESET for name in compose.services if name not in names}


def _common(own: Mapping[str, Any], running: Iterable[Service], system: System, host: str) -> dict[str, Any]:
    """Return what is the same for every service: build, profiles, logs, dependencies, addresses of other
    hosts.
    """
    entry: dict[str, Any] = {key: RESET for key in ("build", "profiles") if key in own}
    if "logging" not in own:
        entry["logging"] = LOGGING
    if "depends_on" in own:
        names = {service.name for service in running}
        wanted = own["depends_on"] or {}
        entry["depends_on"] = Override({name: how for name, how in wanted.items() if name in names})
    elsewhere = [one for one in system.of_kind("stateful") if system.host_of(one) != host]
    if elsewhere and not own.get("network_mode"):
        entry["extra_hosts"] = [f"{one.name}={system.addresses[system.host_of(one)]}" for one in elsewhere]
    return entry


def _network_names(compose: Compose, services: Iterable[Service]) -> set[str]:
    return {name for service in services for name in service_networks(compose.services.get(service.name, {}))}


def _volume_names(compose: Compose, services: Iterable[Service]) -> set[str]:
    declared = compose.section("volumes")
    found = [mount for service in services for mount in mounts(compose.services.get(service.name, {}))]
    return {source for kind, source, _ in found if kind == "volume" and source in declared}


def _volume_name(system: System, name: str, declared: Mapping[str, Any]) -> str:
    return str(declared.get("name") or f"{system.name}_{name}")


def _volumes(compose: Compose, system: System, kept: Iterable[Service]) -> dict[str, Any]:
    used = _volume_names(compose, kept)
    return {
        name: Override({"external": True, "name": _volume_name(system, name, declared)})
        if name in used
        else RESET
        for name, declared in compose.section("volumes").items()
        if not declared.get("external") or name not in used
    }


def _file(services: dict[str, Any], networks: dict[str, Any], volumes: dict[str, Any]) -> dict[str, Any]:
    parts = {"services": services, "networks": networks, "volumes": volumes}
    return {name: part for name, part in parts.items() if part}


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address
