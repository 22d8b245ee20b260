"""A second engine as the target: a host with systemd, SSH and its own dockerd; and small images to ship."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from registry_server import bridge, registry_server

ROOT = Path(__file__).resolve().parents[3]
BIN = ROOT / ".venv" / "bin"
MB = 1024 * 1024


def sh(*command: str, check: bool = True, **more: Any) -> str:
    """Run a command and return its stdout."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, **more)
    assert done.returncode == 0 or not check, f"{command}: {done.stderr or done.stdout}"
    return done.stdout.strip()


def remove(name: str) -> None:
    """Remove a container and its volume, if they are there."""
    sh("docker", "rm", "--force", "--volumes", name, check=False)
    sh("docker", "volume", "rm", name, check=False)


class Host:
    """A container that stands for a server, reached over SSH with a key of its own."""

    def __init__(self, name: str, directory: Path, containerd: bool = False) -> None:
        self.name = name
        self.directory = directory
        key = directory / "key"
        if not key.exists():
            sh("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key))
        remove(name)
        tmpfs = ["--tmpfs", "/run", "--tmpfs", "/tmp"]
        volume = ["--volume", f"{name}:/var/lib/docker"]
        sh("docker", "run", "--detach", "--name", name, "--privileged", "--cgroupns=private", *tmpfs, *volume,
           "slipway/host:13")  # fmt: skip
        if containerd:
            settings = json.dumps({"features": {"containerd-snapshotter": True}})
            self.run(f"mkdir -p /etc/docker && echo '{settings}' > /etc/docker/daemon.json")
        self.run(
            "mkdir -p -m 700 /root/.ssh && cat > /root/.ssh/authorized_keys",
            input=key.with_suffix(".pub").read_text(),
        )
        self.address = sh("docker", "inspect", "--format", "{{.NetworkSettings.IPAddress}}", name)
        self.pid = sh("docker", "inspect", "--format", "{{.State.Pid}}", name)
        self.wait("systemctl is-active ssh")
        if containerd:
            self.wait("systemctl restart docker")
        self.wait("docker info -f '{{.ServerVersion}}' | grep .")
        self.known_hosts = directory / "known_hosts"
        with self.known_hosts.open("a") as known:
            known.write(sh("ssh-keyscan", "-t", "ed25519", self.address) + "\n")

    def run(self, command: str, check: bool = True, **more: Any) -> str:
        """Run a shell command on the host."""
        return sh("docker", "exec", "--interactive", self.name, "sh", "-c", command, check=check, **more)

    def wait(self, command: str) -> None:
        """Wait until a command succeeds on the host."""
        for _ in range(100):
            if (
                subprocess.run(
                    ["docker", "exec", self.name, "sh", "-c", command], capture_output=True
                ).returncode
                == 0
            ):
                return
            time.sleep(0.2)
        raise AssertionError(f"{self.name}: never succeeded: {command}")

    @property
    def staging(self) -> Path:
        """The staging directory, as it is seen from here."""
        return Path(f"/proc/{self.pid}/root/var/lib/slipway/incoming")

    def inventory(self) -> dict[str, Any]:
        """Return the host's connection variables."""
        return {
            "ansible_host": self.address,
            "ansible_user": "root",
            "ansible_ssh_private_key_file": str(self.directory / "key"),
            "ansible_ssh_common_args": f"-o UserKnownHostsFile={self.known_hosts}",
        }

    def image_id(self, reference: str) -> str:
        """Return the id of an image of this host, empty when it has none."""
        return self.run(f"docker image inspect -f '{{{{.Id}}}}' {reference} 2>/dev/null", check=False)


class Ansible:
    """Runs one task of ours against hosts."""

    def __init__(self, directory: Path, hosts: list[Host]) -> None:
        self.directory = directory
        self.hosts = {host.name: host.inventory() for host in hosts}

    def start(
        self,
        tasks: list[dict[str, Any]],
        hosts: str = "all",
        *options: str,
        book: tuple[Path, list[dict[str, Any]]] | None = None,
    ) -> subprocess.Popen[str]:
        """Start a playbook with the given tasks, or one given as a whole."""
        (self.directory / "hosts.json").write_text(json.dumps({"all": {"hosts": self.hosts}}))
        play = {"hosts": hosts, "gather_facts": False, "tasks": tasks}
        path, plays = book or (self.directory / "play.yml", [play])
        path.write_text(yaml.safe_dump(plays))
        environment = {
            **os.environ,
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json",
        }
        command = [
            str(BIN / "ansible-playbook"),
            "-i",
            str(self.directory / "hosts.json"),
            str(path),
            *options,
        ]
        return subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
            cwd=ROOT,
            start_new_session=True,
        )

    def run(self, tasks: list[dict[str, Any]], hosts: str = "all", *options: str) -> dict[str, Any]:
        """Run tasks and return the last task's results by host; `output` is everything printed."""
        process = self.start(tasks, hosts, *options)
        out, err = process.communicate(timeout=100)
        start = out.find("{\n")
        assert start >= 0, out + err
        played = json.loads(out[start:])["plays"][-1]["tasks"]
        return {**played[-1]["hosts"], "output": out + err}

    def ship(
        self, images: list[dict[str, str]], *options: str, hosts: str = "all", **arguments: Any
    ) -> dict[str, Any]:
        """Run image_ship and return its results by host."""
        cache = str(self.directory / "cache")
        return self.run(
            [{"image_ship": {"images": images, "cache_dir": cache, **arguments}}], hosts, *options
        )


