"""The controller's part of shipping images: archives, made once for all hosts, and pushes to a registry."""

from __future__ import annotations

import fcntl
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .archive import archive_name, copy_without, partial_name, read_index
from .engine import DockerError, Runner, docker, inspect
from .host import login, trust

KEEP_S = 24 * 3600.0
# Version 23 is the first whose `docker load` reads zstd.
READS_ZSTD = 23


@dataclass(frozen=True)
class Parcel:
    """What goes to a host: a file and its size, the layers in it and left out, the bytes of those in it."""

    path: Path
    size: int
    layers_sent: int
    layers_known: int
    loaded_size: int


def resolve(run: Runner, images: list[dict[str, Any]], check: bool) -> tuple[list[dict[str, Any]], list[str]]:
    """Look images up on the controller's engine.

    Returns them as {reference, id, fingerprint, layers, size}, and in check mode the references of those that
    are yet to be built. Raises DockerError for an image that is missing or is not the one of the id.
    """
    found, missing = [], []
    for image in images:
        reference, expected = image["reference"], image.get("id")
        facts = inspect(run, reference)
        if check and (facts is None or expected == ""):
            missing.append(reference)
            continue
        if facts is None:
            raise DockerError(
                f"the image {reference} is not on the controller: run the build phase "
                "(ansible-playbook playbooks/build.yml)"
            )
        if expected and facts.id != expected:
            raise DockerError(
                f"{reference} is {facts.id} on the controller, not {expected} as it was built: somebody has "
                "given its tag to another image. Run the build phase again"
            )
        found.append(
            {
                "reference": reference,
                "id": facts.id,
                "fingerprint": facts.fingerprint,
                "layers": facts.layers,
                "size": facts.size,
            }
        )
    return found, missing


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock file; other processes of this run that need the same thing wait, and then find it made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def parcel(
    run: Runner,
    images: list[dict[str, Any]],
    known: list[str],
    cache: Path,
    engine_version: str,
    compress: bool,
) -> Parcel:
    """Return the archive of some images without the layers whose chain ids are known to the host.

    `docker save` runs once for a set of images, and the parcel is made once for all hosts that know the same.
    """
    name = archive_name({image["reference"]: image["id"] for image in images})
    # In check mode the version may not be known, for want of an engine; the one to come will be new enough.
    reads_zstd = not engine_version or _major(engine_version) >= READS_ZSTD
    zstd = shutil.which("zstd") if compress and reads_zstd else None
    with locked(cache / f"{name}.lock"):
        _remove_old(cache, name)
        whole = cache / f"{name}.tar"
        if not whole.exists():
            part = cache / f".tmp-{name}.tar"
            docker(run, "save", "--output", str(part), *(image["reference"] for image in images))
            part.rename(whole)
        index = read_index(whole)
        left_out = index.not_needed(known)
        paths = {layer.path for layer in left_out}
        path = cache / f"{partial_name(name, paths)}.tar{'.zst' if zstd else ''}"
        if not path.exists():
            _make(run, whole, path, paths, zstd)
    return Parcel(
        path,
        path.stat().st_size,
        len(index.layers) - len(left_out),
        len(left_out),
        sum(layer.size for layer in index.layers if layer.path not in paths),
    )


def _make(run: Runner, whole: Path, path: Path, left_out: set[str], zstd: str | None) -> None:
    part = path.with_name(f".tmp-{path.name}")
    plain = part.with_suffix("") if zstd else part
    if left_out or not zstd:
        copy_without(whole, plain, left_out)
    if zstd:
        source = plain if left_out else whole
        rc, _, err = run([zstd, "-q", "-3", "-T0", "-f", str(source), "-o", str(part)])
        if left_out:
            plain.unlink()
        if rc != 0:
            raise DockerError(f"the archive {path} could not be compressed: {err.strip()}")
    part.rename(path)


def _major(version: str) -> int:
    digits = version.split(".", 1)[0]
    return int(digits) if digits.isdigit() else 0


def _remove_old(cache: Path, name: str) -> None:
    """Remove what was not made within a day, and what a run that died has left of this set."""
    for path in cache.iterdir():
        mine = path.name.startswith((name, f".tmp-{name}"))
        if path.name.startswith(f".tmp-{name}") or (not mine and time.time() - path.stat().st_mtime > KEEP_S):
            path.unlink(missing_ok=True)


def push(
    run: Runner, images: list[dict[str, Any]], registry: dict[str, Any], cache: Path, again: bool
) -> list[dict[str, Any]]:
    """Push images to a registry and return them with `digest` (registry/name@sha256:...).

    An image the engine has pushed there before is not pushed again, unless `again` says that the registry
    has lost it.
    """
    prefix = registry["url"].rstrip("/")
    with locked(cache / "push.lock"):
        if registry.get("ca"):
            trust(prefix, registry["ca"])
        return [_pushed(run, image, prefix, registry, again) for image in images]


def _pushed(
    run: Runner, image: dict[str, Any], prefix: str, registry: dict[str, Any], again: bool
) -> dict[str, Any]:
    target = f"{prefix}/{image['reference']}"
    name = target.rsplit(":", 1)[0]

    def digest() -> str | None:
        facts = inspect(run, image["reference"])
        return (
            next((known for known in facts.digests if known.startswith(f"{name}@")), None) if facts else None
        )

    known = None if again else digest()
    if known is None:
        # The tag stays: with its removal the engine would forget the digest, and each host would push again.
        docker(run, "tag", image["reference"], target)
        with login(run, registry) as command:
            rc, _, err = run([*command, "push", "--quiet", target])
        if rc != 0:
            raise DockerError(
                f"{image['reference']} could not be pushed to {prefix}: {err.strip()}. "
                "Check the registry's address, user, password and certificate (build_registry)"
            )
        known = digest()
    if known is None:
        raise DockerError(f"{target} was pushed, but the engine does not report its digest")
    return {**image, "digest": known}
