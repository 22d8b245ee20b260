# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""Decide what a run does: see the documentation of the module of the same name."""

from __future__ import annotations

import json
import secrets
from pathlib import Path
from typing import Any

import ansible.module_utils
from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

# Ansible ships our module_utils to hosts, but does not put them where its own process finds them.
_OURS = str(Path(__file__).resolve().parents[2] / "module_utils")
if _OURS not in ansible.module_utils.__path__:
    ansible.module_utils.__path__.append(_OURS)

from ansible.module_utils.slipway.compose import images as compose_images
from ansible.module_utils.slipway.compose.check import secret_names, secrets_in_images
from ansible.module_utils.slipway.compose.files import Compose
from ansible.module_utils.slipway.declaration import read as declared
from ansible.module_utils.slipway.model import environment
from ansible.module_utils.slipway.model.colours import COLOURS
from ansible.module_utils.slipway.model.problems import listing
from ansible.module_utils.slipway.release import plan
from ansible.module_utils.slipway.release.records import ReleaseError, live


class ActionModule(ActionBase):  # type: ignore[misc]
    """Runs on the controller only."""

    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the plan as `release`."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        # Ansible's own kinds of text and number are of no use to YAML and JSON writers.
        arguments = json.loads(json.dumps(self._task.args))
        records, edge = arguments["records"], arguments["edge"]
        try:
            if arguments.get("kind", "deploy") == "rollback":
                planned = plan.rollback(records, edge, arguments.get("wanted") or None)
            else:
                facts, inputs = self._release(arguments, records, task_vars or {})
                planned = plan.deploy(records, edge, facts, inputs, bool(arguments.get("force", False)))
            before = live(records)
            groups = (task_vars or {}).get("groups", {})
            hosts = {host for group in ("edge", "app", "data") for host in groups.get(group, [])}
            moved = arguments.get("moved") or []
            plan.see_data_stays(
                before,
                planned,
                [one.strip() for one in moved.split(",")] if isinstance(moved, str) else moved,
            )
            planned, nowhere = plan.present(planned, before, list(groups.get("app", [])), hosts)
        except (ReleaseError, plan.NothingToGoBackTo, plan.DataLeftBehind) as error:
            raise AnsibleActionFail(str(error)) from error
        planned["database_host"] = declared.database_host(
            arguments.get("database") or "", groups, (task_vars or {}).get("hostvars", {})
        )
        result["gates"] = [_without(service, planned) for service in nowhere]
        planned["previous_content"] = before["content"] if before else None
        planned["upstreams"] = _upstreams(planned, before)
        # What must answer before the edge turns to the colour.
        planned["probes"] = [
            {"address": address, "path": route["health"]}
            for route in planned["routes"]
            for address in planned["upstreams"][route["service"]].get(planned["colour"], [])
        ]
        # The directory each colour runs from.
        planned["directories"] = {
            one["colour"]: f"{arguments['root']}/releases/{one['content']}"
            for one in (before, planned)
            if one
        }
        shown = {
            key: planned.get(key)
            for key in ("id", "kind", "version", "revision", "colour", "previous", "url", "system")
        }
        if planned["needed"]:
            result["report"] = {"release": shown}
        else:
            result["report"] = {"release": {**shown, "nothing_to_do": True, "verdict": "live"}}
        result["release"] = planned
        result["changed"] = False
        return result

    @staticmethod
    def _release(
        arguments: dict[str, Any], records: list[dict[str, Any]], task_vars: dict[str, Any]
    ) -> tuple[dict[str, Any], dict[str, str]]:
        """Return what a deploy would be made of, and a digest of each part."""
        variables, source = arguments["variables"], arguments["source"]
        found = declared.read(arguments, task_vars)
        system, compose = found.system, found.compose
        build_args = variables.get("app_build_args") or {}
        values = _public(compose, found, variables, build_args)
        # What the environment says of these two is overruled: a build is of this revision, whatever it calls itself.
        release = {"REVISION": source["revision"][:12], "VERSION": source.get("version") or ""}
        given = {**values, **{name: text for name, text in release.items() if text}}
        builds = compose_images.build_plan(compose, system, source["revision"], build_args, given)
        references = compose_images.images(compose, system, builds, values)
        built = {name for one in builds for name in one["services"]}
        before = live(records)
        key = (before or {}).get("environment_key") or secrets.token_hex(16)
        web = system.of_kind("web")
        first = web[0] if web else None
        facts = {
            "system": system.name,
            "domain": variables["app_domain"],
            "url": f"{'http' if arguments['edge_settings'].get('tls') == 'none' else 'https'}://{variables['app_domain']}",
            "version": source.get("version", ""),
            "revision": source["revision"],
            "builds": [_build(one) for one in builds],
            "references": {name: reference for name, reference in references.items() if name not in built},
            "image_owners": {name: name for name in references}
            | {name: one["service"] for one in builds for name in one["services"]},
            "images": references,
            "services": {
                kind: [one.name for one in system.of_kind(kind)]
                for kind in ("web", "worker", "job", "stateful")
            },
            "health": first.health if first else "/",
            "routes": [{"service": one.name, "route": one.route, "health": one.health} for one in web],
            "servers": {
                one.name: {
                    colour: [
                        f"{system.addresses[host]}:{port}"
                        for host in system.app_hosts
                        for port in range(
                            system.ports(one.name, colour)[0], system.ports(one.name, colour)[1] + 1
                        )
                    ]
                    for colour in COLOURS
                }
                for one in web
            },
            "app_hosts": {
                host: {
                    "address": system.addresses[host],
                    "services": [one.name for one in system.released_on(host)],
                }
                for host in system.app_hosts
            },
            "stateful_on": {one.name: system.host_of(one) for one in system.of_kind("stateful")},
            "edge": arguments["edge_settings"],
            "environment_key": key,
        }
        inputs = {
            "revision": source["revision"],
            "images": plan.digest(references),
            "environment": environment.checksum(found.texts, bytes.fromhex(key)),
            "compose": plan.digest([compose.data, variables.get("app_build_args")]),
            "services": plan.digest(
                [
                    *(facts[name] for name in ("services", "servers", "app_hosts", "stateful_on")),
                    variables["app_services"],
                ]
            ),
            "edge": plan.digest([variables["app_domain"], facts["routes"], arguments["edge_settings"]]),
        }
        return facts, inputs


