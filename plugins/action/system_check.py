# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""Check the declaration of a system on the controller, in one task; library/system_check.py documents it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import ansible.module_utils
from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase
from ansible.utils.vars import load_extra_vars

# Ansible ships our module_utils to hosts, but does not put them where its own process finds them.
_OURS = str(Path(__file__).resolve().parents[2] / "module_utils")
if _OURS not in ansible.module_utils.__path__:
    ansible.module_utils.__path__.append(_OURS)

from ansible.module_utils.slipway.declaration.check import Declaration, check
from ansible.module_utils.slipway.declaration.locate import Locator, inventory_files, read_files
from ansible.module_utils.slipway.declaration.read import client_host
from ansible.module_utils.slipway.declaration.role_variables import prefixes_of, read_options
from ansible.module_utils.slipway.declaration.schema import is_own
from ansible.module_utils.slipway.model.colours import COLOURS
from ansible.module_utils.slipway.model.problems import listing
from ansible.module_utils.slipway.model.system import System

Keys = tuple[Any, ...]
GROUPS = ("app", "edge", "data")
# Variables of the role `verify` that preflight reads, too: what is undefined in them is found here, with file and line.
CHECKS = ("verify_checks", "verify_flows", "verify_load")


class ActionModule(ActionBase):  # type: ignore[misc]
    """Judges the variables of the inventory; connects to no host."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the problems, and the system with its defaults where there are none."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        variables = task_vars or {}
        options = {"source": {"type": "path"}, "addresses": {"type": "bool", "default": True}}
        _, arguments = self.validate_argument_spec(options)
        declaration = self._declaration(variables, arguments)
        found = check(declaration)
        count = len(found.problems)
        result.update(
            changed=False,
            problems=[problem.as_dict() for problem in found.problems],
            notes=found.notes,
            gates=[
                {"name": "declaration", "value": count, "limit": 0, "verdict": "fail" if count else "pass"}
            ],
            clients=client_host(declaration.variables, declaration.groups, declaration.addresses or {}),
            report={"declaration": {"problems": [problem.text() for problem in found.problems]}},
        )
        if found.problems:
            mistakes = "1 mistake" if count == 1 else f"{count} mistakes"
            result.update(
                failed=True, msg=f"{mistakes} in the declaration of the system:\n{listing(found.problems)}"
            )
        if found.system:
            result["system"] = _described(found.system)
        return result

    def _declaration(self, variables: Mapping[str, Any], arguments: Mapping[str, Any]) -> Declaration:
        groups = {name: list(variables["groups"].get(name, [])) for name in GROUPS}
        members = list(dict.fromkeys(host for name in GROUPS for host in groups[name]))
        # Every host of the system has its variables; localhost, where this may well run, need not have them.
        reference = members[0] if members else variables["inventory_hostname"]
        hostvars = variables["hostvars"]
        declared = {**hostvars.raw_get(reference), "hostvars": hostvars}
        roles = read_options(Path(__file__).resolve().parents[2] / "roles")
        untemplated: list[tuple[Keys, str]] = []
        ours = {
            name: value
            for name, value in declared.items()
            if is_own(name) or name.startswith(prefixes_of(roles))
        }
        templar = self._templar.copy_with_new_env(available_variables=declared)
        for name in CHECKS:
            _templated(templar, declared.get(name), (name,), untemplated)
        templated = {
            # What belongs to the roles may use variables that exist only later.
            name: _templated(templar, value, (name,), untemplated) if is_own(name) else _plain(value)
            for name, value in ours.items()
        }
        sources = [Path(source) for source in variables.get("ansible_inventory_sources") or []]
        files = inventory_files([source for source in sources if source.exists()])
        documents, duplicates = read_files(
            files, lambda file: str(self._loader.get_text_file_contents(str(file))), Path.cwd()
        )
        return Declaration(
            variables=templated,
            groups=groups,
            addresses={host: self._address(hostvars, host) for host in hostvars}
            if arguments["addresses"]
            else None,
            locator=Locator(documents, frozenset(load_extra_vars(self._loader))),
            untemplated=untemplated,
            duplicates=duplicates,
            source=Path(arguments["source"]) if arguments["source"] else None,
            role_options=roles,
        )

    def _address(self, hostvars: Any, host: str) -> str:
        """Return the private address of a host, or its name where none is declared."""
        declared = hostvars.raw_get(host)
        templar = self._templar.copy_with_new_env(available_variables=declared)
        local = "127.0.0.1" if declared.get("ansible_connection") == "local" else None
        for value in (declared.get("app_address"), declared.get("ansible_host"), local):
            if value:
                return str(templar.template(value))
        return host


def _templated(templar: Any, value: Any, path: Keys, failed: list[tuple[Keys, str]]) -> Any:
    """Template leaf by leaf, so that one undefined name does not hide the rest; failures are left out."""
    if isinstance(value, Mapping):
        pairs = (
            (str(key), _templated(templar, item, (*path, str(key)), failed)) for key, item in value.items()
        )
        return {key: item for key, item in pairs if item is not _FAILED}
    if isinstance(value, list):
        items = [_templated(templar, item, (*path, number), failed) for number, item in enumerate(value)]
        return [item for item in items if item is not _FAILED]
    if value is None or isinstance(value, (bool, int, float)):
        return value
    try:
        return _plain(templar.template(value))
    except AnsibleError as error:
        failed.append((path, str(error.message).splitlines()[0]))
        return _FAILED


_FAILED = object()


def _plain(value: Any) -> Any:
    """Return a value without Ansible's tags and lazy containers."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, (bool, int, float)):
        return value
    return str(value)


def _described(system: System) -> dict[str, Any]:
    services = {}
    for name, service in system.services.items():
        services[name] = {key: value for key, value in asdict(service).items() if value is not None}
        if service.kind == "web":
            services[name]["ports"] = {colour: list(system.ports(name, colour)) for colour in COLOURS}
        if service.kind == "stateful":
            services[name]["host"] = system.host_of(service)
    return {
        "name": system.name,
        "port_base": system.port_base,
        "services": services,
        "app_hosts": system.app_hosts,
        "data_hosts": system.data_hosts,
        "addresses": system.addresses,
        "ports_on": {host: system.ports_on(host) for host in {*system.app_hosts, *system.data_hosts}},
    }
