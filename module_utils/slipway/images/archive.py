"""Archives of `docker save`, and the same archive without the layers a host has already.

`docker load` never opens the file of a layer whose chain id its engine knows, so that file can be left out.
This holds for the three layouts an archive can have: the OCI layout of `docker save` since version 25 (files
named by their digest), the older one (a directory a layer, repeated layers as symbolic links), and the
compressed layers of engines with containerd's image store.
"""

from __future__ import annotations

import hashlib
import json
import posixpath
import tarfile
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .engine import chain_ids


class ArchiveError(Exception):
    """The file is not an archive of `docker save`, or a part of it is missing."""


@dataclass(frozen=True)
class Layer:
    """A layer's file in an archive: its size in bytes, and the chain ids it is needed for."""

    path: str
    size: int
    chains: frozenset[str]


@dataclass(frozen=True)
class Index:
    """What an archive holds: references, and layers in the order of the images."""

    references: list[str]
    layers: list[Layer]

    def not_needed(self, known: Collection[str]) -> list[Layer]:
        """Return the layers which an engine that has the `known` chain ids does not open."""
        have = set(known)
        return [layer for layer in self.layers if layer.chains <= have]


def read_index(archive: Path) -> Index:
    """Read what an archive holds; only headers and manifests are read, layers are skipped over."""
    try:
        with tarfile.open(archive) as tar:
            return _read_index(tar)
    except (tarfile.TarError, KeyError, ValueError, OSError) as error:
        raise ArchiveError(
            f"{archive} is not a whole archive of `docker save` ({error}): remove it and run again"
        ) from error


def _read_index(tar: tarfile.TarFile) -> Index:
    members = {member.name: member for member in tar.getmembers()}

    def load(name: str) -> Any:
        opened = tar.extractfile(members[name])
        if opened is None:
            raise ValueError(f"{name} is not a file")
        return json.loads(opened.read())

    chains: dict[str, set[str]] = {}
    references: list[str] = []
    for image in load("manifest.json"):
        references += image.get("RepoTags") or []
        diff_ids = load(image["Config"])["rootfs"]["diff_ids"]
        if len(diff_ids) != len(image["Layers"]):
            raise ValueError(f"{len(image['Layers'])} files for {len(diff_ids)} layers")
        for path, chain in zip(image["Layers"], chain_ids(diff_ids)):
            chains.setdefault(_target(members, path), set()).add(chain)
    return Index(
        references, [Layer(path, members[path].size, frozenset(ids)) for path, ids in chains.items()]
    )


def _target(members: dict[str, tarfile.TarInfo], path: str) -> str:
    """Follow the symbolic links with which older engines store a repeated layer."""
    for _ in range(len(members)):
        member = members[path]
        if not member.issym():
            return path
        path = posixpath.normpath(posixpath.join(posixpath.dirname(path), member.linkname))
    raise ValueError(f"{path} is a link to itself")


def copy_without(source: Path, target: Path, left_out: Collection[str]) -> None:
    """Copy an archive without the files named in `left_out`; everything else stays as it is."""
    skip = set(left_out)
    with tarfile.open(source) as read, tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as write:
        for member in read:
            if member.name not in skip:
                write.addfile(member, read.extractfile(member) if member.isfile() else None)


def archive_name(images: dict[str, str]) -> str:
    """Return the name under which the archive of a set of images ({reference: id}) is kept."""
    text = "\n".join(f"{reference}={image_id}" for reference, image_id in sorted(images.items()))
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def partial_name(name: str, left_out: Collection[str]) -> str:
    """Return the name of an archive without some layers: the same for each host that has the same ones."""
    if not left_out:
        return f"{name}-whole"
    return f"{name}-{hashlib.sha256(' '.join(sorted(left_out)).encode()).hexdigest()[:16]}"
