# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""The images that the services of a system run from: what is built for it, and what its files name."""

from __future__ import annotations

import json
import posixpath
from collections.abc import Mapping, Sequence
from typing import Any

from ..images.build import argument_text
from ..model.system import System
from .files import REMOTE, Compose, as_mapping
from .interpolate import filled


def build_plan(
    compose: Compose,
    system: System,
    revision: str,
    arguments: Mapping[str, Any] | None = None,
    values: Mapping[str, str] | None = None,
) -> list[dict[str, Any]]:
    """Return the images to build: `{service, image, services, build}`, one for all equal builds.

    `image` is `<app_name>-<service>:<first 12 of the revision>` after the first service of that build;
    `services` are those that run it, by their own `build` or by the name that the Compose file gives the
    image. `build` is what is passed on of Compose's section: `context` relative to the root of the source (or a
    URL), `dockerfile` and `target` where given, and `args`, texts that `arguments` (app_build_args) overrides.
    `values` fill in variables: they end in the image's history and on command lines, so they hold no secret.
    Services with an `image` in app_services are not built.
    """
    plans: dict[str, dict[str, Any]] = {}
    names: dict[str, dict[str, Any]] = {}
    values = values or {}
    declared = {
        name: service
        for name, service in compose.services.items()
        if name in system.services and not system.services[name].image
    }
    for name, service in declared.items():
        if not service.get("build"):
            continue
        build = _build(compose, service["build"], arguments or {}, values)
        plan = plans.setdefault(
            json.dumps(build, sort_keys=True),
            {
                "service": name,
                "image": f"{system.name}-{name}:{revision[:12]}",
                "services": [],
                "build": build,
            },
        )
        plan["services"].append(name)
        if service.get("image"):
            names.setdefault(filled(str(service["image"]), values), plan)
    for name, service in declared.items():
        image = filled(str(service.get("image")), values)
        if not service.get("build") and image in names:
            names[image]["services"].append(name)
    return list(plans.values())


def _build(
    compose: Compose, written: Mapping[str, Any], arguments: Mapping[str, Any], values: Mapping[str, str]
) -> dict[str, Any]:
    """Return what is passed on of a service's build, with its variables filled in."""
    context = filled(str(written.get("context") or "."), values)
    if not REMOTE.match(context):
        context = posixpath.normpath(posixpath.join(compose.directory, context))
    given = {**as_mapping(written.get("args")), **arguments}
    # One without a value is the environment's; where that has none, the Dockerfile's default counts.
    texts = {
        name: values.get(name) if value is None else filled(argument_text(value), values)
        for name, value in given.items()
    }
    build = {"context": context, "args": {name: text for name, text in texts.items() if text is not None}}
    named = {key: filled(str(written[key]), values) for key in ("dockerfile", "target") if written.get(key)}
    return {**build, **named}


def images(
    compose: Compose,
    system: System,
    plan: Sequence[Mapping[str, Any]],
    values: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Return the image of every declared service: its replacement, what is built for it, or what its file
    names, filled in from `values`, which hold no secret: a reference ends on command lines.
    """
    built = {name: str(entry["image"]) for entry in plan for name in entry["services"]}
    named = {
        name: filled(str(compose.services.get(name, {}).get("image") or ""), values or {})
        for name in system.services
    }
    found = {
        name: service.image or built.get(name) or named[name] for name, service in system.services.items()
    }
    return {name: image for name, image in found.items() if image}
