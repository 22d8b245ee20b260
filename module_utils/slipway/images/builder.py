# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""Has docker build the images of a release, and pull those that exist elsewhere, on the controller."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .build import LABEL, Build, failure, mistakes, pinned_tag, proxy_environment, with_tags
from .engine import DockerError, ImageFacts, docker, inspect

Run = Callable[..., tuple[int, str, str]]
"""Runs a command, with `environ_update` beside the environment; returns exit code, stdout and stderr."""


class BuildError(Exception):
    """An image that can't be had; the message says why and what to do, `result` what else is known."""

    def __init__(self, message: str, **result: Any) -> None:
        super().__init__(message)
        self.result = result


def provide(run: Run, asked: dict[str, Any], check: bool = False) -> dict[str, Any]:
    """Have all images that `asked`, the options of the module image_build, names; return the module's result.

    `asked["log"]` must name a file. With `check` nothing is built, pulled or named. Raises BuildError.
    """
    builds = with_tags(asked["builds"], asked["prefix"], asked["tag"])
    if builds and not (asked["source"] and asked["revision"]):
        raise BuildError("builds need a source and its revision")
    found = mistakes(builds, Path(asked["source"]) if builds else None)
    if asked["ca_file"] and not Path(asked["ca_file"]).is_file():
        found.append(f"the CA bundle {asked['ca_file']} (ca_file) does not exist on the controller")
    if found:
        raise BuildError("; ".join(found))
    try:
        images = {build.service: built(run, build, asked, check) for build in builds}
        for one in asked["references"]:
            pin = one["service"] not in asked["unpinned"]
            images[one["service"]] = referred(run, one["reference"], pin, check)
    except DockerError as error:
        raise BuildError(f"{error}. Is Docker installed and running on the controller?") from error
    made = {build.service for build in builds}
    new = [
        f"{'build' if service in made else 'pull'} {image['reference']} ({service})\n"
        for service, image in images.items()
        if image["changed"]
    ]
    return {
        "changed": bool(new),
        "diff": {"before": "", "after": "".join(new)},
        "images": images,
        "report": {"images": images},
    }


def built(run: Run, build: Build, asked: dict[str, Any], check: bool) -> dict[str, Any]:
    """Build one image unless it is there, and return what it is. Raises BuildError and DockerError."""
    started = time.monotonic()
    revision = asked["revision"]
    image = inspect(run, build.tag)
    if image and image.labels.get(LABEL) == build.key(revision):
        return described(pinned(run, build.tag, image, check), image, False, started)
    if check:
        return described(build.tag, None, True, started)
    environment = proxy_environment(asked["proxy"] or {})
    command = build.command(Path(asked["source"]), revision, asked["ca_file"], sorted(environment))
    log = Path(asked["log"])
    # The output goes to a file at once, where the progress of a long build can be read.
    rc, _, _ = run(
        ["sh", "-c", 'log=$1; shift; exec "$@" >"$log" 2>&1 </dev/null', "sh", str(log), *command],
        environ_update={"DOCKER_BUILDKIT": "1", "BUILDX_NO_DEFAULT_ATTESTATIONS": "1", **environment},
    )
    if rc != 0:
        text = log.read_text(errors="replace")
        raise BuildError(failure(build, command, text, time.monotonic() - started), rc=rc)
    image = inspect(run, build.tag)
    return described(pinned(run, build.tag, image, check) if image else build.tag, image, True, started)


def referred(run: Run, reference: str, pin: bool, check: bool) -> dict[str, Any]:
    """Look up an image by reference, pull it when it is missing, and return what it is. Raises BuildError and DockerError."""
    started = time.monotonic()
    image = inspect(run, reference)
    missing = image is None
    if missing and not check:
        rc, _, err = run(["docker", "pull", "--quiet", reference])
        if rc != 0:
            raise BuildError(
                f"the image {reference} is not on the controller and cannot be pulled: {err.strip()}. "
                f"Correct the reference, `docker login` to its registry, or bring it here with `docker load`"
            )
        image = inspect(run, reference)
    if image and (pin or "@" in reference):
        reference = pinned(run, reference, image, check)
    return described(reference, image, missing, started)


def pinned(run: Run, reference: str, image: ImageFacts, check: bool) -> str:
    """Give an image the name that a release knows it by: one that never stands for another image.

    Built again with other arguments, or pulled anew, a tag moves; on a host it would move under what is live.
    """
    name = pinned_tag(reference, image.id)
    if not check:
        docker(run, "tag", image.id, name)
    return name


def described(reference: str, image: ImageFacts | None, changed: bool, started: float) -> dict[str, Any]:
    """Return the result of one image; `started` is of time.monotonic()."""
    return {
        "reference": reference,
        "id": image.id if image else "",
        "size": image.size if image else 0,
        "layers": len(image.layers) if image else 0,
        "created": image.created if image else "",
        "changed": changed,
        "duration_s": round(time.monotonic() - started, 2),
    }
