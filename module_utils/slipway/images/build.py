"""Builds of images: what a build depends on, its command line, and what is wrong with a list of builds."""

from __future__ import annotations

import hashlib
import json
import shlex
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

LABEL = "slipway.build"
_PROXIES = ("http_proxy", "https_proxy", "no_proxy")


@dataclass(frozen=True)
class Build:
    """One image to build. `context` and `dockerfile` are paths relative to the source."""

    service: str
    tag: str
    context: str = "."
    dockerfile: str = "Dockerfile"
    target: str | None = None
    args: dict[str, str] = field(default_factory=dict)

    def key(self, revision: str) -> str:
        """Return a hash of all that decides what is built: an image that carries it is not built again."""
        inputs = [revision, self.context, self.dockerfile, self.target, sorted(self.args.items())]
        return hashlib.sha256(json.dumps(inputs).encode()).hexdigest()

    def command(
        self, source: Path, revision: str, ca_file: str | None = None, proxies: list[str] | None = None
    ) -> list[str]:
        """Return the `docker build` command line.

        Proxies are named without a value, which docker takes from its environment: an address can hold a
        password, and everybody on the machine can read a command line.
        """
        command = ["docker", "build", "--progress=plain", "--pull=false"]
        command += ["--file", str(source / self.context / self.dockerfile), "--tag", self.tag]
        command += ["--label", f"{LABEL}={self.key(revision)}"]
        command += ["--label", f"org.opencontainers.image.revision={revision}"]
        if self.target:
            command += ["--target", self.target]
        for name, value in sorted(self.args.items()):
            command += ["--build-arg", f"{name}={value}"]
        for name in proxies or []:
            command += ["--build-arg", name]
        if ca_file:
            command += ["--secret", f"id=ca,src={ca_file}"]
        return [*command, str(source / self.context)]


def argument_text(value: Any) -> str:
    """Return the value of a build argument as Compose writes it: true, not Python's True."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value).removesuffix(".0") if isinstance(value, float) else str(value)


def with_tags(builds: list[dict[str, Any]], prefix: str, tag: str) -> list[Build]:
    """Return the builds as they were written, each with a tag: its own, or `prefix`/service:`tag`.

    Services that are built alike get one tag, that of the first of them, and so share one image.
    """
    first: dict[str, str] = {}
    tagged = []
    for written in builds:
        given = {key: value for key, value in written.items() if value is not None and key != "tag"}
        # One without a value is left out, for the Dockerfile's own default.
        arguments = {
            name: argument_text(value)
            for name, value in (given.get("args") or {}).items()
            if value is not None
        }
        build = Build(**{**given, "args": arguments, "tag": written.get("tag") or ""})
        name = first.setdefault(build.key(""), build.service)
        tagged.append(build if build.tag else replace(build, tag=f"{prefix}/{name}:{tag}"))
    return tagged


def proxy_environment(proxy: dict[str, Any]) -> dict[str, str]:
    """Return the environment for proxies given as {http_proxy, https_proxy, no_proxy}, in both spellings."""
    given = {name: str(proxy[name]) for name in _PROXIES if proxy.get(name)}
    return {**given, **{name.upper(): value for name, value in given.items()}}


def mistakes(builds: list[Build], source: Path | None) -> list[str]:
    """Return everything that is wrong with the builds, in words for whoever wrote them."""
    found = []
    by_tag: dict[str, Build] = {}
    for build in builds:
        other = by_tag.setdefault(build.tag, build)
        if other.key("") != build.key(""):
            found.append(
                f"services {other.service} and {build.service} are built differently under one tag "
                f"{build.tag}: give each a tag of its own"
            )
        if source is None:
            continue
        for what, path in (
            ("context", source / build.context),
            ("dockerfile", source / build.context / build.dockerfile),
        ):
            if not path.resolve().is_relative_to(source.resolve()):
                found.append(f"service {build.service}: its {what} {path} lies outside the exported source")
                break
            if not path.exists():
                found.append(
                    f"service {build.service}: its {what} {path.relative_to(source)} is not in the source "
                    f"{source}: correct the path (relative to the source), or commit the file"
                )
                break
    return found


def failure(build: Build, command: list[str], log: str, seconds: float) -> str:
    """Return the message for a build that failed: the end of its output, and how to repeat it by hand."""
    tail = "\n".join(log.rstrip().splitlines()[-30:])
    hint = ""
    if "certificate verify failed" in log.lower() or "self-signed certificate" in log.lower():
        hint = (
            "\nThe build met a certificate it does not trust. Behind a proxy that intercepts TLS, set "
            "build_ca_file and mount it in the Dockerfile: docs/images.md, 'Builds behind a company's proxy'."
        )
    elif "buildx" in log.lower() and "missing" in log.lower():
        hint = "\nInstall Docker's build plugin on the controller: `apt-get install docker-buildx`."
    return (
        f"the image of service {build.service} could not be built ({seconds:.1f} s). Its last output:\n"
        f"{tail}{hint}\nTo repeat it on the controller: {shlex.join(command)}"
    )


def pinned_tag(reference: str, image_id: str) -> str:
    """Return a name for an image that is known by digest: archives carry names and tags, but no digests.

    It is not the tag itself, which may stand for another image on the same machine.
    """
    name = reference.split("@", 1)[0]
    repository, colon, tag = name.rpartition(":")
    if not colon or "/" in tag:
        repository, tag = name, "pinned"
    return f"{repository}:{tag}-{image_id.split(':', 1)[-1][:12]}"
