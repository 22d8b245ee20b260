"""The archive filter: what may be left out, and that nothing else changes."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path

import pytest
from ansible.module_utils.slipway.images.archive import (
    ArchiveError,
    archive_name,
    copy_without,
    partial_name,
    read_index,
)
from ansible.module_utils.slipway.images.engine import chain_ids
from hypothesis import given, settings
from hypothesis import strategies as st

Images = list[list[bytes]]  # each image is the contents of its layers
LAYERS = st.sampled_from([b"base", b"deps", b"", b"app one", b"app two", b"more"])
IMAGES = st.lists(st.lists(LAYERS, min_size=1, max_size=5), min_size=1, max_size=3)


def diff(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


def add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


def write(path: Path, images: Images, layout: str) -> None:
    """Write an archive as `docker save` does: `oci` since version 25, `old` before."""
    written: dict[str, str] = {}
    manifest = []
    with tarfile.open(path, "w") as tar:
        for number, layers in enumerate(images):
            config = json.dumps(
                {"rootfs": {"diff_ids": [diff(layer) for layer in layers]}, "n": number}
            ).encode()
            names = []
            for position, layer in enumerate(layers):
                digest = hashlib.sha256(layer).hexdigest()
                name = f"blobs/sha256/{digest}" if layout == "oci" else f"{number}x{position}/layer.tar"
                if digest not in written:
                    written[digest] = name
                    add(tar, name, layer)
                elif layout == "old":
                    link = tarfile.TarInfo(name)
                    link.type, link.linkname = tarfile.SYMTYPE, f"../{written[digest]}"
                    tar.addfile(link)
                names.append(name)
            add(tar, f"config{number}.json", config)
            manifest.append({"Config": f"config{number}.json", "RepoTags": [f"i:{number}"], "Layers": names})
        add(tar, "manifest.json", json.dumps(manifest).encode())


def load(path: Path, known: set[str]) -> set[str]:
    """Load as the engine does: open a layer's file only when its chain id is new. Returns what it has."""
    have = set(known)
    with tarfile.open(path) as tar:
        for image in json.load(tar.extractfile("manifest.json") or io.BytesIO()):
            diff_ids = json.load(tar.extractfile(image["Config"]) or io.BytesIO())["rootfs"]["diff_ids"]
            for name, diff_id, chain in zip(image["Layers"], diff_ids, chain_ids(diff_ids)):
                if chain not in have:
                    opened = tar.extractfile(name)
                    assert opened is not None and diff(opened.read()) == diff_id
                    have.add(chain)
    return have


@settings(max_examples=150, deadline=None)
@given(images=IMAGES, data=st.data(), layout=st.sampled_from(["oci", "old"]))
def test_what_is_left_is_enough_and_no_more(
    tmp_path_factory: pytest.TempPathFactory, images: Images, data: st.DataObject, layout: str
) -> None:
    """Whatever a host knows, the partial archive loads; and each layer's file in it would be opened."""
    folder = tmp_path_factory.mktemp("archive")
    whole, part = folder / "whole.tar", folder / "part.tar"
    write(whole, images, layout)
    chains = [chain_ids([diff(layer) for layer in layers]) for layers in images]
    # A host has a layer only with those below it.
    known = {chain for ids in chains for chain in ids[: data.draw(st.integers(0, len(ids)))]}
    index = read_index(whole)
    left_out = {layer.path for layer in index.not_needed(known)}
    copy_without(whole, part, left_out)

    every = {chain for ids in chains for chain in ids}
    assert load(part, known) == known | every
    with tarfile.open(whole) as before, tarfile.open(part) as after:
        assert set(before.getnames()) - set(after.getnames()) == left_out
        for member in after:
            if member.isfile():
                twin = before.extractfile(member.name)
                kept = after.extractfile(member)
                assert twin is not None and kept is not None and twin.read() == kept.read()
    for layer in index.layers:
        assert (layer.path in left_out) == (not layer.chains - known)


def test_chain_ids_follow_the_specification() -> None:
    one, two = "sha256:" + "1" * 64, "sha256:" + "2" * 64
    assert chain_ids([]) == []
    assert chain_ids([one, two]) == [one, "sha256:" + hashlib.sha256(f"{one} {two}".encode()).hexdigest()]


def test_the_same_layer_on_another_base_is_another_one(tmp_path: Path) -> None:
    write(tmp_path / "a.tar", [[b"base", b"app"]], "oci")
    index = read_index(tmp_path / "a.tar")
    other = chain_ids([diff(b"other"), diff(b"app")])
    assert index.not_needed(other) == []
    assert len(index.not_needed([diff(b"base")])) == 1


@pytest.mark.parametrize("content", [b"", b"not a tar", None])
def test_an_archive_that_is_none_says_so(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "a.tar"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ArchiveError, match=r"a\.tar is not a whole archive"):
        read_index(path)


def test_a_cut_off_archive_says_so(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    write(path, [[b"x" * 5000]], "oci")
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(ArchiveError):
        read_index(path)


def test_names_tell_what_is_inside() -> None:
    assert archive_name({"a": "1", "b": "2"}) == archive_name({"b": "2", "a": "1"})
    assert archive_name({"a": "1"}) != archive_name({"a": "2"})
    assert partial_name("n", {"x", "y"}) == partial_name("n", {"y", "x"}) != partial_name("n", {"x"})
    assert partial_name("n", set()) == "n-whole"
