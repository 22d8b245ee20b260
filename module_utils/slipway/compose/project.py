# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""Acts on the services of a Compose project on this host, through the docker command line."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import containers as core

Run = Callable[[list[str]], tuple[int, str, str]]


# What a release's directory is given as the release goes on.
_WRITTEN_LATER = ("record.json", "watch.json")
# Seconds an application that is healthy may take until it listens where it should.
LISTEN_GRACE = 10.0


class ProjectError(Exception):
    """What docker refused, or which container did not become ready and why; `logs` has their last lines by name."""

    def __init__(self, message: str, logs: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.logs = logs or {}


@dataclass
class Project:
    """A Compose project: its name, and where its files lie (`root`; None where it is only stopped or removed).

    `spec` is what `root` has beside the Compose files: which of them count (`files`), the environment file, the
    `directory` that their relative paths start from, and the networks and volumes that are made beforehand.
    """

    run: Run
    name: str
    root: Path | None = None
    spec: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, run: Run, name: str, root: str, spec: str, second: str) -> Project:
        """Return the project whose files are in `root`, described by its file `spec`; `second` is slipway's Compose file.

        Raises ProjectError where they are not there.
        """
        path = Path(root) / spec
        if not path.exists():
            raise ProjectError(
                f"{path} is missing, so {name} can't be started: this host was not given the files of the release."
            )
        described = json.loads(path.read_text())
        return cls(run, name, Path(root), {**described, "files": [*described["files"], second]})

    def docker(self, *arguments: str) -> str:
        """Run docker and return what it prints; ProjectError where it fails."""
        return self._output(["docker", *arguments])

    def _output(self, command: list[str]) -> str:
        code, output, error = self.run(command)
        if code:
            last = "\n".join(error.strip().splitlines()[-15:])
            shown = " ".join(command[command.index("docker") :])
            raise ProjectError(f"`{shown}` failed:\n{last}")
        return output

    def compose(self, *arguments: str) -> str:
        """Run docker compose with the project's files."""
        root = self.root or Path()
        # Variables of this shell would win over those of the environment file.
        clean = [
            "env",
            "-i",
            f"PATH={os.environ.get('PATH', os.defpath)}",
            f"HOME={os.environ.get('HOME', '/root')}",
        ]
        command = [
            *clean,
            "docker",
            "compose",
            "--project-name",
            self.name,
            "--project-directory",
            str(root / self.spec["directory"]),
        ]
        command += ["--env-file", str(root / self.spec["env_file"])]
        for name in self.spec["files"]:
            command += ["--file", str(root / name)]
        return self._output([*command, *arguments])

    def containers(self, services: Iterable[str] = ()) -> list[core.Container]:
        """Return the project's containers, of all services or the named ones."""
        return _of(services, containers(self.run, [self.name])[self.name])

    def drifted(self) -> list[str]:
        """Return the services whose containers were made from another configuration than the files ask for."""
        hashes = dict(line.split() for line in self.compose("config", "--hash", "*").splitlines() if line)
        made = {found["service"]: found["config_hash"] for found in self.containers()}
        return sorted(name for name, known in made.items() if name in hashes and known != hashes[name])

    def ensure(self) -> None:
        """Make the networks and volumes that several projects share, where they are missing. None is ever removed."""
        for kind in ("network", "volume"):
            wanted = self.spec.get(f"{kind}s", [])
            existing = set(self.docker(kind, "ls", "--format", "{{.Name}}").split()) if wanted else set()
            for one in wanted:
                if one["name"] not in existing:
                    self.docker(kind, "create", *_options(one), one["name"])

    def up(
        self,
        services: list[str],
        *,
        recreate: bool,
        timeout: float,
        settled: float,
        listening: bool = False,
        wait: bool = True,
        there: list[core.Container] | None = None,
    ) -> bool:
        """Create and start what is missing or (with `recreate`) changed, and return when every container is ready.

        `there` are the project's containers, where they are known; False where they are as they were.

        Raises ProjectError as soon as one can't become ready, or after `timeout` seconds. A container without a health
        check is ready when it has been up for `settled` seconds. With `listening`, its published ports must be listened on.
        Without `wait` it returns when they have been started.
        """
        self.ensure()
        keep = [] if recreate else ["--no-recreate"]
        there = self.containers(services) if there is None else _of(services, there)
        restarts = {found["id"]: found["restarts"] for found in there}
        as_made = self._made_from_files(there, services)
        looked = as_made and all(found["status"] == "running" for found in there)
        if not looked and not (as_made and self._start(there)):
            self.compose("up", "--detach", "--no-deps", "--no-build", "--pull", "never", *keep, *services)
        changed = not looked
        started = time.monotonic()
        while wait:
            containers, looked = there if looked else self.containers(services), False
            waited = time.monotonic() - started
            states = {
                found["name"]: core.readiness(
                    found, core.uptime(found, time.time()), settled, restarts.get(found["id"], 0)
                )
                for found in containers
            }
            for found in containers if listening else ():
                if states[found["name"]] == "ready" and (quiet := _deaf(found)):
                    # One that calls itself healthy will not change any more; any other may still be starting.
                    late = found["health"] == "healthy" and waited > LISTEN_GRACE
                    states[found["name"]] = "failed" if late else "waiting"
                    found["deaf"] = quiet
            failed = [found for found in containers if states[found["name"]] == "failed"]
            waiting = [found for found in containers if states[found["name"]] == "waiting"]
            if containers and not failed and not waiting:
                return changed
            if failed or waited > timeout:
                raise self.unready(failed or waiting, services, waited)
            changed = True
            time.sleep(0.2)
        return changed

    def _made_from_files(self, there: list[core.Container], services: list[str]) -> bool:
        """Whether all containers of services are there, made from the project's files as they are, running or at rest.

        Compose, which reads and compares everything, then has nothing to do but start them: docker does that several
        times as fast.
        """
        root, replicas = self.root, self.spec.get("replicas", {})
        if root is None or any(
            replicas.get(name) != sum(found["service"] == name for found in there) for name in services
        ):
            return False
        try:
            files = [path for path in root.rglob("*") if path.name not in _WRITTEN_LATER]
            written = max(path.lstat().st_mtime for path in files)
        except OSError:
            # The application writes there, too, and a file of its own has just gone.
            return False
        return all(
            found["release"] == root.name
            and found["created_at"] > written
            and found["status"] in ("running", "exited", "created")
            for found in there
        )

    def _start(self, there: list[core.Container]) -> bool:
        """Start containers that are at rest; False where one can't be, and is removed for Compose to make a new one."""
        resting = [found["name"] for found in there if found["status"] != "running"]
        if self.run(["docker", "start", *resting])[0] == 0:
            return True
        # Their network was pruned, say: Compose would try the same ones again. Docker refuses to remove those that did start.
        self.run(["docker", "rm", *resting])
        return False

    def unready(self, unready: list[core.Container], services: list[str], seconds: float) -> ProjectError:
        """Return the error that says what is wrong with containers, with the last lines of their logs."""
        logs = {}
        lines = []
        for found in unready:
            _code, output, error = self.run(["docker", "logs", "--tail", "20", found["name"]])
            logs[found["name"]] = (output + error).strip()
            lines.append(
                f"{found['name']} {found.get('deaf') or core.complaint(found)} (after {seconds:.0f} s). Its last lines:"
            )
            lines += [f"    {line}" for line in logs[found["name"]].splitlines()] or [
                "    (it printed nothing)"
            ]
        nothing = f"Project {self.name} has no containers of {', '.join(services)} after `up`."
        return ProjectError("\n".join(lines) or nothing, logs)

    def stop(self, services: Iterable[str] = (), there: list[core.Container] | None = None) -> bool:
        """Stop containers, each with the grace its Compose file gives it; True where one was running.

        `there` are the project's containers, where they are known.
        """
        names = [
            found["name"]
            for found in (self.containers(services) if there is None else _of(services, there))
            if found["status"] in ("running", "restarting", "paused")
        ]
        if names:
            self.docker("stop", *names)
        return bool(names)

    def remove(self, services: Iterable[str] = ()) -> bool:
        """Stop and remove containers; True where there were any. Volumes and shared networks are never touched.

        With all its services, the project's own networks go too.
        """
        self.stop(services)
        names = [found["name"] for found in self.containers(services)]
        if names:
            self.docker("rm", "--force", *names)
        if not services:
            mine = f"label=com.docker.compose.project={self.name}"
            networks = self.docker("network", "ls", "--quiet", "--filter", mine).split()
            if networks:
                # Not `docker`, which raises: one that somebody has joined by hand stays.
                self.run(["docker", "network", "rm", *networks])
        return bool(names)


