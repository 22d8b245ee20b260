"""A whole release whose images go through a registry of the user's."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import registry_server
from conftest import ALL_VARIANTS, System, on, ship


@pytest.mark.skipif(not ALL_VARIANTS, reason="make test-all")
def test_a_release_through_a_registry(reviews: System, tmp_path: Path) -> None:
    for version in ("v1", "v2", "v1"):
        ship(reviews, version)
    (image,) = {record["images"]["web"] for record in reviews.records() if record["version"] == "v2"}
    for host in ("app1", "app2"):
        on(host, f"docker ps -aq --filter ancestor={image} | xargs docker rm -f && docker image rm {image}")
    fleet = reviews.address().rpartition(".")[0]
    with registry_server.registry_server(tmp_path, f"{fleet}.1") as registry:
        done = reviews.deploy("v2", "-vvv", build_registry=registry)
        asked = subprocess.run(
            ["docker", "logs", registry_server.NAME], capture_output=True, text=True, check=True
        )
    assert done.code == 0, done.output[-4000:]
    assert reviews.version() == "2.0.0"
    pulled = [line for line in (asked.stdout + asked.stderr).splitlines() if '"GET /v2/team/' in line]
    assert any("/blobs/" in line for line in pulled), "no host has pulled a layer"
    assert registry_server.PASSWORD not in done.output
    ship(reviews, "v1")