def _public(
    compose: Compose,
    found: declared.Declared,
    variables: dict[str, Any],
    build_args: dict[str, Any],
) -> dict[str, str]:
    """Return what may end in images and on command lines: the environment without its secrets."""
    hidden = secret_names(found.texts, variables.get("environment_contract") or {})
    problems = list(secrets_in_images(compose, found.system, found.texts, hidden, build_args))
    if problems:
        raise AnsibleActionFail(f"Secrets would end in images:\n{listing(problems)}")
    public = {name: text for name, text in found.texts.items() if name not in hidden}
    # Compose provides it. An image is shared by both colours, so it can only be the system's.
    return {**public, "COMPOSE_PROJECT_NAME": found.system.name}


def _build(one: dict[str, Any]) -> dict[str, Any]:
    """Return an entry of the build plan as image_build takes it."""
    return {"service": one["service"], "tag": one["image"], **one["build"]}


def _without(service: str, planned: dict[str, Any]) -> dict[str, Any]:
    """Return the gate for a service that no host of a release runs any more."""
    return {
        "name": f"{service} runs",
        "value": "nowhere",
        "limit": "on a host",
        "verdict": "warn",
        "detail": f"the hosts that had it in {planned['content']} are app hosts no longer;"
        " put one back, or ship a release with deploy.yml",
    }


def _upstreams(planned: dict[str, Any], before: dict[str, Any] | None) -> dict[str, dict[str, list[str]]]:
    """Return the servers by web service and colour: those of the new release, and of the old one in its colour."""
    upstreams = {name: dict(servers) for name, servers in planned.get("servers", {}).items()}
    for name, servers in (before or {}).get("servers", {}).items():
        if before and before["colour"] != planned["colour"]:
            upstreams.setdefault(name, dict(servers))[before["colour"]] = servers[before["colour"]]
    return upstreams