def containers(run: Run, projects: Collection[str]) -> dict[str, list[core.Container]]:
    """Return the containers of Compose projects, by project. Raises ProjectError where docker does not answer."""
    named = '{{.ID}} {{.Label "com.docker.compose.project"}}'
    command = [
        "docker",
        "ps",
        "--all",
        "--filter",
        "label=com.docker.compose.oneoff=False",
        "--format",
        named,
    ]
    code, output, error = run(command)
    if code:
        raise ProjectError(f"`docker ps` failed:\n{error.strip()}")
    listed = [words[0] for line in output.splitlines() if (words := line.split())[-1] in projects]
    # One may be removed between the two calls; what is left is what counts.
    found = core.parse_inspect(run(["docker", "inspect", *listed])[1]) if listed else []
    return {name: [one for one in found if one["project"] == name] for name in projects}


def _of(services: Iterable[str], there: list[core.Container]) -> list[core.Container]:
    """Return the containers of the named services, of all where none is named."""
    wanted = set(services)
    return [found for found in there if not wanted or found["service"] in wanted]


def _options(one: dict[str, Any]) -> list[str]:
    """Return the options of `docker network|volume create` for what a Compose file says of a network or volume."""
    options = ["--driver", one["driver"]] if one.get("driver") else []
    options += [
        word for key, value in (one.get("driver_opts") or {}).items() for word in ("--opt", f"{key}={value}")
    ]
    options += [
        word for key, value in (one.get("labels") or {}).items() for word in ("--label", f"{key}={value}")
    ]
    for flag in ("internal", "attachable"):
        options += [f"--{flag}"] if one.get(flag) else []
    if one.get("enable_ipv6"):
        options.append("--ipv6")
    for pool in (one.get("ipam") or {}).get("config") or []:
        options += [
            word for key in ("subnet", "gateway") if pool.get(key) for word in (f"--{key}", str(pool[key]))
        ]
    return options


def _deaf(container: core.Container) -> str:
    """Say which published port of a container nobody listens on; nothing where that can't be seen."""
    try:
        tables = [Path(f"/proc/{container['pid']}/net/{name}").read_text() for name in ("tcp", "tcp6")]
    except OSError:
        return ""
    return core.deaf(container, "\n".join(tables)) if container["pid"] else ""


def _running(containers: list[core.Container]) -> set[tuple[str, str]]:
    return {(found["id"], found["started_at"]) for found in containers if found["status"] == "running"}


def changed(before: list[core.Container], after: list[core.Container]) -> bool:
    """Say whether a running container was made, started, stopped or replaced between two looks."""
    return _running(before) != _running(after)


def public(containers: list[core.Container]) -> list[dict[str, Any]]:
    """Return containers as a module reports them."""
    return [{key: value for key, value in found.items() if key != "health_output"} for found in containers]
