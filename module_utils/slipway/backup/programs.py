"""Run pg_dump, pg_dumpall and pg_restore: the host's own or an image's, never with a password in view."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import shutil
import signal
import subprocess
import time
import typing as t
from pathlib import Path

if t.TYPE_CHECKING:
    from ..postgres.login import Login

#: A trial restore must not wait for the disk at every commit, and parallel index builds fail in a container
#: whose /dev/shm has Docker's 64 MB.
PGOPTIONS = "-c synchronous_commit=off -c max_parallel_maintenance_workers=0"


class ProgramError(Exception):
    """A client program failed; the text says which, with what status, and its last words."""


class Server(t.NamedTuple):
    """The container that runs the server: its image, and where its volumes lie on this host."""

    image: str
    mounts: dict[str, str]


def find_server(host: str, port: int) -> Server | None:
    """The running container that publishes ``port`` on this host, ``None`` when there is none (or no engine).

    A container bound to exactly ``host`` wins over one that listens on another address.
    """
    if shutil.which("docker") is None:
        return None
    try:
        ids = _docker("ps", "--quiet", "--filter", f"publish={port}").split()
        found = json.loads(_docker("inspect", *ids)) if ids else []
    except ProgramError:
        return None
    if not found:
        return None
    best = max(found, key=lambda c: _bound_to(c, host, port))
    return Server(best["Image"], {m["Destination"]: m["Source"] for m in best["Mounts"]})


def _bound_to(container: dict[str, t.Any], host: str, port: int) -> int:
    bindings = [b for bound in (container["NetworkSettings"]["Ports"] or {}).values() for b in bound or []]
    here = [b["HostIp"] for b in bindings if b["HostPort"] == str(port)]
    return 2 if host in here else 1 if any(ip in ("", "0.0.0.0", "::") for ip in here) else 0  # noqa: S104


class Programs:
    """Starts client programs against one server and cleans up after them.

    ``image`` is empty for the host's own programs. ``root`` is the directory they may see, ``scratch`` one
    in it for the password file and the programs' messages.
    """

    def __init__(self, login: Login, image: str, root: Path, scratch: Path) -> None:
        self.login = login
        self.image = image
        self.root = root
        self.scratch = scratch
        self.running: dict[subprocess.Popen[bytes], str] = {}

    def prepare(self) -> None:
        """Write the password file, readable by its owner alone."""
        fd = os.open(self.scratch / "pgpass", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(fd, "w") as file:
            file.write(self.login.pgpass())

    def command(self, program: str, args: list[str]) -> list[str]:
        """The argument list that runs ``program``."""
        line = [program, *self.login.flags(), *args]
        if not self.image:
            return line
        return [
            *("docker", "run", "--rm", "--pull", "never", "--network", "host", "--user", "0:0"),
            *("--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--label", self._label()),
            *("--volume", f"{self.root}:{self.root}"),
            *(part for name, value in self._environment().items() for part in ("--env", f"{name}={value}")),
            *("--entrypoint", line[0], self.image, *line[1:]),
        ]

    def start(self, program: str, args: list[str]) -> subprocess.Popen[bytes]:
        """Start a program; its messages go to a file, so that several can run side by side."""
        env = {k: v for k, v in os.environ.items() if not k.startswith("PG")}
        with (self.scratch / f"{program}.log").open("wb") as log:
            process = subprocess.Popen(  # noqa: S603
                self.command(program, args),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=env if self.image else {**env, **self._environment()},
                preexec_fn=_die_with_parent,
            )
        self.running[process] = program
        return process

    def finish(self, process: subprocess.Popen[bytes]) -> None:
        """Wait for a program. Raises ProgramError when it failed."""
        status = process.wait()
        program = self.running.pop(process)
        if status:
            log = (self.scratch / f"{program}.log").read_text(errors="replace").strip()
            raise ProgramError(f"{program} failed with status {status}: " + "\n".join(log.splitlines()[-12:]))

    def stop(self) -> None:
        """End every program that still runs, also those whose run was killed."""
        for process in self.running:
            process.kill()
            process.wait()
        self.running.clear()
        if self.image:
            self._remove_containers()

    def _remove_containers(self) -> None:
        """Remove this store's containers and see them gone: the engine may be removing one itself (--rm)."""
        problem = ""
        for _ in range(100):
            left = _docker("ps", "--all", "--quiet", "--filter", f"label={self._label()}").split()
            if not left:
                return
            try:
                _docker("rm", "--force", *left)
            except ProgramError as error:
                problem = str(error)
            time.sleep(0.1)
        raise ProgramError(f"containers of an earlier backup do not go away: {problem or ' '.join(left)}")

    def _label(self) -> str:
        return f"slipway.backup={self.root}"

    def _environment(self) -> dict[str, str]:
        return {
            "PGPASSFILE": str(self.scratch / "pgpass"),
            "PGOPTIONS": PGOPTIONS,
            "PGCONNECT_TIMEOUT": "10",
            "LC_ALL": "C.UTF-8",
        }


def _docker(*args: str) -> str:
    done = subprocess.run(["docker", *args], capture_output=True, text=True, check=False)  # noqa: S603, S607
    if done.returncode:
        raise ProgramError(f"docker {args[0]} failed: {done.stderr.strip()}")
    return done.stdout


def _die_with_parent() -> None:
    """A dump whose run was killed would go on writing beside the next one."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
