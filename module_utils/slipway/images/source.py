"""A revision of an application's source, from git or from a plain directory, as a directory of its own."""

from __future__ import annotations

import difflib
import fcntl
import hashlib
import re
import shutil
import stat
import tarfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Callable

from ..masking.texts import has_password

Runner = Callable[[list[str]], tuple[int, str, str]]
"""Runs a command (argv) and returns exit code, stdout and stderr."""


class SourceError(Exception):
    """The source cannot be read or fetched; the message says what to do."""


@dataclass(frozen=True)
class Export:
    """An exported revision. `date` is the author's date (ISO 8601, UTC); `created` is False if it was there."""

    revision: str
    short: str
    path: str
    subject: str
    date: str
    dirty: bool
    created: bool
    warnings: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """Return the export as JSON data."""
        return asdict(self)


def export(
    run: Runner, find: Callable[[str], str | None], asked: dict[str, Any]
) -> tuple[dict[str, Any], list[str]]:
    """Export what `asked`, the options of the module source_export, names; return the module's result and warnings.

    `find` says where a program lies. Raises SourceError and OSError.
    """
    dest, base = Path(asked["dest"]).resolve(), Path(asked["relative_to"]).resolve()
    if asked["path"]:
        made = export_tree(base / asked["path"], dest, asked["exclude"])
    elif find("git") is None:
        raise SourceError(
            "git is not installed on the controller: `apt-get install git` (or your system's way)"
        )
    else:
        repo = asked["repo"] if is_url(asked["repo"]) else str(base / Path(asked["repo"]).expanduser())
        made = export_git(run, repo, asked["version"], dest)
    told = made.as_dict()
    created, warnings = told.pop("created"), told.pop("warnings")
    return {"changed": created, **told, "report": {"source": told}}, warnings


def is_url(repo: str) -> bool:
    """Say whether a repository is reached over a transport (`https://`, `ssh://`, `git@host:path`)."""
    return "://" in repo or re.match(r"^[\w.-]+@[\w.-]+:", repo) is not None


def export_git(run: Runner, repo: str, version: str, dest: Path) -> Export:
    """Export a branch, tag or commit of a repository to `dest`/<commit>.

    A remote repository is mirrored under `dest` first, and fetched again unless `version` is a commit the
    mirror has. Raises SourceError for an unknown version, something that is no repository, or a failed fetch.
    """
    if version.startswith("-") or not version:
        raise SourceError(f"{version!r} is not a version: write a branch, a tag or a commit")
    if has_password(repo):
        raise SourceError(
            "the repository's address contains a password, which would be seen in the list of processes: "
            "write the address without it, and use a deploy key over SSH or git's credential helper"
        )
    with _locked(dest):
        git_dir = _mirror(run, repo, version, dest) if is_url(repo) else _local(run, repo)
        commit = _commit(run, git_dir, repo, version)
        subject, date = _git(run, git_dir, "log", "-1", "--format=%s%n%at", commit).split("\n")[:2]
        files = _git(run, git_dir, "ls-tree", "--name-only", commit).split("\n")
        warnings = []
        if ".gitmodules" in files:
            warnings.append(
                f"{repo} has submodules, and an export has none of their files: vendor what the build needs"
            )
        target = dest / commit
        created = not target.is_dir()
        if created:
            _archive(run, git_dir, commit, target)
    # As a number: git's own ISO 8601 writes UTC as Z or +00:00, by its version.
    date = _iso(int(date))
    return Export(commit, commit[:12], str(target), subject, date, _dirty(run, git_dir), created, warnings)


def export_tree(source: Path, dest: Path, exclude: Collection[str]) -> Export:
    """Export a plain directory to `dest`/tree-<hash>, leaving out entries named in `exclude`.

    The hash covers names, contents, links and the executable bit, and nothing that differs between two
    checkouts of the same files. Raises SourceError when the directory is missing or changes meanwhile.
    """
    if not source.is_dir():
        raise SourceError(f"the source directory {source} does not exist on the controller")
    if dest.resolve() == source.resolve() or source.resolve() in dest.resolve().parents:
        exclude = [*exclude, dest.name]
    revision, newest = tree_revision(source, exclude)
    target = dest / revision
    with _locked(dest):
        created = not target.is_dir()
        if created:
            temporary = dest / f".tmp-{revision}"
            shutil.copytree(
                source, temporary, symlinks=True, ignore=lambda _, names: set(names) & set(exclude)
            )
            if tree_revision(temporary, ())[0] != revision:
                raise SourceError(f"{source} was changed while it was read: run again")
            temporary.rename(target)
    date = _iso(newest)
    return Export(revision, revision[:17], str(target), f"files of {source.resolve()}", date, False, created)


