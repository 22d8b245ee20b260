"""Servers in containers of their own."""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
import subprocess
import time
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
PASSWORD = "a-password-of-the-tests"


def docker(*arguments: str) -> str:
    return subprocess.run(["docker", *arguments], check=True, capture_output=True, text=True).stdout.strip()


# Below what outgoing connections are given (32768 and up), or one of those may hold the port already.
_ports = itertools.count(24000 + os.getpid() % 80 * 100)


def free_port() -> int:
    """A port of this machine that nobody has, another one each time."""
    for port in itertools.islice(_ports, 100):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no free port")


def image(name: str, base: str = "debian:13") -> str:
    """The image `verify-<name>` from the directory of that name."""
    subprocess.run([str(ROOT / "images" / "build"), base], check=True, capture_output=True)
    docker("build", "--quiet", "--tag", f"verify-{name}", str(HERE / name))
    return f"verify-{name}"


class Containers:
    """Starts containers, and removes them all at the end. Called with a name and the arguments of `docker run`."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def __call__(self, name: str, *arguments: str) -> str:
        full = self.name(name)
        subprocess.run(["docker", "rm", "-fv", full], capture_output=True, check=False)
        self.names.append(full)
        docker("run", "-d", "--name", full, *arguments)
        return full

    @staticmethod
    def name(name: str) -> str:
        """Of its own for each run, so that two runs do not remove each other's."""
        return f"verify-test-{os.getpid()}-{name}"

    def remove(self) -> None:
        if self.names:
            subprocess.run(["docker", "rm", "-fv", *self.names], capture_output=True, check=False)


def retried(command: list[str], seconds: float, **options: str) -> str:
    """Output of a command that fails until something has started."""
    end = time.monotonic() + seconds
    while True:
        run = subprocess.run(command, capture_output=True, text=True, check=False, **options)
        if run.returncode == 0:
            return run.stdout
        assert time.monotonic() < end, f"{command}: {run.stdout}{run.stderr}"
        time.sleep(0.3)
