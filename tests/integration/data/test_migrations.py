"""Migrations of a real application on a real server: applied, failed at every point, taken back."""

from __future__ import annotations

import json
import os
import subprocess
import typing as t
import zlib
from pathlib import Path

import pytest
from ansible.module_utils.slipway.postgres import manifest as pg_manifest
from ansible.module_utils.slipway.postgres.login import Login
from data_support import APP, PASSWORD, ROOT, Module, connection, eventually, login_arguments, run, sh

FIRST = ("r1", "CREATE TABLE orders (id int PRIMARY KEY, note text)", "DROP TABLE orders")
VOTES = ("r2", "CREATE TABLE votes (id int PRIMARY KEY, of int)", "DROP TABLE votes")
CODE = {
    "half": 'op.execute("CREATE TABLE half (id int)"); op.execute("UPDATE orders SET note = 1/(id-3)")',
    "autocommit": """with op.get_context().autocommit_block():
        op.execute("CREATE INDEX CONCURRENTLY orders_note ON orders (note)")
    raise RuntimeError("it goes wrong here")""",
    "invalid": """with op.get_context().autocommit_block():
        op.execute("CREATE UNIQUE INDEX CONCURRENTLY orders_note ON orders (note)")""",
    "parts": """with op.get_context().autocommit_block():
        op.execute("CREATE TABLE extra (id int)")
    op.execute("ALTER TABLE orders ADD COLUMN total int")""",
    "leak": "import os; raise RuntimeError('cannot use ' + os.environ['DATABASE_URL'])",
    "slow": 'op.execute("CREATE TABLE slow (id int)"); op.execute("SELECT pg_sleep(3)")',
}


@pytest.fixture(scope="session")
def image() -> str:
    tag = "slipway-test/data-app:1"
    sh("docker", "build", "--quiet", "--tag", tag, str(APP))
    return tag


class Application:
    """The test application with revisions of the test's making."""

    def __init__(self, login: Login, directory: Path) -> None:
        self.login = login
        self.versions = directory / "versions"
        self.versions.mkdir(mode=0o755)
        self.record = directory / "record.json"
        url = f"postgresql+psycopg://keeper:geheim%3Aund%5Cwichtig-4711@127.0.0.1:{login.port}/{login.db}"
        (directory / "env").write_text(f"DATABASE_URL={url}\nVERSIONS={self.versions}\n")
        self.compose = {
            "project": f"data-{login.db}-{os.getpid()}",
            "files": [str(APP / "compose.yml")],
            "env_files": [str(directory / "env")],
        }
        self.down: str | None = None
        self.add(*FIRST)
        with connection(login) as conn:
            conn.execute("CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY)")
            conn.execute("INSERT INTO alembic_version VALUES ('r1')")
            conn.execute(FIRST[1])
            conn.execute("INSERT INTO orders SELECT g, 'note' || g % 5 FROM generate_series(1, 10) g")

    def add(self, revision: str, up: str, down: str = "") -> None:
        """A revision: SQL, or the name of a piece of CODE; without ``down`` it cannot be taken back."""
        body = CODE.get(up, f"op.execute({up!r})")
        back = f"op.execute({down!r})" if down else "raise NotImplementedError('there is no way back')"
        text = (
            f'"""{revision} of the test"""\nfrom alembic import op\nrevision = {revision!r}\n'
            f"down_revision = {self.down!r}\ndef upgrade():\n    {body}\ndef downgrade():\n    {back}\n"
        )
        (self.versions / f"{revision}.py").write_text(text)
        (self.versions / f"{revision}.py").chmod(0o644)
        self.down = revision

    def arguments(self, state: str, **more: t.Any) -> dict[str, t.Any]:
        login = login_arguments(self.login)
        record = {"record": str(self.record)}
        given = {
            "compose": self.compose,
            "service": "web",
            "tool": "alembic",
            "state": state,
            **record,
            **login,
            **more,
        }
        return {k: v for k, v in given.items() if v is not None}

    def run(self, state: str, check: bool = False, **more: t.Any) -> dict[str, t.Any]:
        return run("migrations", self.arguments(state, **more), check)

    def data(self) -> t.Any:
        with connection(self.login) as conn:
            return pg_manifest.take(conn)["tables"]["public.orders"]

    def tables(self) -> set[str]:
        with connection(self.login) as conn:
            query = (
                "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
            )
            return {row[0] for row in conn.execute(query)}


