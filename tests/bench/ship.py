#!/usr/bin/env python3
"""Measure ways of bringing an image to a host: bytes on the wire and seconds, medians of several runs.

usage: tests/bench/ship.py [--runs 3] [--json FILE]

The image is Debian with 20 MB of dependencies that do not compress, and a small layer with the application,
which is all that changes in an update. The host is a container with SSH and an engine of its own. `seconds`
are those of the task itself; `wall` has Ansible's start in it. The floor is `docker save | ssh docker load`.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from integration.ship.conftest import Ansible, Host, remove, sh
from registry_server import bridge, registry_server

MB = 1024 * 1024
DOCKERFILE = """\
FROM slipway/debian:13
COPY deps.bin /deps.bin
COPY app.txt /app.txt
LABEL slipway.test=1
"""
Figures = dict[str, list[tuple[float, float, float]]]


def build(context: Path, version: str) -> str:
    """Build a version of the image, which differs in its last layer."""
    (context / "Dockerfile").write_text(DOCKERFILE)
    (context / "app.txt").write_text(f"{version} {time.time()}")
    sh("docker", "build", "--quiet", "--pull=false", "--tag", f"ship-bench:{version}", str(context))
    return f"ship-bench:{version}"


def forget(host: Host) -> None:
    """Remove every image from the host."""
    host.run("docker image ls -aq | xargs -r docker image rm -f", check=False)


def by_hand(host: Host, reference: str) -> tuple[float, float, float]:
    """Ship by plain commands, uncompressed; return MB, seconds, wall."""
    started = time.monotonic()
    options = f"-o UserKnownHostsFile={host.known_hosts} -i {host.directory}/key"
    command = f"docker save {reference} | tee >(wc -c >&2) | ssh {options} root@{host.address} docker load -q"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    took = time.monotonic() - started
    return int(done.stderr.split()[0]) / MB, took, took


def by_task(ansible: Ansible, host: Host, reference: str, **more: Any) -> tuple[float, float, float]:
    """Ship by image_ship; return MB, seconds, wall."""
    started = time.monotonic()
    result = ansible.ship([{"reference": reference}], **more)[host.name]
    if result.get("failed"):
        raise SystemExit(result["msg"])
    return result["bytes_sent"] / MB, result["seconds"], time.monotonic() - started


def measure(folder: Path, runs: int) -> Figures:
    """Run each way several times."""
    figures: Figures = {}
    host = Host("ship-bench", folder)
    context = folder / "context"
    context.mkdir()
    (context / "deps.bin").write_bytes(os.urandom(20 * MB))
    try:
        with registry_server(folder, bridge()) as registry:
            for run in range(runs):
                print(f"run {run + 1} of {runs}", file=sys.stderr)

                def note(name: str, measured: tuple[float, float, float]) -> None:
                    figures.setdefault(name, []).append(measured)

                one, two = build(context, f"a{run}"), build(context, f"b{run}")
                ansible = Ansible(folder, [host])
                forget(host)
                note("save | ssh load, first", by_hand(host, one))
                note("save | ssh load, update", by_hand(host, two))
                forget(host)
                note("image_ship, first", by_task(ansible, host, one))
                note("image_ship, update", by_task(ansible, host, two))
                note("image_ship, nothing to do", by_task(ansible, host, two))
                forget(host)
                note("image_ship uncompressed, first", by_task(ansible, host, one, compress=False))
                forget(host)
                note("registry, first", by_task(ansible, host, one, registry=registry))
                note("registry, update", by_task(ansible, host, two, registry=registry))
    finally:
        remove(host.name)
        ours = sh("docker", "image", "ls", "--quiet", "--filter", "reference=*ship-bench")
        ours += "\n" + sh("docker", "image", "ls", "--quiet", "--filter", "reference=*/*/ship-bench")
        if ours.split():
            sh("docker", "image", "rm", "--force", *set(ours.split()))
    return figures


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write the medians there as well")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="slipway-bench-") as folder:
        figures = measure(Path(folder), options.runs)
    rows = {
        name: dict(zip(("mb", "seconds", "wall_s"), (round(statistics.median(c), 2) for c in zip(*measured))))
        for name, measured in figures.items()
    }
    print(f"{'way':32} {'MB':>8} {'seconds':>8} {'wall':>8}")
    for name, row in rows.items():
        megabytes = "-" if name.startswith("registry") else f"{row['mb']:.2f}"
        print(f"{name:32} {megabytes:>8} {row['seconds']:8.2f} {row['wall_s']:8.2f}")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
