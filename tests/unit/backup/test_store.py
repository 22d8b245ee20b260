"""Directories of backups: which count, which may go, what a checksum sees."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from ansible.module_utils.slipway.backup import store as backup_store
from ansible.module_utils.slipway.backup.programs import Programs
from ansible.module_utils.slipway.backup.store import Store, StoreError
from ansible.module_utils.slipway.postgres.login import Login
from hypothesis import given, settings
from hypothesis import strategies as st


def make(store: Store, ident: str, created: int, verified: bool = True) -> None:
    path = store.path(ident)
    path.mkdir(parents=True)
    status = {"id": ident, "created": f"2026-01-01T00:00:{created:02d}", "verified": verified}
    backup_store.write_json(path / backup_store.STATUS, status)


@settings(max_examples=40, deadline=None)
@given(flags=st.lists(st.booleans(), max_size=8), keep=st.integers(min_value=-1, max_value=4))
def test_what_expires_is_never_among_the_newest_verified(
    tmp_path_factory: t.Any, flags: list[bool], keep: int
) -> None:
    store = Store(tmp_path_factory.mktemp("store"))
    for number, verified in enumerate(flags):
        make(store, f"b{number}", number, verified)
    verified_ids = [f"b{n}" for n, verified in enumerate(flags) if verified][::-1]
    expired = store.expired(keep)
    if not verified_ids:
        assert expired == [], "something would be deleted although no backup is any good"
        return
    left = [s["id"] for s in store.all() if s["id"] not in expired]
    assert [i for i in left if i in verified_ids] == verified_ids[: max(keep, 1)]
    newer_failures = [f"b{n}" for n in range(int(verified_ids[0][1:]) + 1, len(flags))]
    assert [i for i in left if i not in verified_ids] == newer_failures[::-1]


def test_unfinished_directories_are_no_backups(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.partial("good").mkdir()
    (store.partial("good") / "data").write_text("1")
    store.seal("good", {"id": "good", "created": "2026", "verified": True})
    for name in (".partial-x", ".run-x", ".deleting-x"):
        (tmp_path / name).mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/status.json").write_text("{")
    assert [s["id"] for s in store.all()] == ["good"]
    assert backup_store.check_sums(tmp_path / "good") == []
    assert [p.name for p in store.leftovers()] == [".deleting-x", ".partial-x", ".run-x"]
    store.remove("good")
    assert store.all() == []


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda d: (d / "a/one").write_text("X"), "a/one was changed after it was written"),
        (lambda d: (d / "a/one").unlink(), "a/one is missing"),
        (lambda d: (d / "more").write_text(""), "more is not in SHA256SUMS"),
        (lambda d: (d / "SHA256SUMS").unlink(), "SHA256SUMS is missing"),
    ],
)
def test_checksums_see_every_change(tmp_path: Path, damage: t.Callable[[Path], None], words: str) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/one").write_text("1")
    (tmp_path / "a/status.json").write_text("somebody's file of that name")
    backup_store.write_sums(tmp_path)
    backup_store.write_json(tmp_path / "status.json", {})
    assert backup_store.check_sums(tmp_path) == []
    damage(tmp_path)
    found = backup_store.check_sums(tmp_path)
    assert len(found) == 1 and found[0].endswith(words)


def test_copied_files_are_private_and_missing_ones_are_all_named(tmp_path: Path) -> None:
    source = tmp_path / "conf"
    (source / "deep").mkdir(parents=True)
    (source / "deep/a").write_bytes(b"\x00A")
    (source / "b").write_text("B")
    target = tmp_path / "copy"
    assert backup_store.copy_files([str(source), str(source / "b")], target) == 3
    copy = target / (source / "deep/a").relative_to("/")
    assert copy.read_bytes() == b"\x00A" and copy.stat().st_mode & 0o777 == 0o600
    with pytest.raises(StoreError, match="/no/a, /no/b; correct backup_files"):
        backup_store.copy_files(["/no/a", str(source), "/no/b"], tmp_path / "other")
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("ident", ["", ".hidden", "a/b", "..", "a b", "a" * 64, "a\n"])
def test_an_id_cannot_leave_the_directory(ident: str) -> None:
    assert not backup_store.IDENTIFIER.match(ident)
    assert backup_store.IDENTIFIER.match("20261121T210000Z-1a2b3c4")


@pytest.mark.parametrize("image", ["", "sha256:abc"])
def test_a_command_line_holds_no_password(image: str) -> None:
    login = Login("db", 5432, "me", "geheim", "shop")
    command = Programs(login, image, Path("/b"), Path("/b/.run-x")).command("pg_dump", ["--file", "/b/x"])
    assert "geheim" not in " ".join(command)
    assert command[:2] == (["docker", "run"] if image else ["pg_dump", "--host"])


def test_a_password_file_escapes_what_libpq_splits_at() -> None:
    assert Login("h", 1, "u:x", r"a:b\c", "d").pgpass() == "h:1:*:u\\:x:a\\:b\\\\c\n"