@pytest.fixture
def app(db: Login, image: str, tmp_path: Path) -> t.Iterator[Application]:
    # The container's user is not root and must reach the revisions.
    for path in (tmp_path, *tmp_path.parents):
        if path != Path("/") and path != Path("/tmp"):
            path.chmod(path.stat().st_mode | 0o055)
    yield Application(db, tmp_path)
    left = sh("docker", "ps", "--all", "--quiet", "--filter", f"name=data-{db.db}-{os.getpid()}").split()
    if left:
        sh("docker", "rm", "--force", *left)


def started(app: Application) -> None:
    """Wait until everything has been looked at and the tool is about to start."""
    eventually(lambda: app.record.exists() and json.loads(app.record.read_text()).get("state") == "started")


def containers(app: Application) -> str:
    """The names of the application's containers, whether they run or not."""
    names = ("--filter", f"name={app.compose['project']}", "--format", "{{.Names}}")
    return sh("docker", "ps", "--all", *names)


def verdicts(result: dict[str, t.Any]) -> dict[str, str]:
    return {gate["name"]: gate["verdict"] for gate in result["gates"]}


def test_pending_migrations_are_listed_applied_once_and_taken_back(app: Application) -> None:
    app.add(*VOTES)
    app.add("r3", "ALTER TABLE orders ADD COLUMN total int", "ALTER TABLE orders DROP COLUMN total")
    data = app.data()

    looked = app.run("info")
    assert [(p["revision"], p["message"]) for p in looked["pending"]] == [
        ("r2", "r2 of the test"),
        ("r3", "r3 of the test"),
    ]
    assert looked["changed"] is False and looked["before"]["revision"] == "r1"
    planned = app.run("upgraded", check=True)
    assert planned["changed"] is True and "votes" not in app.tables()

    done = app.run("upgraded")
    assert done["changed"] and done["applied"] == ["r2", "r3"], done
    assert done["before"]["revision"] == "r1" and done["after"]["revision"] == "r3"
    assert "table public.votes is new" in done["changes"]
    assert "column public.orders.total is new: integer" in done["changes"]
    assert verdicts(looked) == {"migrations pending": "pass", "INVALID indexes": "pass"}
    assert verdicts(done) == {"migrations applied": "pass", "INVALID indexes": "pass"}
    assert not containers(app)

    again = app.run("upgraded")
    assert again["changed"] is False and again["pending"] == [] and again["after"]["revision"] == "r3"

    back = app.run("reverted")
    assert (
        back["changed"]
        and back["restored"]
        and back["after"]["fingerprint"] == looked["before"]["fingerprint"]
    )
    assert verdicts(back) == {"schema put back": "pass"}
    assert app.tables() == {"orders", "alembic_version"} and app.data() == data


def test_a_failure_inside_a_transaction_leaves_all_as_before(app: Application) -> None:
    app.add("r2", "half", "SELECT 1")
    data = app.data()
    failed = app.run("upgraded")
    assert failed["failed"]
    assert "division by zero" in failed["msg"] and "division by zero" in failed["output"]
    assert "stands at r1 as before and its schema is unchanged" in failed["msg"]
    assert failed["attempts"] == 1 and failed["changes"] == []
    back = app.run("reverted")
    assert back["restored"] and back["changed"] is False and back["left"] == []
    assert app.tables() == {"orders", "alembic_version"} and app.data() == data


