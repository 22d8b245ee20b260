"""What the stories share: a fleet of their own, runs of our playbooks, and traffic that counts."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
VAR = ROOT / "var" / "test"
FLEET = "slipway-test"
ALL_VARIANTS = bool(os.environ.get("SLIPWAY_ALL"))


@dataclass
class Run:
    """One run of ansible-playbook."""

    code: int
    output: str
    seconds: float

    @property
    def changed(self) -> int:
        """How many tasks changed something, as the last lines say."""
        found = re.search(r"changed=(\d+) on", self.output)
        return (
            int(found.group(1)) if found else sum(int(n) for n in re.findall(r"changed=(\d+) ", self.output))
        )

    @property
    def verdict(self) -> str:
        """The verdict of the summary."""
        found = re.search(r"^verdict\s+([a-z_]+)", self.output, re.MULTILINE)
        return found.group(1) if found else ""


@dataclass
class System:
    """A system on the fleet of the stories."""

    inventory: str = "prod"
    name: str = "reviews"
    domain: str = "reviews.example.test"
    extra: dict[str, Any] = field(default_factory=dict)

    def command(self, playbook: str, *arguments: str, **variables: Any) -> list[str]:
        """Return the command line of a run."""
        given = {"fleet": "embedded", "fleet_name": FLEET, "watch_seconds": 2, **self.extra, **variables}
        return [
            str(ROOT / ".venv/bin/ansible-playbook"),
            playbook,
            "-i",
            self.inventory,
            "-e",
            json.dumps(given),
            *arguments,
        ]

    def start(self, playbook: str, *arguments: str, **variables: Any) -> subprocess.Popen[str]:
        """Start a run in a process group of its own."""
        environment = {**os.environ, "SLIPWAY_REPORT_DIR": str(VAR / "reports"), "ANSIBLE_FORCE_COLOR": "0"}
        return subprocess.Popen(
            self.command(playbook, *arguments, **variables),
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, playbook: str, *arguments: str, timeout: float = 600, **variables: Any) -> Run:
        """Run a playbook to its end."""
        begin = time.monotonic()
        process = self.start(playbook, *arguments, **variables)
        try:
            output, _ = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            output, _ = process.communicate()
            pytest.fail(f"{playbook} did not end within {timeout} s:\n{output[-4000:]}")
        return Run(process.returncode, output, time.monotonic() - begin)

    def deploy(self, version: str | None = None, *arguments: str, **variables: Any) -> Run:
        """Run deploy.yml."""
        if version:
            variables["app_version"] = version
        return self.run("deploy.yml", *arguments, **variables)

    def rollback(self, *arguments: str, **variables: Any) -> Run:
        """Run rollback.yml."""
        return self.run("rollback.yml", *arguments, **variables)

    # -- what is there

    def address(self, host: str = "edge1") -> str:
        """Return the address of a host."""
        hosts = json.loads((ROOT / "var/fleet" / FLEET / "hosts.json").read_text())
        return str(hosts[host]["ansible_host"])

    def get(self, path: str, *options: str, edge: str = "edge1") -> subprocess.CompletedProcess[str]:
        """Ask the public address at an edge; certificate checked."""
        return subprocess.run(
            ["curl", "-sS", *options, "--max-time", "10", "--cacert", str(ROOT / "var/pki/ca.pem"), "--resolve",
             f"{self.domain}:443:{self.address(edge)}", f"https://{self.domain}{path}"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip

    def headers(self) -> str:
        """Return the response headers of the public address, in lower case."""
        return self.get("/version", "-D", "-", "-o", "/dev/null").stdout.lower()

    def version(self) -> str:
        """Return the version that answers at the public address; nothing where there is no fleet yet."""
        if not (ROOT / "var/fleet" / FLEET / "hosts.json").exists():
            return ""
        answer = self.get("/version")
        return (
            str(json.loads(answer.stdout)["version"])
            if answer.returncode == 0 and "{" in answer.stdout
            else ""
        )

    def records(self, host: str = "edge1") -> list[dict[str, Any]]:
        """Return the release records of a host, oldest first."""
        script = f"cat /var/lib/slipway/{self.name}/releases/*/record.json 2>/dev/null | tr -d '\\n' | sed 's/}}{{/}}\\n{{/g'"
        text = on(host, script)
        decoder, records = json.JSONDecoder(), []
        while text.strip():
            record, end = decoder.raw_decode(text.strip())
            records.append(record)
            text = text.strip()[end:]
        return records

    def containers(self, host: str, running: bool = True) -> dict[str, str]:
        """Return id and start of the system's containers on a host, by name."""
        what = "--filter status=running" if running else "--all"
        form = "{{.Name}} {{.Id}} {{.State.StartedAt}}"
        listed = on(host, f"docker ps -q {what} | xargs -r docker inspect -f '{form}'").splitlines()
        return {
            line.split()[0].lstrip("/"): " ".join(line.split()[1:])
            for line in listed
            if f"/{self.name}-" in line
        }

    def sql(self, query: str) -> str:
        """Run a query in the system's database."""
        return on(
            "data1", f'docker exec {self.name}-db-1 psql -U {self.name} -d {self.name} -Atqc "{query}"'
        ).strip()


def until(process: subprocess.Popen[str], headline: str) -> str:
    """Read what a run prints until a headline comes."""
    seen = ""
    assert process.stdout is not None
    for line in process.stdout:
        seen += line
        if line.startswith(headline):
            return seen
    raise AssertionError(f"the run ended before {headline!r}:\n{seen[-4000:]}")


