"""The host's part of shipping images: what is there, loading an archive, pulling from a registry."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .engine import DockerError, ImageFacts, Runner, docker, engine, familiar, inspect, inspect_all

CERTIFICATES = Path("/etc/docker/certs.d")


def step(run: Runner, asked: dict[str, Any], check: bool = False) -> dict[str, Any]:
    """Do the step in `asked`, the options of the module image_ship: probe, load or pull. Raises DockerError and OSError."""
    images, staging = asked["images"], asked["staging_dir"]
    if asked["step"] == "load":
        return load(run, images, staging, asked["archive"])
    if asked["step"] == "pull":
        return pull(run, images, asked["registry"])
    return probe(run, images, staging, check)


def same(image: ImageFacts | None, wanted: dict[str, Any]) -> bool:
    """Say whether an image is the wanted one ({id, fingerprint}) and whole, on whichever kind of image store.

    containerd's store names an image before its layers are complete. After a load that failed or was cut off,
    version 26 does not list it, and version 28 lists it with its id but without layers.
    """
    if image is None or not image.layers:
        return False
    return bool(image.id == wanted["id"] or image.fingerprint == wanted["fingerprint"])


def probe(run: Runner, images: list[dict[str, Any]], staging: str, check: bool) -> dict[str, Any]:
    """Say which images are lacking and which of their layers are known; give tags to images that are there.

    `images` are {reference, id, fingerprint, layers}. In check mode nothing is changed, and a host without an
    engine counts as one without images.
    """
    directory = Path(staging)
    if shutil.which("docker") is None:
        if check:
            return _probed([image["reference"] for image in images], staging=directory)
        raise DockerError("docker is not installed on this host: run the whole deploy, which installs it")
    about = engine(run)
    if not check:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    there = inspect_all(run)
    lacking, tagged = [], []
    for wanted in images:
        found = next((image for image in there if same(image, wanted)), None)
        if found is None:
            lacking.append(wanted["reference"])
        elif familiar(wanted["reference"]) not in found.tags:
            tagged.append(wanted["reference"])
            if not check:
                docker(run, "tag", found.id, wanted["reference"])
    if not (lacking or check):
        _clean(directory)
    wanted_layers = {layer for image in images for layer in image["layers"]}
    known = wanted_layers & {layer for image in there for layer in image.layers}
    return _probed(
        lacking,
        tagged,
        known=sorted(known),
        staging=directory,
        version=about.version,
        store=about.store,
        free=_free(about.root),
        ids={wanted["reference"]: image.id for wanted in images for image in there if same(image, wanted)},
    )


def _probed(
    lacking: list[str],
    tagged: list[str] | None = None,
    *,
    staging: Path,
    known: list[str] | None = None,
    version: str = "",
    store: str = "",
    free: int | None = None,
    ids: dict[str, str] | None = None,
) -> dict[str, Any]:
    staged = {path.name: path.stat().st_size for path in staging.iterdir()} if staging.is_dir() else {}
    return {
        "lacking": lacking,
        "tagged": tagged or [],
        "known": known or [],
        "staged": staged,
        "version": version,
        "store": store,
        "free": free,
        "free_staging": _free(str(staging)),
        "ids": ids or {},
    }


def _free(path: str) -> int | None:
    """Return the free bytes at a path, or at the nearest directory above that exists."""
    for parent in [Path(path), *Path(path).parents]:
        if parent.is_dir():
            about = os.statvfs(parent)
            return about.f_bavail * about.f_frsize
    return None


def _clean(staging: Path) -> None:
    for leftover in staging.iterdir():
        leftover.unlink()


def load(run: Runner, images: list[dict[str, Any]], staging: str, archive: str) -> dict[str, Any]:
    """Load the staged archive, and compare what is there afterwards.

    Returns the host's `ids`, or `error` when the archive could not be loaded and a whole one may help.
    Raises DockerError when the disk is full, or the loaded images are not the wanted ones.
    """
    directory = Path(staging)
    rc, out, err = run(["docker", "load", "--quiet", "--input", str(directory / archive)])
    # Version 28 with containerd's store exits 0 when layers are missing, and says so on stdout.
    broken = any(line.startswith("Error") for line in out.splitlines())
    if rc != 0 or broken:
        _clean(directory)
        if "no space left on device" in err.lower():
            raise DockerError(
                f"the disk of this host is full, the images cannot be loaded: {err.strip()}. "
                "See `docker system df` and `df -h`; `docker image prune` removes images without a name"
            )
        return {"changed": False, "error": (err or out).strip()}
    ids = _verified(run, images)
    _clean(directory)
    return {"changed": True, "error": "", "ids": ids}


def _verified(run: Runner, images: list[dict[str, Any]]) -> dict[str, str]:
    ids = {}
    for wanted in images:
        image = inspect(run, wanted["reference"])
        if image is None or not same(image, wanted):
            seen = f"is {image.id}" if image else "is missing"
            raise DockerError(
                f"after shipping, {wanted['reference']} {seen} on this host; "
                f"the controller's is {wanted['id']}"
            )
        ids[wanted["reference"]] = image.id
    return ids


def pull(run: Runner, images: list[dict[str, Any]], registry: dict[str, Any]) -> dict[str, Any]:
    """Pull images by digest ({reference, digest: registry/name@sha256:...}), name and compare them.

    Returns `error` when the registry does not have one of them.
    """
    if registry.get("ca"):
        trust(registry["url"], registry["ca"])
    with login(run, registry) as command:
        for image in images:
            rc, _, err = run([*command, "pull", "--quiet", image["digest"]])
            if rc != 0:
                return {"changed": False, "error": err.strip()}
            docker(run, "tag", image["digest"], image["reference"])
    return {"changed": True, "error": "", "ids": _verified(run, images)}


def trust(url: str, ca: str) -> bool:
    """Put a registry's CA certificate (PEM text) where the engine looks; return whether that was a change."""
    path = CERTIFICATES / url.split("/", 1)[0] / "ca.crt"
    if path.exists() and path.read_text() == ca:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(ca)
    return True


@contextmanager
def login(run: Runner, registry: dict[str, Any]) -> Iterator[list[str]]:
    """Yield a docker command that is logged in at a registry, by a directory that is gone afterwards.

    Neither the command line nor the user's own configuration ever holds the password.
    """
    if not registry.get("username"):
        yield ["docker"]
        return
    # The user's configuration may choose another engine (`docker context use`), which must stay chosen.
    endpoint = docker(run, "context", "inspect", "--format", "{{.Endpoints.docker.Host}}").strip()
    user = f"{registry['username']}:{registry.get('password') or ''}"
    server = re.sub(r"^https?://", "", registry["url"]).split("/", 1)[0]
    auths = {server: {"auth": base64.b64encode(user.encode()).decode()}}
    with tempfile.TemporaryDirectory(prefix="slipway-docker-") as directory:
        config = Path(directory) / "config.json"
        config.touch(mode=0o600)
        config.write_text(json.dumps({"auths": auths}))
        yield ["docker", "--config", directory, "--host", endpoint]
