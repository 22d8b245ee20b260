# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""What the inventory says of a system, with its defaults filled in: services, hosts, ports, names of
projects.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .colours import COLOURS

RELEASED = ("web", "worker")
PORTS_PER_SERVICE = 20  # the highest number of replicas of a web service
PORTS_PER_COLOUR = 100
MAX_WEB_SERVICES = PORTS_PER_COLOUR // PORTS_PER_SERVICE


@dataclass(frozen=True)
class Service:
    """One entry of app_services; `drain` is in seconds, None where the application's own Compose file
    decides.
    """

    name: str
    kind: str
    port: int | None = None
    replicas: int = 1
    health: str = "/"
    route: str = "/"
    image: str | None = None
    drain: int | None = None
    single_active: bool = False
    host: str | None = None
    data: str | None = None
    command: str | list[str] | None = None


@dataclass(frozen=True)
class System:
    """A system on its hosts. `addresses` gives the private address of every host by its inventory name."""

    name: str
    port_base: int
    services: dict[str, Service]
    app_hosts: list[str] = field(default_factory=list)
    data_hosts: list[str] = field(default_factory=list)
    addresses: dict[str, str] = field(default_factory=dict)
    environment_file: str = ".env"

    @classmethod
    def of(
        cls,
        variables: Mapping[str, Any],
        groups: Mapping[str, Sequence[str]],
        addresses: Mapping[str, str],
    ) -> System:
        """Build it from templated variables, Ansible's `groups` and the hosts' addresses; all must have
        been checked.
        """
        services = {
            name: Service(name=name, **declared)
            for name, declared in variables.get("app_services", {}).items()
        }
        return cls(
            name=variables["app_name"],
            port_base=int(variables.get("app_port_base") or default_port_base(variables["app_name"])),
            services=services,
            app_hosts=list(groups.get("app", [])),
            data_hosts=list(groups.get("data", [])),
            addresses=dict(addresses),
            environment_file=variables.get("environment_file", ".env"),
        )

    def of_kind(self, *kinds: str) -> list[Service]:
        """Return the services of these kinds, in the order of the declaration."""
        return [service for service in self.services.values() if service.kind in kinds]

    def project(self, colour: str | None = None) -> str:
        """Return the Compose project of a colour, or that of the stateful services."""
        return f"{self.name}-{colour}" if colour else self.name

    def ports(self, service: str, colour: str) -> tuple[int, int]:
        """Return the first and the last host port of a web service in one colour."""
        index = [one.name for one in self.of_kind("web")].index(service)
        first = self.port_base + PORTS_PER_COLOUR * COLOURS.index(colour) + PORTS_PER_SERVICE * index
        return first, first + self.services[service].replicas - 1

    def ports_on(self, host: str) -> list[int]:
        """Return every port the system publishes on a host: those of both colours, and of stateful services."""
        spans = [
            self.ports(service.name, colour)
            for service in self.released_on(host)
            if service.kind == "web"
            for colour in COLOURS
        ]
        own = [service.port for service in self.stateful_on(host) if service.port]
        return [*(port for first, last in spans for port in range(first, last + 1)), *own]

    def host_of(self, service: Service) -> str:
        """Return the inventory host of a stateful service: the declared one, else the first of group data."""
        return service.host or self.data_hosts[0]

    def stateful_on(self, host: str) -> list[Service]:
        """Return the stateful services of a host."""
        return [service for service in self.of_kind("stateful") if self.host_of(service) == host]

    def released_on(self, host: str) -> list[Service]:
        """Return the services of a colour that an app host keeps running: single-active ones on the first
        host only.
        """
        if host not in self.app_hosts:
            return []
        first = host == self.app_hosts[0]
        return [service for service in self.of_kind(*RELEASED) if first or not service.single_active]


def default_port_base(name: str) -> int:
    """Return the first host port of a system that declares none: one of 60 ranges of 200, by its name.

    They end below 32768, where the ports of outgoing connections begin: a container cannot
    publish a port while such a connection holds it, and does not start.
    """
    return 20000 + 2 * PORTS_PER_COLOUR * (zlib.crc32(name.encode()) % 60)
