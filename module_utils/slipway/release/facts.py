# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""What a deploy would be made of, and a digest of each part, from what the inventory declares (controller only)."""

from __future__ import annotations

import secrets
from typing import Any

from ..compose import images as compose_images
from ..compose.check import secret_names, secrets_in_images
from ..compose.files import Compose
from ..declaration import read as declared
from ..model import environment
from ..model.colours import COLOURS
from ..model.problems import listing
from . import plan
from .records import live


def of_deploy(
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
            kind: [one.name for one in system.of_kind(kind)] for kind in ("web", "worker", "job", "stateful")
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
        raise plan.PlanError(f"Secrets would end in images:\n{listing(problems)}")
    public = {name: text for name, text in found.texts.items() if name not in hidden}
    # Compose provides it. An image is shared by both colours, so it can only be the system's.
    return {**public, "COMPOSE_PROJECT_NAME": found.system.name}


def _build(one: dict[str, Any]) -> dict[str, Any]:
    """Return an entry of the build plan as image_build takes it."""
    return {"service": one["service"], "tag": one["image"], **one["build"]}