def test_a_failure_in_the_second_revision_is_taken_back_to_the_first(app: Application) -> None:
    app.add(*VOTES)
    app.add("r3", "half", "SELECT 1")
    data = app.data()
    failed = app.run("upgraded")
    assert failed["after"]["revision"] == "r2" and "stands at r2, before it was r1" in failed["msg"]
    assert "votes" in app.tables()
    # The next attempt of the same release must not take the half-way state for the origin.
    assert app.run("upgraded")["before"]["revision"] == "r1"
    back = app.run("reverted")
    assert back["changed"] and back["restored"] and back["after"]["revision"] == "r1"
    assert app.tables() == {"orders", "alembic_version"} and app.data() == data
    assert app.run("reverted")["changed"] is False


def test_what_an_autocommit_block_left_is_named_and_not_touched(app: Application) -> None:
    app.add("r2", "autocommit", "SELECT 1")
    failed = app.run("upgraded")
    assert failed["failed"] and "index public.orders_note is new" in failed["msg"]
    back = app.run("reverted")
    assert back["restored"] is False and back["changed"] is False
    assert len(back["left"]) == 1 and back["left"][0].startswith(
        "index public.orders_note is new: CREATE INDEX"
    )
    assert verdicts(back) == {"schema put back": "fail"}


def test_an_invalid_index_is_a_failure_though_the_tool_failed_as_well(app: Application) -> None:
    app.add("r2", "invalid", "SELECT 1")
    failed = app.run("upgraded")
    assert failed["failed"]
    back = app.run("reverted")
    assert back["left"][0].endswith("INVALID")
    assert back["notes"] == ["Remove with: DROP INDEX CONCURRENTLY public.orders_note;"]


def test_an_invalid_index_stops_a_release_whose_migrations_succeeded(app: Application) -> None:
    with connection(app.login) as conn, pytest.raises(Exception, match="could not create unique index"):
        conn.execute("CREATE UNIQUE INDEX CONCURRENTLY broken ON orders (note)")
    app.add(*VOTES)
    failed = app.run("upgraded")
    assert failed["failed"] and "DROP INDEX CONCURRENTLY public.broken;" in failed["msg"]
    assert verdicts(failed)["INVALID indexes"] == "fail"


def test_a_lock_not_to_be_had_is_tried_again_and_then_given_up(app: Application) -> None:
    app.add("r2", "ALTER TABLE orders ADD COLUMN total int", "ALTER TABLE orders DROP COLUMN total")
    with connection(app.login) as other:
        module = Module("migrations", app.arguments("upgraded", lock_timeout="200ms", retries=1))
        with other.transaction():
            started(app)
            other.execute("LOCK TABLE orders")
            failed = module.result()
            assert failed["failed"] and failed["attempts"] == 2
            assert "lock timeout" in failed["msg"] and "unchanged" in failed["msg"]

        app.record.unlink()
        module = Module("migrations", app.arguments("upgraded", lock_timeout="200ms", retries=5))
        with other.transaction():
            started(app)
            other.execute("LOCK TABLE orders")
            eventually(lambda: "web-run" in containers(app))
            eventually(lambda: "web-run" not in containers(app), seconds=60)
        done = module.result()
    assert done.get("applied") == ["r2"] and done["attempts"] > 1, done


def test_a_lock_timeout_that_changed_something_is_not_tried_again(app: Application) -> None:
    """A second try would stumble over what the first one left, and hide what was wrong."""
    app.add("r2", "parts", "SELECT 1")
    module = Module("migrations", app.arguments("upgraded", lock_timeout="200ms", retries=2))
    with connection(app.login) as other, other.transaction():
        started(app)
        other.execute("LOCK TABLE orders IN ACCESS SHARE MODE")
        failed = module.result()
    assert failed["failed"] and failed["attempts"] == 1 and "lock timeout" in failed["msg"]
    assert failed["changes"] == ["table public.extra is new"]


