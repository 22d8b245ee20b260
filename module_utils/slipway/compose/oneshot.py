"""Run one command in a one-shot container of a Compose service, and keep its secrets out of what is shown."""

from __future__ import annotations

import json
import subprocess
import time
import typing as t

from ..masking.names import MENTION
from ..masking.redactor import Redactor, secret_values
from ..masking.texts import hide


class ComposeError(Exception):
    """Compose could not be asked or the container could not be started; the text says why."""


class Compose:
    """One service of one Compose project.

    ``project`` is a mapping with ``project``, ``project_directory``, ``files``, ``env_files`` and
    ``profiles``.
    """

    def __init__(self, project: t.Mapping[str, t.Any], service: str) -> None:
        self.project = project
        self.service = service
        self.label = f"slipway.migrate={project['project']}-{service}"
        self._environment: dict[str, str] | None = None

    def base(self) -> list[str]:
        """``docker compose`` with everything that selects the project."""
        project = self.project
        line = ["docker", "compose", "--progress", "quiet", "--project-name", project["project"]]
        if project.get("project_directory"):
            line += ["--project-directory", project["project_directory"]]
        for option, key in (("--file", "files"), ("--env-file", "env_files"), ("--profile", "profiles")):
            for value in project.get(key) or []:
                line += [option, value]
        return line

    def environment(self) -> dict[str, str]:
        """The environment the service has by its Compose files. Raises ComposeError."""
        if self._environment is None:
            # A service behind a profile is only listed when the profile is on; all of them are, just for
            # looking.
            done = _run([*self.base(), "--profile", "*", "config", "--format", "json"])
            if done.returncode:
                raise ComposeError(f"docker compose config failed: {done.stderr.strip()}")
            services = json.loads(done.stdout).get("services") or {}
            if self.service not in services:
                names = ", ".join(sorted(services)) or "none"
                raise ComposeError(
                    f"there is no service {self.service!r} in the Compose files; there are: {names}"
                )
            found = services[self.service].get("environment") or {}
            self._environment = {k: "" if v is None else str(v) for k, v in found.items()}
        return self._environment

    def run(self, command: t.Sequence[str], pgoptions: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command in a new container of the service, without its dependencies; remove the container.

        ``pgoptions`` are added to the service's own PGOPTIONS: libpq passes them to the server.
        """
        options = " ".join(filter(None, [self.environment().get("PGOPTIONS", ""), pgoptions]))
        flags = ["--rm", "--no-deps", "--no-TTY", "--label", self.label]
        flags += ["--env", f"PGOPTIONS={options}"] if options else []
        return _run([*self.base(), "run", *flags, self.service, *command])

    def wait_for_others(self, seconds: float) -> None:
        """Wait for the container of an earlier run, whose runner may be dead. Raises ComposeError."""
        deadline = time.monotonic() + seconds
        while True:
            names = _run(
                ["docker", "ps", "--filter", f"label={self.label}", "--format", "{{.Names}}"]
            ).stdout.split()
            if not names:
                return
            if time.monotonic() > deadline:
                raise ComposeError(
                    f"the container {names[0]} of an earlier run still migrates after {seconds:g} s; "
                    f"look at it with: docker logs {names[0]}"
                )
            time.sleep(0.5)

    def redact(self, text: str) -> str:
        """A text without the service's secrets, nor anything else that looks like one."""
        variables = self.environment()
        named = {value for name, value in variables.items() if MENTION.search(name.casefold())}
        return hide(Redactor(named | secret_values(variables)).text(text))


def tail(text: str, lines: int = 30) -> str:
    """The last lines of an output."""
    return "\n".join(text.strip().splitlines()[-lines:])


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(  # noqa: S603
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False
        )
    except FileNotFoundError as error:
        raise ComposeError("docker is not installed on this host: playbooks/prepare.yml does it") from error
