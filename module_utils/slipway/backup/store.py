"""Backups as directories: partial and finished ones, checksums, what a status says, which are kept."""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import hashlib
import json
import os
import re
import shutil
import typing as t
from pathlib import Path

from ..model.durable import sync

SUMS = "SHA256SUMS"
STATUS = "status.json"
IDENTIFIER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}\Z")

Status: t.TypeAlias = "dict[str, t.Any]"


class StoreError(Exception):
    """The directory of backups cannot be used as asked."""


class Store:
    """The backups of one system.

    ``<id>`` is a finished backup, ``.partial-<id>`` one in the making, ``.run-<id>`` what a run needs while
    it runs, ``.deleting-<id>`` one that is being removed: a name says what a directory is worth, whatever was
    interrupted.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, ident: str) -> Path:
        return self.root / ident

    def partial(self, ident: str) -> Path:
        return self.root / f".partial-{ident}"

    def run(self, ident: str) -> Path:
        return self.root / f".run-{ident}"

    @contextlib.contextmanager
    def locked(self, ident: str) -> t.Iterator[None]:
        """Hold the store for one run. Raises StoreError when another one holds it."""
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (self.root / ".lock").open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                raise StoreError(
                    f"another run works in {self.root} ({file.read().strip()}): "
                    "wait for it, or end that process"
                ) from None
            file.truncate(0)
            file.write(f"pid {os.getpid()}, backup {ident}\n")
            file.flush()
            yield

    def status(self, ident: str) -> Status | None:
        """What is written about a finished backup, ``None`` when there is none of that id."""
        try:
            status: Status = json.loads((self.path(ident) / STATUS).read_text())
        except (FileNotFoundError, ValueError):
            return None
        return status

    def all(self) -> list[Status]:
        """The finished backups, the newest first, whether verified or not."""
        if not self.root.is_dir():
            return []
        found = [self.status(p.name) for p in self.root.iterdir() if IDENTIFIER.match(p.name)]
        return sorted((s for s in found if s), key=lambda s: str(s["created"]), reverse=True)

    def last_verified(self) -> Status | None:
        """The newest verified backup."""
        return next((s for s in self.all() if s["verified"]), None)

    def seal(self, ident: str, status: Status) -> Path:
        """Checksum a partial backup, see it to the disk and give it its final name."""
        partial, final = self.partial(ident), self.path(ident)
        write_sums(partial)
        write_json(partial / STATUS, status)
        for path in sorted(partial.rglob("*")):
            sync(path)
        sync(partial)
        partial.rename(final)
        sync(self.root)
        return final

    def remove(self, ident: str) -> None:
        """Remove a backup so that half of one never carries its name."""
        doomed = self.root / f".deleting-{ident}"
        if self.path(ident).exists():
            shutil.rmtree(doomed, ignore_errors=True)
            self.path(ident).rename(doomed)
        shutil.rmtree(doomed, ignore_errors=True)

    def leftovers(self) -> list[Path]:
        """What dead runs left behind; only right while the store is locked."""
        return sorted(
            p for p in self.root.glob(".*-*") if p.name.startswith((".partial-", ".run-", ".deleting-"))
        )

    def expired(self, keep: int) -> list[str]:
        """The ids that may go when the newest ``keep`` verified backups stay.

        Unverified ones are kept as long as they are newer than the newest verified one: they show what went
        wrong.
        """
        backups = self.all()
        kept = [s["id"] for s in backups if s["verified"]][: max(keep, 1)]
        if not kept:
            return []
        newest = next(i for i, s in enumerate(backups) if s["id"] == kept[0])
        return [s["id"] for s in backups[newest:] if s["id"] not in kept]


def now() -> str:
    """The time as the status files have it: UTC, to the microsecond, sortable as text."""
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="microseconds")


def write_json(path: Path, data: t.Any) -> None:
    """Replace a JSON file at once, readable by its owner alone."""
    new = path.with_name(path.name + ".new")
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump(data, file, indent=1, sort_keys=True)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)


def write_sums(directory: Path) -> None:
    """Write SHA256SUMS over all files of a directory, in the form ``sha256sum --check`` reads."""
    lines = [f"{digest}  {name}\n" for name, digest in sorted(_sums(directory).items())]
    (directory / SUMS).write_text("".join(lines))
    (directory / SUMS).chmod(0o600)


def check_sums(directory: Path) -> list[str]:
    """What differs from SHA256SUMS, one sentence for each file; empty when all is as it was written."""
    try:
        lines = (directory / SUMS).read_text().splitlines()
    except FileNotFoundError:
        return [f"{directory / SUMS} is missing"]
    expected = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    actual = _sums(directory)
    found = [f"{name} is missing" for name in sorted(set(expected) - set(actual))]
    found += [f"{name} is not in {SUMS}" for name in sorted(set(actual) - set(expected))]
    both = sorted(set(expected) & set(actual))
    return found + [
        f"{name} was changed after it was written" for name in both if expected[name] != actual[name]
    ]


def copy_files(paths: t.Iterable[str], target: Path) -> int:
    """Copy files and directories (each at its own path below ``target``, 0600); their number.

    Raises StoreError that names every path that does not exist.
    """
    paths = list(paths)
    missing = [p for p in paths if not Path(p).exists()]
    if missing:
        raise StoreError(f"no such file to back up: {', '.join(missing)}; correct backup_files")
    number = 0
    for path in map(Path, paths):
        for source in [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file()):
            copy = target / source.absolute().relative_to("/")
            copy.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with os.fdopen(os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.write(source.read_bytes())
            number += 1
    return number


def size(directory: Path) -> int:
    """The bytes in all files of a directory."""
    return sum(p.stat().st_size for p in directory.rglob("*") if p.is_file())


def _sums(directory: Path) -> dict[str, str]:
    # The status is written again as a backup comes to be trusted, so it cannot be part of what is
    # checksummed.
    own = {directory / SUMS, directory / STATUS, directory / (STATUS + ".new")}
    files = (p for p in directory.rglob("*") if p.is_file() and p not in own)
    return {str(p.relative_to(directory)): _sha256(p) for p in files}


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
