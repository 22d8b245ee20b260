"""What an engine knows of its images, asked through the docker command line."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any, Callable

Runner = Callable[[list[str]], tuple[int, str, str]]
"""Runs a command (argv) and returns exit code, stdout and stderr."""

# What the image format itself defines: engines add, drop and rename other fields between versions.
_CONFIG = (
    "Cmd",
    "Entrypoint",
    "Env",
    "ExposedPorts",
    "Healthcheck",
    "Labels",
    "StopSignal",
    "User",
    "Volumes",
    "WorkingDir",
)


class DockerError(Exception):
    """A docker command failed; the message names the command and what docker printed."""


@dataclass(frozen=True)
class ImageFacts:
    """One image of one engine. `size` is in bytes, `layers` are chain ids, the lowest layer first."""

    id: str
    tags: list[str]
    digests: list[str]
    layers: list[str]
    size: int
    created: str
    labels: dict[str, str]
    fingerprint: str

    def as_dict(self) -> dict[str, Any]:
        """Return the facts as JSON data."""
        return asdict(self)


@dataclass(frozen=True)
class Engine:
    """The engine itself: its version, kind of image store (`graphdriver` or `containerd`), data directory."""

    version: str
    store: str
    root: str


def chain_ids(diff_ids: list[str]) -> list[str]:
    """Return the chain id of each layer: what it is *on top of those below it* (OCI image specification)."""
    chain: list[str] = []
    for diff_id in diff_ids:
        below = f"{chain[-1]} {diff_id}" if chain else None
        chain.append("sha256:" + hashlib.sha256(below.encode()).hexdigest() if below else diff_id)
    return chain


def fingerprint(inspected: dict[str, Any]) -> str:
    """Return what makes two images the same on any engine.

    The id will not do: it is the digest of the configuration in one kind of image store and the digest of
    the manifest in the other (containerd's, the default of new installations since Docker 29).
    """
    config = inspected.get("Config") or {}
    same = {
        "platform": [inspected.get("Os"), inspected.get("Architecture")],
        "layers": (inspected.get("RootFS") or {}).get("Layers") or [],
        "config": {key: config[key] for key in _CONFIG if config.get(key)},
    }
    return hashlib.sha256(json.dumps(same, sort_keys=True).encode()).hexdigest()


def familiar(reference: str) -> str:
    """Return the reference as the engine lists it: without Docker Hub's prefix, with a tag or a digest."""
    for prefix in ("docker.io/library/", "docker.io/"):
        if reference.startswith(prefix):
            reference = reference[len(prefix) :]
            break
    last = reference.rsplit("/", 1)[-1]
    return reference if ":" in last or "@" in last else f"{reference}:latest"


def facts(inspected: dict[str, Any]) -> ImageFacts:
    """Turn one element of `docker image inspect` into facts."""
    return ImageFacts(
        id=inspected["Id"],
        tags=inspected.get("RepoTags") or [],
        digests=inspected.get("RepoDigests") or [],
        layers=chain_ids((inspected.get("RootFS") or {}).get("Layers") or []),
        size=int(inspected.get("Size") or 0),
        created=inspected.get("Created") or "",
        labels=(inspected.get("Config") or {}).get("Labels") or {},
        fingerprint=fingerprint(inspected),
    )


def docker(run: Runner, *arguments: str) -> str:
    """Run a docker command and return its stdout; raise DockerError when it fails."""
    rc, out, err = run(["docker", *arguments])
    if rc != 0:
        raise DockerError(f"`docker {' '.join(arguments)}` ended with {rc}: {(err or out).strip()}")
    return out


def inspect(run: Runner, reference: str) -> ImageFacts | None:
    """Return the facts of an image of this engine, None when it has none of that name."""
    rc, out, err = run(["docker", "image", "inspect", reference])
    if rc == 0:
        return facts(json.loads(out)[0])
    if "no such image" in err.lower():
        return None
    raise DockerError(f"`docker image inspect {reference}` ended with {rc}: {err.strip()}")


def inspect_all(run: Runner) -> list[ImageFacts]:
    """Return the facts of every image of this engine, also of those that have lost their name."""
    ids = sorted(set(docker(run, "image", "ls", "--all", "--quiet", "--no-trunc").split()))
    if not ids:
        return []
    # An image that is removed between the two commands makes the exit code 1; the others are printed.
    rc, out, err = run(["docker", "image", "inspect", *ids])
    if rc != 0 and "no such image" not in err.lower():
        raise DockerError(f"`docker image inspect` ended with {rc}: {err.strip()}")
    return [facts(image) for image in json.loads(out or "[]")]


def engine(run: Runner) -> Engine:
    """Ask the engine for its version, the kind of its image store and its data directory."""
    info = json.loads(docker(run, "info", "--format", "{{json .}}"))
    if not info.get("ServerVersion"):
        # The command line of version 23 and older exits 0 without an engine.
        raise DockerError(f"the Docker engine does not answer: {info.get('ServerErrors')}")
    status = dict(pair for pair in info.get("DriverStatus") or [] if len(pair) == 2)
    containerd = status.get("driver-type", "").startswith("io.containerd.snapshotter")
    return Engine(info["ServerVersion"], "containerd" if containerd else "graphdriver", info["DockerRootDir"])
