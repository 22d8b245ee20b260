"""What a plan reads of migrations in a source tree."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible.module_utils.slipway.migrate import source as core

EXAMPLES = Path(__file__).resolve().parents[3] / "examples" / "reviews"


def alembic(where: Path, name: str, down: str, doc: str = "") -> None:
    where.mkdir(parents=True, exist_ok=True)
    (where / f"{name}.py").write_text(f'"""{doc}"""\nrevision: str = "{name}"\ndown_revision = {down}\n')


def names(found: list[dict[str, str]]) -> list[str]:
    return [one["revision"] for one in found]


def test_alembic_files_are_found_wherever_they_are_and_come_parents_first(tmp_path: Path) -> None:
    alembic(tmp_path / "db/versions", "aaa", '"bbb"', "Add votes\n\nmore")
    alembic(tmp_path / "db/versions", "bbb", "None", "First")
    alembic(tmp_path / "node_modules/x", "zzz", "None")
    (tmp_path / "db/env.py").write_text("print('down_revision')\n")
    (tmp_path / "db/broken.py").write_text("down_revision = (\n")
    found = core.read("alembic", tmp_path)
    assert found is not None
    assert names(found) == ["bbb", "aaa"]
    assert core.pending(found, ["bbb"]) == [{"revision": "aaa", "message": "Add votes"}]
    assert core.pending(found, ["aaa"]) == []
    assert names(core.pending(found, [])) == ["bbb", "aaa"]


def test_branches_and_merges(tmp_path: Path) -> None:
    alembic(tmp_path, "root", "None")
    alembic(tmp_path, "left", '"root"')
    alembic(tmp_path, "right", '"root"')
    alembic(tmp_path, "merge", '("left", "right")')
    found = core.read("flask", tmp_path) or []
    assert names(found)[-1] == "merge"
    assert names(core.pending(found, ["left"])) == ["right", "merge"]
    assert names(core.pending(found, ["left", "right"])) == ["merge"]


def test_a_database_that_is_elsewhere_is_said(tmp_path: Path) -> None:
    alembic(tmp_path, "one", "None")
    alembic(tmp_path, "two", '"one"')
    with pytest.raises(core.UnknownRevision, match="stands at revision three"):
        core.pending(core.read("alembic", tmp_path) or [], ["three"])


def test_a_circle_ends(tmp_path: Path) -> None:
    alembic(tmp_path, "one", '"two"')
    alembic(tmp_path, "two", '"one"')
    assert len(core.read("alembic", tmp_path) or []) == 2


def test_django_and_prisma_go_by_name(tmp_path: Path) -> None:
    for name in (
        "shop/migrations/0001_initial.py",
        "shop/migrations/0002_votes.py",
        "shop/migrations/__init__.py",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    found = core.read("django", tmp_path) or []
    assert names(core.pending(found, ["shop.0001_initial", "auth.0001_initial"])) == ["shop.0002_votes"]
    for name in ("20260101_init", "20260201_votes"):
        (tmp_path / "prisma/migrations" / name).mkdir(parents=True)
        (tmp_path / "prisma/migrations" / name / "migration.sql").write_text("select 1;")
    assert names(core.read("prisma", tmp_path) or []) == ["20260101_init", "20260201_votes"]


def test_a_tool_of_ones_own_can_not_be_read(tmp_path: Path) -> None:
    assert core.read("command", tmp_path) is None


def test_the_reference_application() -> None:
    before = core.read("alembic", EXAMPLES / "v1") or []
    assert len(before) >= 1
    after = core.read("alembic", EXAMPLES / "v2") or []
    assert len(core.pending([*before, *after], [before[-1]["revision"]])) >= 1
