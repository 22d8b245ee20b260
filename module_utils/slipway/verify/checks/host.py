# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""The check kinds that look at the host itself: `container`, `systemd`, `disk`."""

from __future__ import annotations

import asyncio
import json
import os
from typing import Any, ClassVar
from urllib.parse import quote

from ..http.client import Request, Trace, in_thread, parse_url, send
from ..http.wire import HttpError
from ..predicates import MISSING, Predicate, SpecError, percent, size
from .base import Clause, Facts, Kind, flag

_SOCKET = "/var/run/docker.sock"
_ENGINE = "http://docker"
_MAX_LIST = 16 * 1024 * 1024


class ContainerCheck(Kind):
    """A container by name, or all containers of a Compose service: every one must be as expected."""

    name = "container"
    plain_option = "name"
    options: ClassVar = {"name": str, "project": str, "service": str, "socket": str}
    expectations: ClassVar = {
        "running": flag,
        "healthy": flag,
        "restarts": None,
        "image": None,
        "memory_limit": size,
        "count": None,
    }
    defaults: ClassVar = {"running": True}

    def __init__(self, given: Any, expect: Any, where: str) -> None:
        super().__init__(given, expect, where)
        by_service = {"project", "service"} & set(self.option)
        if ("name" in self.option) == bool(by_service) or len(by_service) == 1:
            raise SpecError(f"{where}.container: either name, or project and service")

    def clause(self, key: str, expected: Any, where: str) -> list[Clause]:
        """`image` is a tag, an id or a digest: looked for in everything the engine knows the image by."""
        if key == "image" and not isinstance(expected, dict):
            return [Clause(key, lambda facts: facts["image"], Predicate({"contains": expected}, where))]
        if key == "memory_limit":
            limit = Predicate({"ne": 0} if expected is True else expected, where, size, plain="eq")
            return [Clause(key, lambda facts: facts.get(key, MISSING), limit)]
        return super().clause(key, expected, where)

    def subject(self) -> str:
        """The name, or project and service."""
        return str(self.option.get("name") or f"{self.option['project']}/{self.option['service']}")

    async def look(self, trace: Trace, timeout: float) -> Facts:
        """Ask the engine over its socket; with several containers the worst value of each counts."""
        if "name" in self.option:
            names = [self.option["name"]]
        else:
            labels = [f"com.docker.compose.{key}={self.option[key]}" for key in ("project", "service")]
            query = quote(json.dumps({"label": labels}))
            found = await self._ask(f"/containers/json?all=1&filters={query}", trace, timeout)
            names = [container["Id"] for container in found if not _one_off(container)]
            if not names:
                raise HttpError(f"no container of {self.subject()} exists")
        answers = [await self._ask(f"/containers/{quote(name)}/json", trace, timeout) for name in names]
        facts = [await self._facts(container, trace, timeout) for container in answers]
        return {
            "count": len(facts),
            "running": _all([fact["running"] for fact in facts], self.wants("running")),
            "healthy": _all([fact["healthy"] for fact in facts], self.wants("healthy")),
            "restarts": max(fact["restarts"] for fact in facts),
            "memory_limit": min(fact["memory_limit"] for fact in facts),
            # What all of them have in common: a replica with another image leaves nothing.
            "image": sorted(set.intersection(*(set(fact["image"]) for fact in facts))),
        }

    async def _ask(self, path: str, trace: Trace, timeout: float) -> Any:
        request = Request(
            parse_url(_ENGINE + path), unix_socket=self.option.get("socket", _SOCKET), max_body=_MAX_LIST
        )
        response = await send(request, trace, timeout)
        if response.status == 404:
            raise HttpError(f"{self.subject()}: no such container or image")
        if response.status != 200:
            raise HttpError(f"Docker's engine answered {response.status}: {response.text()[:200]}")
        return response.json()

    async def _facts(self, container: Any, trace: Trace, timeout: float) -> Facts:
        state = container["State"]
        facts: Facts = {
            "running": True
            if state["Status"] == "running"
            else f"{state['Status']} (exit code {state['ExitCode']})",
            "healthy": _health(state),
            "restarts": container["RestartCount"],
            "memory_limit": container["HostConfig"]["Memory"],
            "image": [container["Config"]["Image"], container["Image"]],
        }
        if "image" in self.expect:
            image = await self._ask(f"/images/{quote(container['Image'])}/json", trace, timeout)
            facts["image"] += [*(image.get("RepoDigests") or []), *(image.get("RepoTags") or [])]
            digests = [digest.partition("@")[2] for digest in image.get("RepoDigests") or []]
            facts["image"] = list(dict.fromkeys(facts["image"] + digests))
        return facts


