"""What migration tools print, and what is kept out of it."""

from __future__ import annotations

import pytest
from ansible.module_utils.slipway.compose.oneshot import Compose, tail
from ansible.module_utils.slipway.masking.names import MASK
from ansible.module_utils.slipway.migrate.tools import TOOLS, choose, fill

ALEMBIC = """\
INFO  [alembic.runtime.migration] Context impl PostgresqlImpl.
r3, r2b -> r4 (head) (mergepoint), join
r2 -> r3, add votes, with -> arrows
r1 -> r2 (current) (branchpoint), second
"""
DJANGO = """\
[X]  contenttypes.0001_initial
[X]  shop.0001_initial
[X]  shop.0002_votes ... (0.010s)
[ ]  shop.0003_more
[ ]  sessions.0001_initial
"""
PRISMA = """\
3 migrations found in prisma/migrations
Following migrations have not yet been applied:
20260101_votes
20260102_more

To apply migrations in development run prisma migrate dev.
"""


def test_alembic_tells_current_and_pending_in_order() -> None:
    current, pending = TOOLS["alembic"].parse(ALEMBIC)
    assert current == "r2"
    told = [(p["revision"], p["message"]) for p in pending]
    assert told == [("r3", "add votes, with -> arrows"), ("r4", "join")]
    assert TOOLS["flask"].parse("") == ("", [])


def test_django_goes_back_app_by_app() -> None:
    current, pending = TOOLS["django"].parse(DJANGO)
    assert current == "contenttypes=0001_initial,shop=0002_votes"
    assert [p["revision"] for p in pending] == ["shop.0003_more", "sessions.0001_initial"]
    later = "contenttypes=0001_initial,sessions=0001_initial,shop=0003_more"
    commands = TOOLS["django"].downgrades(later, current)
    assert [c[-2:] for c in commands] == [["sessions", "zero"], ["shop", "0002_votes"]]


def test_prisma_lists_what_is_pending_and_has_no_way_back() -> None:
    assert [p["revision"] for p in TOOLS["prisma"].parse(PRISMA)[1]] == ["20260101_votes", "20260102_more"]
    assert TOOLS["prisma"].parse("Database schema is up to date!")[1] == []
    assert TOOLS["prisma"].downgrades("b", "a") == []


def test_alembic_goes_back_to_the_base_when_there_was_nothing() -> None:
    assert TOOLS["alembic"].downgrades("r1", "") == [["alembic", "downgrade", "base"]]


def test_commands_can_be_replaced_and_other_braces_stay() -> None:
    tool = choose("alembic", {"upgrade": ["./migrate", "--to={target}", "{}", "{x}"]})
    assert fill(tool.upgrade, target="r2") == ["./migrate", "--to=r2", "{}", "{x}"]
    assert tool.downgrade == TOOLS["alembic"].downgrade


@pytest.mark.parametrize(
    "text",
    [
        "connect to postgresql+psycopg://shop:pw%40x@db/shop failed",
        "password is longsecret",
        "token=t0ken!",
        "a door",
    ],
)
def test_secrets_of_the_environment_are_not_shown(text: str) -> None:
    compose = Compose({"project": "p"}, "web")
    compose._environment = {
        "DB_PASSWORD": "longsecret",
        "API_TOKEN": "t0ken!",
        "MODE": "postgresql",
        "KEY": "p",
        "DOOR_KEYS": "door",
        "DATABASE_URL": "postgresql://shop:SECRETPART@db/shop",
    }
    shown = compose.redact(text)
    assert not any(secret in shown for secret in ("pw%40x", "longsecret", "t0ken!", "door"))
    assert compose.redact("connect to db with SECRETPART") == f"connect to db with {MASK}"
    assert compose.redact("postgresql: relation p is missing") == "postgresql: relation p is missing"


def test_a_project_is_selected_as_given() -> None:
    project = {
        "project": "p",
        "project_directory": "/d",
        "files": ["a", "b"],
        "env_files": ["e"],
        "profiles": None,
    }
    assert Compose(project, "web").base() == [
        *("docker", "compose", "--progress", "quiet", "--project-name", "p", "--project-directory", "/d"),
        *("--file", "a", "--file", "b", "--env-file", "e"),
    ]
    assert tail("a\nb\nc\n", 2) == "b\nc"