@pytest.fixture(scope="session")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory for keys, caches and playbooks."""
    return tmp_path_factory.mktemp("ship")


@pytest.fixture(scope="session")
def host(workspace: Path) -> Iterator[Host]:
    """A host with the usual image store."""
    made = Host("ship-host", workspace)
    yield made
    remove(made.name)


@pytest.fixture(scope="session")
def second(workspace: Path) -> Iterator[Host]:
    """A host with containerd's image store, the default of newer engines."""
    made = Host("ship-containerd", workspace, containerd=True)
    yield made
    remove(made.name)


@pytest.fixture(autouse=True)
def _empty(request: pytest.FixtureRequest) -> Iterator[None]:
    """Begin each test with hosts without images, and leave none of ours on this machine's engine."""
    for name in ("host", "second"):
        if name in request.fixturenames:
            request.getfixturevalue(name).run(
                "docker image ls -aq | xargs -r docker image rm -f", check=False
            )
    yield
    ours = sh("docker", "image", "ls", "--quiet", "--filter", "label=slipway.test")
    if ours:
        sh("docker", "image", "rm", "--force", *set(ours.split()))


@pytest.fixture
def ansible(workspace: Path, request: pytest.FixtureRequest) -> Ansible:
    """Ansible with the hosts the test asks for, and an empty cache."""
    shutil.rmtree(workspace / "cache", ignore_errors=True)
    names = [name for name in ("host", "second") if name in request.fixturenames]
    return Ansible(workspace, [request.getfixturevalue(name) for name in names])


@pytest.fixture
def build(tmp_path: Path) -> Any:
    """Return a function that builds an image of a big, a middle and a small layer, and returns its id."""

    def make(reference: str, app: str, big: int = 8 * MB) -> str:
        context = tmp_path / "context"
        context.mkdir(exist_ok=True)
        if not (context / "base.bin").exists():
            # Noise that does not compress, and is made quickly.
            (context / "base.bin").write_bytes(os.urandom(big))
            (context / "deps.bin").write_bytes(os.urandom(MB))
        (context / "app.txt").write_text(app)
        files = "COPY base.bin /base.bin\nCOPY deps.bin /deps.bin\nCOPY app.txt /app.txt\n"
        (context / "Dockerfile").write_text(f'FROM scratch\n{files}LABEL slipway.test=1\nCMD ["/none"]\n')
        sh("docker", "build", "--quiet", "--pull=false", "--tag", reference, str(context))
        return sh("docker", "image", "inspect", "--format", "{{.Id}}", reference)

    return make


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[dict[str, str]]:
    """The options of a registry that runs during the test."""
    with registry_server(tmp_path, bridge()) as options:
        yield options