def _one_off(container: Any) -> bool:
    """A container of `docker compose run` is not one of the service's replicas."""
    return str((container.get("Labels") or {}).get("com.docker.compose.oneoff", "")).lower() == "true"


def _health(state: Any) -> Any:
    """True, or in words why not; the last output of the health command is what one would look up next."""
    health = state.get("Health")
    if not health or health["Status"] == "none":
        return "it has no health check"
    if health["Status"] == "healthy" and state["Status"] == "running":
        return True
    last = (health.get("Log") or [{}])[-1].get("Output", "").strip()
    return health["Status"] + (f": {last[-160:]}" if last else "")


def _all(values: list[Any], wanted: bool) -> Any:
    """The first value that is not as wanted (True, or anything else), or what all of them have in common."""
    return next((value for value in values if (value is True) is not wanted), values[0])


class SystemdCheck(Kind):
    """A unit is active and does not restart over and over."""

    name = "systemd"
    plain_option = "unit"
    required = ("unit",)
    options: ClassVar = {"unit": str}
    expectations: ClassVar = {"active": None, "sub": None, "restarts": None, "result": None, "enabled": None}
    defaults: ClassVar = {"active": "active"}
    _PROPERTIES: ClassVar = {
        "ActiveState": "active",
        "SubState": "sub",
        "NRestarts": "restarts",
        "Result": "result",
        "UnitFileState": "enabled",
        "LoadState": "load",
    }

    async def look(self, trace: Trace, timeout: float) -> Facts:
        """Ask `systemctl show`."""
        trace.begin("waiting for systemctl")
        arguments = ["show", "--property", ",".join(self._PROPERTIES), "--", self.option["unit"]]
        try:
            process = await asyncio.create_subprocess_exec(
                "systemctl",
                *arguments,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
        except OSError as error:
            raise HttpError(f"cannot run systemctl: {error.strerror}") from None
        try:
            out, err = await asyncio.wait_for(process.communicate(), timeout)
        except BaseException:
            process.kill()
            raise
        if process.returncode:
            raise HttpError(f"systemctl failed: {err.decode('utf-8', 'replace').strip()[-200:]}")
        facts: Facts = {}
        for line in out.decode("utf-8", "replace").splitlines():
            key, _equals, value = line.partition("=")
            if key in self._PROPERTIES:
                facts[self._PROPERTIES[key]] = int(value) if value.isdigit() else value
        if facts.pop("load", "") == "not-found":
            raise HttpError(f"there is no unit {self.option['unit']}")
        return facts


class DiskCheck(Kind):
    """Room on the file system of a path."""

    name = "disk"
    plain_option = "path"
    required = ("path",)
    options: ClassVar = {"path": str}
    expectations: ClassVar = {"free": size, "free_percent": percent, "inodes_free_percent": percent}
    defaults: ClassVar = {"free_percent": {"gte": 10}}

    async def look(self, trace: Trace, timeout: float) -> Facts:
        """statvfs in a thread: on a dead network file system it never returns."""
        trace.begin(f"waiting for the file system of {self.option['path']}")
        try:
            found = await in_thread(os.statvfs, self.option["path"])
        except OSError as error:
            raise HttpError(f"{self.option['path']}: {error.strerror}") from None
        facts: Facts = {
            "free": found.f_bavail * found.f_frsize,
            "free_percent": 100.0 * found.f_bavail / found.f_blocks if found.f_blocks else 0.0,
        }
        if found.f_files:  # btrfs and overlay on it have no fixed number of inodes
            facts["inodes_free_percent"] = 100.0 * found.f_favail / found.f_files
        return facts
