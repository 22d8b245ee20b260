"""What a backup is asked for, and what is said of one that is there or could be made."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from ansible.module_utils.slipway.backup import run
from ansible.module_utils.slipway.backup import store as backup_store
from ansible.module_utils.slipway.backup.store import Store

IDENT = "20261121T210000Z-1a2b3c4"


@pytest.fixture(autouse=True)
def no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "find_server", lambda _host, _port: None)


def asked(directory: Path, **more: t.Any) -> dict[str, t.Any]:
    return {
        "id": IDENT, "dir": str(directory), "client_image": "", "keep": 7, "files": [], "login_host": "127.0.0.1",
        "login_port": 1, "login_user": "u", "login_password": "hunter2secret", "login_db": "shop", **more,
    }  # fmt: skip


def seal(directory: Path, ident: str, created: str, verified: bool) -> None:
    store = Store(directory)
    store.partial(ident).mkdir(parents=True)
    store.seal(ident, {"id": ident, "created": created, "verified": verified, "size_bytes": 1})


@pytest.mark.parametrize(
    ("wrong", "said"), [({"id": "../../etc"}, "id is '../../etc'"), ({"keep": 0}, "at least 1 backup stays")]
)
def test_what_can_not_be_meant_is_refused(tmp_path: Path, wrong: dict[str, t.Any], said: str) -> None:
    with pytest.raises(run.BackupError, match=said):
        run.back_up(asked(tmp_path, **wrong))


def test_a_plan_without_a_server_is_no_error_and_shows_what_would_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seal(tmp_path, "older", "2026-01-01", verified=True)
    monkeypatch.setattr(run.shutil, "which", lambda _program: "/usr/bin/pg_dump")
    planned = run.back_up(asked(tmp_path), check=True)
    assert (planned["changed"], planned["verified"]) == (True, False) and "report" not in planned
    assert [gate["verdict"] for gate in planned["gates"]] == ["inconclusive"]
    assert planned["diff"] == {
        "before": "older: verified\n",
        "after": f"{IDENT}: to be made\nolder: verified\n",
    }
    assert "hunter2secret" not in str(planned)


def test_a_plan_of_a_backup_that_is_there_changes_nothing(tmp_path: Path) -> None:
    seal(tmp_path, IDENT, "2026-01-02", verified=True)
    seal(tmp_path, "failed", "2026-01-03", verified=False)
    planned = run.back_up(asked(tmp_path), check=True)
    assert (planned["changed"], planned["verified"], planned["size_bytes"]) == (False, True, 1)
    assert (
        planned["diff"]["before"] == planned["diff"]["after"] == f"failed: not verified\n{IDENT}: verified\n"
    )
    assert planned["report"]["backup"]["path"] == str(tmp_path / IDENT)


def test_a_damaged_backup_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seal(tmp_path, IDENT, "2026-01-02", verified=True)
    (tmp_path / IDENT / backup_store.SUMS).write_text("0  dump\n")
    monkeypatch.setattr(run.shutil, "which", lambda _program: "/usr/bin/pg_dump")
    assert run.back_up(asked(tmp_path), check=True)["changed"] is True
