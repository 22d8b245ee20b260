"""Debian's registry with TLS and a password, as a company's has them, for the tests that ship through one."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NAME = "slipway-test-registry"
PASSWORD = "sesame-4711"


def _run(*command: str, given: str = "") -> str:
    return subprocess.run(command, input=given, check=True, capture_output=True, text=True).stdout.strip()


def bridge() -> str:
    """Return the address of this machine on docker's own network."""
    return _run("docker", "network", "inspect", "bridge", "--format", "{{(index .IPAM.Config 0).Gateway}}")


@contextmanager
def registry_server(tmp_path: Path, address: str) -> Iterator[dict[str, str]]:
    """Run one on an address of this machine that all engines reach; yields the options to ship through it."""
    image = "slipway/registry:test"
    folder = Path(__file__).parent / "registry"
    _run("docker", "build", "--quiet", "--pull=false", "--tag", image, str(folder))
    tls = tmp_path / "tls"
    tls.mkdir()
    subject = ["-subj", "/CN=registry", "-addext", f"subjectAltName=IP:{address}"]
    files = ["-keyout", f"{tls}/registry.key", "-out", f"{tls}/registry.crt"]
    _run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *subject, *files)
    entry = ["docker", "run", "--rm", "--interactive", image, "htpasswd", "-niB", "deploy"]
    (tls / "htpasswd").write_text(_run(*entry, given=PASSWORD) + "\n")
    _run("docker", "rm", "--force", "--volumes", NAME)
    url = f"{address}:22900"
    published = ["--publish", f"{url}:5000", "--volume", f"{tls}:/tls:ro"]
    _run("docker", "run", "--detach", "--name", NAME, *published, image)
    try:
        yield {
            "url": f"{url}/team",
            "username": "deploy",
            "password": PASSWORD,
            "ca": f"{tls}/registry.crt",
        }
    finally:
        _run("docker", "rm", "--force", "--volumes", NAME)
        shutil.rmtree(f"/etc/docker/certs.d/{url}", ignore_errors=True)