def wait_for(what: str, seconds: float, seen: Callable[[], bool]) -> None:
    """Wait until `seen`, at most for `seconds`."""
    deadline = time.monotonic() + seconds
    while not seen():
        assert time.monotonic() < deadline, f"not seen within {seconds} s: {what}"
        time.sleep(0.5)


def on(host: str, script: str, check: bool = True) -> str:
    """Run a shell script on a host of the fleet, past SSH and Ansible."""
    done = subprocess.run(
        ["docker", "exec", f"{FLEET}-{host}", "sh", "-c", script], capture_output=True, text=True, check=False
    )
    if check and done.returncode:
        raise AssertionError(f"on {host}: {script}\n{done.stdout}{done.stderr}")
    return done.stdout


ROUTES = [
    {"name": "version", "path": "/version", "weight": 40},
    {"name": "fresh", "path": "/contact", "weight": 15, "connections": "fresh"},
    {"name": "analytics", "path": "/api/qr/analytics/BC001", "weight": 20},
    {"name": "scan", "path": "/api/qr/scan/BC001", "weight": 10, "status": 307},
    {"name": "contact", "path": "/api/contact", "method": "POST", "weight": 10, "status": 201,
     "json": {"name": "Ada", "phone": "+15550100", "message": "a table for two"}},
    {"name": "slow", "path": "/api/slow?seconds=1", "weight": 5},
]  # fmt: skip


@dataclass
class Traffic:
    """Counted requests; `results` has one summary a client once the traffic has ended."""

    results: list[dict[str, Any]] = field(default_factory=list)

    def assert_none_failed(self) -> None:
        """Each client sent requests, and none of them failed."""
        for summary in self.results:
            assert summary["requests"] > 200, summary
            if summary["failed"]:
                details = json.dumps(summary["failure_details"], indent=1)[:3000]
                raise AssertionError(f"{summary['failures']}\n{details}\n{complaints()}")

    @property
    def releases(self) -> set[str]:
        """The versions that answered."""
        return {str(name) for summary in self.results for name in summary["releases"]}


def complaints() -> str:
    """Return what the applications on the fleet have logged of errors, and what the edge has, the last of it."""
    logs = (
        "for one in $(docker ps -aq); do docker inspect -f '{{.Name}} {{.State.Status}}' $one;"
        " docker logs --since 10m $one 2>&1 | grep -iE -A30 'traceback|error|fatal' | tail -60; done"
    )
    edge = "tail -n 30 /var/log/nginx/error.log"
    said = {host: on(host, logs, check=False) for host in ("app1", "app2", "data1")}
    said["edge1"] = on("edge1", edge, check=False)
    return "\n".join(f"-- {host}\n{text}" for host, text in said.items())


@contextmanager
def traffic(system: System, rate: int = 100, routes: list[dict[str, Any]] | None = None) -> Iterator[Traffic]:
    """Send `rate` requests a second from each of two clients, one of them 25 ms away, while the block runs."""
    where = VAR / "traffic"
    shutil.rmtree(where, ignore_errors=True)
    where.mkdir(parents=True)
    spec = [{**route, "url": f"https://{system.domain}{route['path']}"} for route in routes or ROUTES]
    for route in spec:
        route.pop("path")
    (where / "spec.json").write_text(json.dumps(spec))
    delayed = [sys.executable, str(Path(__file__).with_name("delay.py")), system.address(), "443", "0.025"]
    relay = subprocess.Popen(delayed, stdout=subprocess.PIPE, text=True)
    assert relay.stdout is not None
    port = int(relay.stdout.readline())
    clients = []
    for name, target in (("near", f"{system.address()}:443"), ("far", f"127.0.0.1:{port}")):
        command = [sys.executable, "-m", "slipway.verify.loads.traffic", str(where / "spec.json"), "--rate", str(rate), "--out",
                   str(where / f"{name}.json"), "--release-header", "X-App-Version", "--stop-file", str(where / "stop"),
                   "--ready-file", str(where / f"{name}.ready"), "--connect-to", target, "--ca-file",
                   str(ROOT / "var/pki/ca.pem"), "--seconds", "600"]  # fmt: skip
        clients.append(
            (name, subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT / "module_utils")}))
        )
    seen = Traffic()
    try:
        deadline = time.monotonic() + 15
        while not all((where / f"{name}.ready").exists() for name, _ in clients):
            assert time.monotonic() < deadline, "the traffic did not start"
            time.sleep(0.1)
        time.sleep(1)
        yield seen
        time.sleep(1)
    finally:
        (where / "stop").touch()
        for _name, client in clients:
            client.wait(timeout=60)
        relay.kill()
    seen.results = [json.loads((where / f"{name}.json").read_text()) for name, _ in clients]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The life of the system first: it begins on empty hosts, and the other stories go on with what it leaves."""
    items.sort(key=lambda item: item.path.name != "test_release.py")


@pytest.fixture(scope="session")
def reviews() -> Iterator[System]:
    """The reference system on an empty fleet."""
    system = System()
    VAR.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        ["examples/reviews/history", "var/examples/reviews"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL
    )
    subprocess.run(["examples/hello/build"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    if not os.environ.get("SLIPWAY_KEEP_FLEET"):
        system.run("playbooks/fleet.yml", fleet_state="absent")
    yield system
    if not os.environ.get("SLIPWAY_KEEP_FLEET"):
        system.run("playbooks/fleet.yml", fleet_state="absent")


def ship(system: System, version: str) -> None:
    """Have a version live; quick where it is. v1 can't be deployed over v2's schema: there the way is back."""
    wanted = {"v1": "1.0.0", "v2": "2.0.0"}[version]
    if system.version() == wanted:
        return
    done = system.rollback() if system.version() == "2.0.0" else system.deploy(version)
    assert done.code == 0, done.output[-4000:]
    assert system.version() == wanted