def tree_revision(root: Path, exclude: Collection[str]) -> tuple[str, float]:
    """Return `tree-<hash>` of a directory, and the time of its newest file (seconds since the epoch)."""
    digest = hashlib.sha256()
    newest = 0.0
    for path in sorted(_walk(root, exclude), key=lambda found: found.relative_to(root).as_posix()):
        about = path.lstat()
        newest = max(newest, about.st_mtime)
        if stat.S_ISLNK(about.st_mode):
            kind, content = "link", str(path.readlink()).encode()
        elif stat.S_ISREG(about.st_mode):
            kind, content = ("program" if about.st_mode & 0o100 else "file"), path.read_bytes()
        else:
            raise SourceError(f"{path} is neither a file, a directory nor a link: remove it from the source")
        name = path.relative_to(root).as_posix()
        digest.update(f"{kind} {len(name.encode())} {name} {hashlib.sha256(content).hexdigest()}\n".encode())
    return f"tree-{digest.hexdigest()[:40]}", newest


def _walk(root: Path, exclude: Collection[str]) -> Iterator[Path]:
    for entry in root.iterdir():
        if entry.name in exclude:
            continue
        if entry.is_dir() and not entry.is_symlink():
            yield from _walk(entry, exclude)
        else:
            yield entry


@contextmanager
def _locked(dest: Path) -> Iterator[None]:
    """Hold the cache, so that leftovers in it are those of a run that died."""
    dest.mkdir(parents=True, exist_ok=True)
    with (dest / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for leftover in dest.glob(".tmp-*"):
            shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
        yield


def _line(error: str) -> str:
    """Return what git has printed as one line."""
    return " ".join(error.split()).rstrip(".")


def _git(run: Runner, git_dir: Path, *arguments: str) -> str:
    rc, out, err = run(["git", "-C", str(git_dir), *arguments])
    if rc != 0:
        raise SourceError(f"`git -C {git_dir} {' '.join(arguments)}` failed: {err.strip()}")
    return out.rstrip("\n")


def _local(run: Runner, repo: str) -> Path:
    path = Path(repo)
    if not path.is_dir():
        raise SourceError(f"the repository {repo} does not exist on the controller")
    rc, out, err = run(["git", "-C", str(path), "rev-parse", "--show-prefix"])
    if rc != 0:
        raise SourceError(
            f"{repo} is not a git repository ({_line(err)}): "
            f"write `path: {repo}` to ship it as a plain directory"
        )
    if out.strip():
        top = str(path.resolve())[: -len(out.strip().rstrip("/"))].rstrip("/")
        raise SourceError(
            f"{repo} is a directory inside the repository {top}: write `repo: {top}`, "
            f"or `path: {repo}` to ship it as a plain directory"
        )
    return path


def _mirror(run: Runner, url: str, version: str, dest: Path) -> Path:
    mirror = dest / ".mirrors" / f"{hashlib.sha256(url.encode()).hexdigest()[:16]}.git"
    if not mirror.is_dir():
        mirror.parent.mkdir(exist_ok=True)
        temporary = dest / ".tmp-mirror"
        rc, _, err = run(["git", "clone", "--quiet", "--mirror", "--", url, str(temporary)])
        if rc != 0:
            raise SourceError(f"{url} could not be cloned: {_line(err)}. Try: git ls-remote {url}")
        temporary.rename(mirror)
    elif not (re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", version) and _resolve(run, mirror, version)):
        rc, _, err = run(["git", "-C", str(mirror), "fetch", "--quiet", "--prune", "origin"])
        if rc != 0:
            raise SourceError(f"{url} could not be fetched: {_line(err)}. Try: git ls-remote {url}")
    return mirror


def _resolve(run: Runner, git_dir: Path, name: str) -> str | None:
    rc, out, _ = run(["git", "-C", str(git_dir), "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}"])
    return out.strip() if rc == 0 else None


def _commit(run: Runner, git_dir: Path, repo: str, version: str) -> str:
    branch = _resolve(run, git_dir, f"refs/heads/{version}")
    tag = _resolve(run, git_dir, f"refs/tags/{version}")
    if branch and tag and branch != tag:
        raise SourceError(
            f"{repo} has a branch and a tag named {version} at different commits: "
            f"write refs/heads/{version} or refs/tags/{version}"
        )
    remote = _resolve(run, git_dir, f"refs/remotes/origin/{version}")
    commit = branch or tag or _resolve(run, git_dir, version) or remote
    if commit:
        return commit
    names = _git(
        run,
        git_dir,
        "for-each-ref",
        "--sort=-creatordate",
        "--format=%(refname:short)",
        "refs/heads",
        "refs/tags",
    ).split()
    near = difflib.get_close_matches(version, names, n=5, cutoff=0.5) or names[:5]
    offer = f"Near it: {', '.join(near)}" if near else "It has no branch and no tag yet"
    raise SourceError(f"{repo} has no branch, tag or commit {version!r}. {offer}")


def _dirty(run: Runner, git_dir: Path) -> bool:
    rc, out, _ = run(["git", "-C", str(git_dir), "status", "--porcelain"])
    return rc == 0 and bool(out.strip())  # a bare repository has no files that could differ


def _archive(run: Runner, git_dir: Path, commit: str, target: Path) -> None:
    packed = target.parent / f".tmp-{commit}.tar"
    temporary = target.parent / f".tmp-{commit}"
    _git(run, git_dir, "archive", "--format=tar", f"--output={packed}", commit)
    temporary.mkdir()
    with tarfile.open(packed) as tar:
        tar.extractall(temporary, filter="tar")
    packed.unlink()
    temporary.rename(target)


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="seconds")