def test_dropped_data_is_said_to_be_in_the_backup_alone(app: Application) -> None:
    app.add("r2", "ALTER TABLE orders DROP COLUMN note", "ALTER TABLE orders ADD COLUMN note text")
    app.add("r3", "half", "SELECT 1")
    app.run("upgraded")
    back = app.run("reverted")
    assert back["left"] == [] and back["lost"] == ["column public.orders.note"] and back["restored"] is False
    assert "only in the backup" in back["gates"][0]["detail"]


def test_a_revision_without_a_way_back_says_so(app: Application) -> None:
    app.add("r2", "CREATE TABLE votes (id int)")
    app.add("r3", "half", "SELECT 1")
    app.run("upgraded")
    back = app.run("reverted")
    assert back["restored"] is False
    assert back["left"] == ["the revision is r2 instead of r1", "table public.votes is new"]
    assert "there is no way back" in back["notes"][0]


def test_a_killed_runner_is_waited_for_and_taken_back(app: Application) -> None:
    app.add("r2", "slow", "DROP TABLE slow")
    module = Module("migrations", app.arguments("upgraded"))
    label = f"label=slipway.migrate={app.compose['project']}-web"
    started(app)
    eventually(lambda: sh("docker", "ps", "--quiet", "--filter", label).strip())
    module.kill()
    back = app.run("reverted")
    # Had it not been waited for, the orphan would only now commit what was to be taken back.
    eventually(lambda: not containers(app), seconds=30)
    assert back["restored"] and back["changed"] and back["after"]["revision"] == "r1", back
    assert app.tables() == {"orders", "alembic_version"}


def test_two_runs_at_once_apply_once(app: Application) -> None:
    app.add("r2", "slow", "DROP TABLE slow")
    first = Module("migrations", app.arguments("upgraded"))
    label = f"label=slipway.migrate={app.compose['project']}-web"
    eventually(lambda: app.record.exists() and sh("docker", "ps", "--quiet", "--filter", label).strip())
    failed = app.run("upgraded", lock_wait=1)
    assert failed["failed"] and "still migrates after 1 s" in failed["msg"] and "docker logs" in failed["msg"]
    second = app.run("upgraded")
    assert first.result()["applied"] == ["r2"] and second["changed"] is False


def test_an_advisory_lock_names_its_holder(app: Application) -> None:
    app.add(*VOTES)
    with connection(app.login) as other:
        other.execute("SELECT pg_advisory_lock(%s, %s)", [0x736C6970, zlib.crc32(b"migrate") & 0x7FFFFFFF])
        pid = other.info.backend_pid
        failed = app.run("upgraded", lock_wait=1)
    assert failed["failed"] and f"pid {pid}, keeper@" in failed["msg"]


def test_secrets_of_the_service_do_not_come_back_in_its_output(app: Application) -> None:
    app.add("r2", "leak", "SELECT 1")
    module = Module("migrations", app.arguments("upgraded"))
    result = module.result()
    assert result["failed"] and "cannot use" in result["msg"]
    assert "wichtig" not in module.text


def test_without_a_login_the_revision_alone_is_compared(app: Application) -> None:
    app.add(*VOTES)
    assert app.run("upgraded", login_db=None)["applied"] == ["r2"]
    back = app.run("reverted", login_db=None)
    assert back["changed"] and verdicts(back) == {"schema put back": "inconclusive"}
    assert "votes" not in app.tables()


def test_a_service_that_does_not_exist_is_named_with_those_that_do(app: Application) -> None:
    failed = app.run("info", service="wbe")
    assert failed["failed"] and "no service 'wbe'" in failed["msg"] and "other, web" in failed["msg"]
    planned = app.run("upgraded", check=True, service="wbe")
    assert planned["changed"] is False and verdicts(planned) == {"migrations pending": "inconclusive"}


def test_an_image_older_than_the_database_is_explained(app: Application) -> None:
    with connection(app.login) as conn:
        conn.execute("UPDATE alembic_version SET version_num = 'r9'")
    failed = app.run("info")
    assert failed["failed"] and "a newer release migrated it" in failed["msg"]


