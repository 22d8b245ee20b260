"""Exports of revisions: from real little repositories, and from plain directories."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from ansible.module_utils.slipway.images.source import (
    SourceError,
    export_git,
    export_tree,
    is_url,
    tree_revision,
)
from hypothesis import given, settings
from hypothesis import strategies as st

IDENTITY = {
    "GIT_AUTHOR_NAME": "a",
    "GIT_AUTHOR_EMAIL": "a@example.com",
    "GIT_COMMITTER_NAME": "a",
    "GIT_COMMITTER_EMAIL": "a@example.com",
    "GIT_AUTHOR_DATE": "2026-01-02T03:04:05+00:00",
    "GIT_CONFIG_GLOBAL": "/dev/null",
}


def run(argv: list[str]) -> tuple[int, str, str]:
    done = subprocess.run(argv, capture_output=True, text=True, check=False, env={**os.environ, **IDENTITY})
    return done.returncode, done.stdout, done.stderr


def git(repo: Path, *arguments: str) -> str:
    rc, out, err = run(["git", "-C", str(repo), *arguments])
    assert rc == 0, err
    return out.strip()


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    path = tmp_path / "repo"
    path.mkdir()
    git(path, "init", "--quiet", "--initial-branch=main")
    (path / "app").mkdir()
    (path / "app" / "run").write_text("one")
    (path / "app" / "run").chmod(0o755)
    (path / "link").symlink_to("app/run")
    git(path, "add", ".")
    git(path, "commit", "--quiet", "-m", "Begin")
    git(path, "tag", "v1.0.0")
    (path / "app" / "run").write_text("two")
    git(path, "commit", "--quiet", "-a", "-m", "Say two")
    return path


def test_a_tag_is_exported_as_it_was(repo: Path, tmp_path: Path) -> None:
    export = export_git(run, str(repo), "v1.0.0", tmp_path / "out")
    assert export.revision == git(repo, "rev-parse", "v1.0.0") and export.short == export.revision[:12]
    assert (export.subject, export.date) == ("Begin", "2026-01-02T03:04:05+00:00")
    files = Path(export.path)
    assert files == tmp_path / "out" / export.revision
    assert (files / "app/run").read_text() == "one" and os.access(files / "app/run", os.X_OK)
    assert (files / "link").is_symlink() and not (files / ".git").exists()
    assert export.created and not export.dirty


def test_a_second_export_is_the_same_one(repo: Path, tmp_path: Path) -> None:
    first = export_git(run, str(repo), "main", tmp_path / "out")
    second = export_git(run, str(repo), first.revision[:10], tmp_path / "out")
    assert (second.path, second.created) == (first.path, False)


def test_what_is_not_committed_is_not_exported_but_told(repo: Path, tmp_path: Path) -> None:
    (repo / "app" / "run").write_text("not committed")
    export = export_git(run, str(repo), "HEAD", tmp_path / "out")
    assert export.dirty and (Path(export.path) / "app/run").read_text() == "two"


def test_a_remote_is_mirrored_and_fetched_again(repo: Path, tmp_path: Path) -> None:
    url = f"file://{repo}"
    first = export_git(run, url, "main", tmp_path / "out")
    (repo / "new").write_text("x")
    git(repo, "add", ".")
    git(repo, "commit", "--quiet", "-m", "Add")
    second = export_git(run, url, "main", tmp_path / "out")
    assert second.revision != first.revision and (Path(second.path) / "new").exists()
    repo.rename(tmp_path / "gone")
    known = export_git(run, url, first.revision, tmp_path / "out")  # a commit that is there needs no network
    assert known.revision == first.revision
    with pytest.raises(SourceError, match=r"could not be fetched: .*git ls-remote file://"):
        export_git(run, url, "main", tmp_path / "out")


def test_an_unknown_version_names_near_ones(repo: Path, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"no branch, tag or commit 'v1\.0\.1'. Near it: v1\.0\.0"):
        export_git(run, str(repo), "v1.0.1", tmp_path / "out")


def test_a_name_of_two_things_is_refused(repo: Path, tmp_path: Path) -> None:
    git(repo, "branch", "v1.0.0", "main")
    with pytest.raises(SourceError, match=r"a branch and a tag named v1\.0\.0"):
        export_git(run, str(repo), "v1.0.0", tmp_path / "out")
    assert export_git(run, str(repo), "refs/tags/v1.0.0", tmp_path / "out").subject == "Begin"


def test_what_is_no_repository_says_what_to_write(repo: Path, tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.mkdir()
    with pytest.raises(SourceError, match=f"not a git repository .*write `path: {plain}`"):
        export_git(run, str(plain), "HEAD", tmp_path / "out")
    with pytest.raises(SourceError, match=f"inside the repository {repo}: write `repo: {repo}`"):
        export_git(run, str(repo / "app"), "HEAD", tmp_path / "out")
    with pytest.raises(SourceError, match="does not exist"):
        export_git(run, str(tmp_path / "none"), "HEAD", tmp_path / "out")


@pytest.mark.parametrize("version", ["--upload-pack=touch /tmp/x", "-x", ""])
def test_an_option_is_no_version(repo: Path, tmp_path: Path, version: str) -> None:
    with pytest.raises(SourceError, match="is not a version"):
        export_git(run, str(repo), version, tmp_path / "out")


@pytest.mark.parametrize("userinfo", ["me:hunter2", "me:hunter2@x", "me:hunter2?", "hunter2:"])
def test_a_password_in_an_address_is_refused_and_not_repeated(tmp_path: Path, userinfo: str) -> None:
    with pytest.raises(SourceError, match="contains a password") as caught:
        export_git(run, f"https://{userinfo}@git.example.com/shop.git", "main", tmp_path / "out")
    assert "hunter2" not in str(caught.value)


def test_leftovers_of_a_run_that_died_are_removed(repo: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    half = out / f".tmp-{git(repo, 'rev-parse', 'main')}"
    (half / "app").mkdir(parents=True)
    (half / "app" / "wrong").write_text("")
    export = export_git(run, str(repo), "main", out)
    assert not (Path(export.path) / "app" / "wrong").exists() and not half.exists()


def test_submodules_are_told(repo: Path, tmp_path: Path) -> None:
    (repo / ".gitmodules").write_text('[submodule "x"]\n')
    git(repo, "add", ".")
    git(repo, "commit", "--quiet", "-m", "Modules")
    assert "submodules" in export_git(run, str(repo), "main", tmp_path / "out").warnings[0]


def test_a_plain_directory(tmp_path: Path) -> None:
    source = tmp_path / "app"
    (source / "__pycache__").mkdir(parents=True)
    (source / "__pycache__" / "x.pyc").write_text("1")
    (source / "main.py").write_text("print()")
    export = export_tree(source, tmp_path / "out", ["__pycache__"])
    assert export.revision.startswith("tree-") and export.short == export.revision[:17] and export.created
    assert sorted(p.name for p in Path(export.path).iterdir()) == ["main.py"]
    (source / "__pycache__" / "x.pyc").write_text("2")
    assert not export_tree(source, tmp_path / "out", ["__pycache__"]).created


def test_a_cache_inside_the_directory_does_not_change_it(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text("print()")
    first = export_tree(tmp_path, tmp_path / "cache", [])
    assert export_tree(tmp_path, tmp_path / "cache", []).revision == first.revision


@pytest.mark.parametrize(
    "change",
    [
        lambda d: (d / "a").write_text("other"),
        lambda d: (d / "a").chmod(0o755),
        lambda d: (d / "a").rename(d / "b"),
        lambda d: (d / "c").write_text(""),
        lambda d: ((d / "a").unlink(), (d / "a").symlink_to("one")),
    ],
)
def test_each_difference_changes_the_hash(tmp_path: Path, change: object) -> None:
    (tmp_path / "a").write_text("one")
    before = tree_revision(tmp_path, ())[0]
    change(tmp_path)  # type: ignore[operator]
    assert tree_revision(tmp_path, ())[0] != before


FILES = st.dictionaries(st.text("ab\n ", min_size=1, max_size=3), st.binary(max_size=4), max_size=4)


@settings(max_examples=60, deadline=None)
@given(one=FILES, two=FILES)
def test_trees_have_one_hash_only_if_they_are_the_same(
    tmp_path_factory: pytest.TempPathFactory, one: dict[str, bytes], two: dict[str, bytes]
) -> None:
    revisions = []
    for files in (one, two):
        folder = tmp_path_factory.mktemp("tree")
        for name, content in files.items():
            (folder / name).write_bytes(content)
        revisions.append(tree_revision(folder, ())[0])
    assert (revisions[0] == revisions[1]) == (one == two)


def test_addresses_and_paths() -> None:
    assert all(map(is_url, ["https://x/y.git", "ssh://git@x/y", "git@x:y.git", "file:///x"]))
    assert not any(map(is_url, ["/srv/app", "../app", "app", "~/app"]))
