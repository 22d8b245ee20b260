# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""What the plugins on the controller read of a declared system, once it has been checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..compose import files as compose_files
from ..compose.files import Compose
from ..compose.yaml import dump
from ..model import environment
from ..model.system import System


@dataclass
class Declared:
    """A system, its Compose files, where they lie on the controller, and its environment as texts."""

    system: System
    compose: Compose
    root: Path
    texts: dict[str, str]


def address(hostvars: Mapping[str, Any], host: str) -> str:
    """Return where the other hosts reach a host: its private address, else the one Ansible uses."""
    known = hostvars[host]
    return str(known.get("app_address") or known.get("ansible_host") or host)


def database_host(login: str, groups: Mapping[str, list[str]], hostvars: Mapping[str, Any]) -> str:
    """Return the host from which the database is backed up, looked at and indexed, when its address is `login`.

    The one that has this address, as the engine and the server's own programs are there; for a database that is elsewhere
    the first data host, else the first app host.
    """
    hosts = [*groups.get("data", []), *groups["app"]]
    known = (
        (host, {host, *(hostvars[host].get(name) for name in ("app_address", "ansible_host"))})
        for host in hosts
    )
    return next((host for host, addresses in known if login in addresses), hosts[0])


def client_host(
    variables: Mapping[str, Any], groups: Mapping[str, list[str]], addresses: Mapping[str, str]
) -> str:
    """Return the host that needs PostgreSQL's own client programs for its backups; empty where none does.

    Where the database runs on a host of the inventory, its container has them.
    """
    login, image = variables.get("database_login"), variables.get("backup_client_image", "auto")
    if not login or variables.get("backup_mode", "full") != "full" or image not in ("auto", "", None):
        return ""
    hosts = [*groups.get("data", []), *groups.get("app", [])]
    local = {"localhost", "127.0.0.1", "::1", *hosts, *(addresses.get(host, host) for host in hosts)}
    return "" if not hosts or login.get("host", "localhost") in local else hosts[0]


def read(arguments: Mapping[str, Any], task_vars: Mapping[str, Any]) -> Declared:
    """Read the system from a plugin's arguments `variables` and `source` {dir, compose}, and from Ansible's groups and hosts.

    Without Compose files among the sources, the small one that slipway writes for systems of images is put in `dir`.
    """
    variables, source = arguments["variables"], arguments["source"]
    groups, hostvars = task_vars["groups"], task_vars["hostvars"]
    addresses = {host: address(hostvars, host) for host in groups["all"]}
    system = System.of(variables, groups, addresses)
    texts = environment.effective(
        variables.get("environment_values") or {}, variables.get("environment_contract") or {}
    )
    root, names = Path(source["dir"]), list(source.get("compose") or [])
    if not names:
        names = ["compose.yaml"]
        root.mkdir(parents=True, exist_ok=True)
        (root / names[0]).write_text(dump(compose_files.minimal(system, bool(texts))))
    return Declared(system, compose_files.load(root, names, texts), root, texts)