def play(app: Application, directory: Path, tasks: str, *options: str, **variables: t.Any) -> tuple[int, str]:
    """A playbook that uses the roles as a release does."""
    path = directory / "play.yml"
    head = "- hosts: localhost\n  connection: local\n  gather_facts: false\n  tasks:\n"
    path.write_text(head + "".join(f"    {line}\n" for line in tasks.splitlines()))
    login = {k.removeprefix("login_"): v for k, v in login_arguments(app.login).items()}
    given = {
        "ansible_python_interpreter": str(ROOT / ".venv/bin/python"),
        "app_name": "shop",
        "migrate_id": "m1",
        "migrate_tool": "alembic",
        "migrate_compose": app.compose,
        "migrate_service": "web",
        "migrate_login": login,
        "migrate_record": str(app.record),
        "backup_id": "m1",
        "backup_dir": str(directory / "backups"),
        "backup_login": login,
        **variables,
    }
    (directory / "vars.json").write_text(json.dumps(given))
    command = [str(ROOT / ".venv/bin/ansible-playbook"), str(path), "-i", "localhost,", "-vvv"]
    done = subprocess.run(
        [*command, "-e", f"@{directory / 'vars.json'}", *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, "ANSIBLE_STDOUT_CALLBACK": "default"},
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


ROLES = """\
- include_role: {name: backup}
- block:
    - include_role: {name: migrate}
  rescue:
    - include_role: {name: migrate, tasks_from: revert}
    - fail: {msg: the release ends here}
"""


def test_the_roles_back_up_lint_migrate_and_take_back(app: Application, tmp_path: Path) -> None:
    app.add("r2", "ALTER TABLE orders DROP COLUMN note", "ALTER TABLE orders ADD COLUMN note text")
    data = app.data()
    code, output = play(app, tmp_path, ROLES)
    assert code == 2 and "ban-drop-column" in output and "r2:" in output, output
    assert app.data() == data, "a contracting migration ran undeclared"

    (app.versions / "r2.py").unlink()
    app.down = "r1"
    app.add(*VOTES)
    app.add("r3", "half", "SELECT 1")
    code, output = play(app, tmp_path, ROLES)
    assert code == 2 and "division by zero" in output, output
    assert "schema put back" in output and '"restored": true' in output, output
    assert app.data() == data and "votes" not in app.tables()
    assert PASSWORD not in output and json.dumps(PASSWORD)[1:-1] not in output and "wichtig" not in output


def test_a_declared_contraction_is_applied_and_check_mode_is_not(app: Application, tmp_path: Path) -> None:
    app.add("r2", "ALTER TABLE orders DROP COLUMN note", "ALTER TABLE orders ADD COLUMN note text")
    role = "- include_role: {name: migrate}\n"
    code, output = play(app, tmp_path, role, "--check", migrate_contract=["r2"])
    assert code == 0 and "changed=1" in output, output
    code, output = play(app, tmp_path, role, migrate_contract=["r2"])
    with connection(app.login) as conn, pytest.raises(Exception, match="could not create unique index"):
        conn.execute("CREATE TABLE twice AS SELECT 1 AS x FROM generate_series(1, 2)")
        conn.execute("CREATE UNIQUE INDEX CONCURRENTLY broken ON twice (x)")
    nothing_pending = play(app, tmp_path, role)
    assert nothing_pending[0] == 2 and "DROP INDEX CONCURRENTLY public.broken;" in nothing_pending[1]
    assert code == 0 and '"verdict": "warn"' in output and "ALTER TABLE" not in output, output
    with connection(app.login) as conn:
        assert not conn.execute(
            "SELECT FROM pg_attribute WHERE attname = 'note' AND NOT attisdropped"
        ).fetchone()


UPGRADE_ALONE = ["python3", "-c", "import alembic.config; alembic.config.main(['upgrade', 'head'])"]


def test_a_command_with_upgrade_alone_runs_every_time_and_is_judged_by_the_schema(app: Application) -> None:
    app.add(*VOTES)
    command = {"tool": "command", "commands": {"upgrade": UPGRADE_ALONE}}
    looked = app.run("info", **command)
    assert looked["pending"] is None and looked["gates"][0]["value"] == "unknown"
    assert looked["gates"][0]["verdict"] == "inconclusive", "what nobody can tell is not a pass"
    planned = app.run("upgraded", check=True, **command)
    assert planned["changed"] is True and "votes" not in app.tables()

    done = app.run("upgraded", **command)
    assert done["changed"] and done["applied"] is None and "votes" in app.tables(), done
    assert done["gates"][0]["name"] == "migrations applied" and done["gates"][0]["verdict"] == "pass"
    assert "table public.votes is new" in done["gates"][0]["detail"]

    again = app.run("upgraded", **command)
    assert again["changed"] is False and again["attempts"] == 1, "it ran, and changed nothing"
    assert again["gates"][0]["value"] == "ended with 0, schema as before"

    unseen = app.run("upgraded", **command, login_db=None)
    assert unseen["changed"] and verdicts(unseen) == {"migrations applied": "inconclusive"}


def test_the_role_with_its_defaults_runs_a_command_with_upgrade_alone(
    app: Application, tmp_path: Path
) -> None:
    app.add(*VOTES)
    role = "- include_role: {name: migrate}\n"
    command: dict[str, t.Any] = {"migrate_tool": "command", "migrate_commands": {"upgrade": UPGRADE_ALONE}}
    code, output = play(app, tmp_path, role, "--check", **command)
    assert code == 0 and "changed=1" in output and "votes" not in app.tables(), output
    code, output = play(app, tmp_path, role, **command)
    assert code == 0 and "votes" in app.tables(), output
    code, output = play(app, tmp_path, role, **command)
    assert code == 0 and "changed=0" in output and "ended with 0, schema as before" in output, output

    app.add("r3", "half", "SELECT 1")
    code, output = play(app, tmp_path, role, **command)
    assert code == 2 and "division by zero" in output, output


@pytest.mark.parametrize(
    ("tool", "table", "left"),
    [
        ("alembic", "", ["r2"]),
        (
            "django",
            "CREATE SCHEMA shop; CREATE TABLE shop.django_migrations (app text, name text);"
            " INSERT INTO shop.django_migrations VALUES ('votes', '0001_initial')",
            ["votes.0002_more"],
        ),
        (
            "prisma",
            "CREATE TABLE _prisma_migrations (migration_name text, finished_at timestamptz, rolled_back_at timestamptz);"
            " INSERT INTO _prisma_migrations VALUES ('a', now(), NULL), ('b', NULL, NULL), ('c', now(), now())",
            ["b", "c"],
        ),
    ],
)
def test_a_plan_without_an_image_asks_the_tools_own_table(
    app: Application, tool: str, table: str, left: list[str]
) -> None:
    names = {
        "alembic": ["r1", "r2"],
        "django": ["votes.0001_initial", "votes.0002_more"],
        "prisma": ["a", "b", "c"],
    }
    if table:
        with connection(app.login) as conn:
            conn.execute(table)
    revisions = [
        {"revision": name, "parents": ["r1"] if name == "r2" else [], "message": ""} for name in names[tool]
    ]
    nowhere = {**app.compose, "files": ["/nowhere/compose.yaml"]}
    planned = app.run("upgraded", check=True, tool=tool, revisions=revisions, compose=nowhere)
    assert [one["revision"] for one in planned["pending"]] == left
    assert planned["gates"][0]["verdict"] == "pass" and planned["gates"][0]["value"] == len(left)


def test_a_plan_from_an_older_source_says_that_the_tool_would_refuse(app: Application) -> None:
    nowhere = {**app.compose, "files": ["/nowhere/compose.yaml"]}
    older = [{"revision": "r0", "parents": ["base"], "message": ""}]
    planned = app.run("upgraded", check=True, revisions=older, compose=nowhere)
    assert planned["failed"] and "stands at revision r1" in planned["msg"]
