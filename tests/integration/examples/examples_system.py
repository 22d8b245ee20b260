"""The reviews application in containers: its releases beside the one that its Compose file runs."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

from examples_client import Answer, ask

ROOT = Path(__file__).resolve().parents[3]
EXAMPLES = ROOT / "examples"
IMAGE = "examples-reviews"
PROJECT = f"examples-{os.getpid()}"
ENVIRONMENT = {
    "POSTGRES_PASSWORD": "only-for-tests-postgres",
    "REDIS_PASSWORD": "only-for-tests-redis",
    "DATABASE_URL": "postgresql://reviews:only-for-tests-postgres@db:5432/reviews",
    "REDIS_URL": "redis://:only-for-tests-redis@redis:6379/0",
    "SECRET_KEY": "only-for-tests-0123456789abcdef0",
    "ADMIN_API_KEY": "only-for-tests-admin",
    "CUSTOMER_APP_URL": "https://reviews.example.com",
    "YELP_REVIEW_URL": "https://www.yelp.com/biz/example",
    "GOOGLE_REVIEW_URL": "https://g.page/r/example/review",
    "REVIEW_COUPON_DISCOUNT": "10",
    "REVIEW_COUPON_VALIDITY_DAYS": "90",
    "REVIEW_COUPON_MIN_ORDER": "50.00",
}
ADMIN = {"X-API-Key": ENVIRONMENT["ADMIN_API_KEY"]}


def run(*command: str, check: bool = True, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a command; where it fails, the test shows what it said."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    assert not check or done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"
    return done


class Container:
    """A running container, reached by its address."""

    def __init__(self, name: str, port: int = 8000) -> None:
        self.name, self.port = name, port
        networks = self.inspect()["NetworkSettings"]["Networks"]
        self.address: str = next(iter(networks.values()))["IPAddress"]

    def inspect(self) -> dict[str, Any]:
        """What the engine knows of it."""
        return json.loads(run("docker", "inspect", self.name).stdout)[0]

    def wait(self, status: str, seconds: float = 20) -> float:
        """Seconds until the health status is `status`."""
        started = time.monotonic()
        while (seen := self.inspect()["State"]["Health"]["Status"]) != status:
            assert time.monotonic() - started < seconds, f"{self.name} is {seen}, not {status}: {self.logs()}"
            time.sleep(0.1)
        return time.monotonic() - started

    def wait_for(self, line: str, seconds: float = 20) -> None:
        """Until the log has a line."""
        deadline = time.monotonic() + seconds
        while line not in self.logs():
            assert time.monotonic() < deadline, f"{self.name} never said {line!r}: {self.logs()}"
            time.sleep(0.1)

    def ask(self, path: str, method: str = "GET", body: Any = None, **headers: str) -> Answer:
        """One request on a connection of its own."""
        return ask(self.address, self.port, method, path, body, headers)

    def cpu_seconds(self) -> float:
        """What it has used of the processors since it was started."""
        version_1, version_2 = "/sys/fs/cgroup/cpuacct/cpuacct.usage", "/sys/fs/cgroup/cpu.stat"
        seen = run(
            "docker", "exec", self.name, "sh", "-c", f"cat {version_1} 2>/dev/null || cat {version_2}"
        ).stdout
        if seen.startswith("usage_usec"):
            return int(seen.split()[1]) / 1e6
        return int(seen) / 1e9

    def logs(self) -> str:
        """What it has said so far."""
        done = run("docker", "logs", self.name)
        return done.stdout + done.stderr

    def stop(self, seconds: int = 40) -> tuple[int, float]:
        """Stop it; its exit code, and how long that took."""
        started = time.monotonic()
        run("docker", "stop", "--time", str(seconds), self.name)
        return self.inspect()["State"]["ExitCode"], time.monotonic() - started


class Reviews:
    """The application's releases, database and cache."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.revisions: dict[str, str] = {}
        self.containers: list[str] = []
        self.images: set[str] = set()

    def compose(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """`docker compose`, with release v1's file."""
        variables = {
            "BASE_IMAGE": "slipway/debian:13",
            "POSTGRES_IMAGE": "slipway/postgres:17",
            "REDIS_IMAGE": "slipway/redis:8",
            "REVIEWS_IMAGE": IMAGE,
            "REVISION": self.revisions["v1"],
        }
        return run(
            *("docker", "compose", "-p", PROJECT, *command),
            cwd=self.directory / "v1",
            env=os.environ | variables,
            check=check,
        )

    def checkout(self, tag: str) -> None:
        """Put a release's files into a directory of its own."""
        history, target = self.directory / "history", self.directory / tag
        self.revisions[tag] = run("git", "-C", str(history), "rev-parse", f"{tag}^{{commit}}").stdout.strip()
        run("git", "clone", "-q", "--branch", tag, str(history), str(target))

    def image(self, tag: str) -> str:
        """The image of a release, built on first use."""
        if tag not in self.revisions:
            self.checkout(tag)
        image = f"{IMAGE}:{self.revisions[tag]}"
        arguments = (
            "--build-arg",
            "BASE=slipway/debian:13",
            "--build-arg",
            f"REVISION={self.revisions[tag]}",
        )
        run("docker", "build", "-q", *arguments, "-t", image, str(self.directory / tag))
        self.images.add(image)
        return image

    def options(self, environment: dict[str, str]) -> list[str]:
        """What every container of the application is started with."""
        options = ["--network", f"{PROJECT}_default", "--read-only", "--tmpfs", "/tmp:mode=1777"]
        for name, value in (ENVIRONMENT | environment).items():
            options += ["--env", f"{name}={value}"]
        return options

    def start(self, tag: str, *command: str, **environment: str) -> Container:
        """A container of a release beside the ones Compose runs."""
        name = f"{PROJECT}-{tag}-{len(self.containers)}"
        self.containers.append(name)
        run("docker", "run", "-d", "--name", name, *self.options(environment), self.image(tag), *command)
        return Container(name)

    def job(self, tag: str, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command in a release's image to its end."""
        options = self.options(environment)
        return run("docker", "run", "--rm", *options, self.image(tag), *command, check=False)

    def service(self, name: str) -> Container:
        """A container that Compose runs."""
        return Container(f"{PROJECT}-{name}-1")

    def sql(self, query: str, database: str = "reviews") -> list[list[str]]:
        """The rows of a query."""
        psql = ("psql", "-qAt", "-F", "\t", "-U", "reviews", "-d", database, "-c", query)
        done = run("docker", "exec", f"{PROJECT}-db-1", *psql)
        return [line.split("\t") for line in done.stdout.splitlines()]

    def remove(self) -> None:
        """Leave nothing behind."""
        if self.containers:
            run("docker", "rm", "-f", *self.containers, check=False)
        self.compose("--profile", "jobs", "down", "--volumes", "--timeout", "1", check=False)
        run("docker", "rmi", *self.images, check=False)
