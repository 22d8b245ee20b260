"""What slipway knows of migration tools: their commands, and how to read what they print."""

from __future__ import annotations

import dataclasses
import re
import typing as t

#: A revision that has not been applied: ``{"revision": "ab12", "message": "add votes"}``.
Pending: t.TypeAlias = "dict[str, str]"

ALEMBIC_LINE = re.compile(r"^\S.*? -> (?P<revision>[^\s,]+)(?P<marks>(?: \([^)]*\))*), ?(?P<message>.*)$")
DJANGO_LINE = re.compile(r"^\[(?P<done>[ X])\]\s+(?P<app>\w+)\.(?P<name>\w+)")
PRISMA_PENDING = re.compile(r"have not yet been applied:\s*\n(?P<names>(?:\S+\n)+)")


@dataclasses.dataclass(frozen=True)
class Tool:
    """One tool's commands, run in the service's container.

    ``{target}``, ``{current}`` and ``{revision}`` are filled in; an empty command means the tool cannot do
    that. ``sql`` prints the pending migrations as SQL. ``pending_status`` is the exit status of ``info`` when
    something is
    pending. ``book`` is the table in which the tool keeps its revision, if it is just one revision; ``list_applied`` the table
    it keeps all of them in, and the query for their names.
    """

    name: str
    info: tuple[str, ...] = ()
    upgrade: tuple[str, ...] = ()
    downgrade: tuple[str, ...] = ()
    sql: tuple[str, ...] = ()
    target: str = ""
    base: str = ""
    pending_status: int = 0
    book: str = ""
    list_applied: tuple[str, ...] = ()

    def parse(self, output: str) -> tuple[str, list[Pending]]:
        """The current revision (empty when there is none) and the pending ones in order, from ``info``."""
        if self.name in ("alembic", "flask"):
            return _parse_alembic(output)
        if self.name == "django":
            return _parse_django(output)
        if self.name == "prisma":
            found = PRISMA_PENDING.search(output)
            return "", _pending(found.group("names").split() if found else [])
        return "", _pending([line.strip() for line in output.splitlines() if line.strip()])

    def downgrades(self, current: str, revision: str) -> list[list[str]]:
        """The commands that lead from ``current`` back to ``revision``; empty when the tool has none."""
        if not self.downgrade:
            return []
        if self.name != "django":
            return [fill(self.downgrade, revision=revision or self.base, current=current, target=self.target)]
        # Django goes back app by app, to the last migration each had.
        now, before = (_apps(text) for text in (current, revision))
        changed = [app for app in now if now[app] != before.get(app)]
        return [fill(self.downgrade, app=app, revision=before.get(app, self.base)) for app in changed]


TOOLS = {
    tool.name: tool
    for tool in (
        Tool(
            "alembic",
            info=("alembic", "history", "--indicate-current", "--rev-range", "current:{target}"),
            upgrade=("alembic", "upgrade", "{target}"),
            downgrade=("alembic", "downgrade", "{revision}"),
            sql=("alembic", "upgrade", "{current}:{target}", "--sql"),
            target="head",
            base="base",
            book="alembic_version",
        ),
        Tool(
            "flask",
            info=("flask", "db", "history", "--indicate-current", "--rev-range", "current:{target}"),
            upgrade=("flask", "db", "upgrade", "{target}"),
            downgrade=("flask", "db", "downgrade", "{revision}"),
            sql=("flask", "db", "upgrade", "{current}:{target}", "--sql"),
            target="head",
            base="base",
            book="alembic_version",
        ),
        Tool(
            "django",
            info=("python", "manage.py", "showmigrations", "--plan"),
            upgrade=("python", "manage.py", "migrate", "--no-input"),
            downgrade=("python", "manage.py", "migrate", "--no-input", "{app}", "{revision}"),
            base="zero",
            list_applied=("django_migrations", "SELECT app || '.' || name FROM {table}"),
        ),
        Tool(
            "prisma",
            info=("npx", "prisma", "migrate", "status"),
            upgrade=("npx", "prisma", "migrate", "deploy"),
            pending_status=1,
            book="_prisma_migrations",
            list_applied=(
                "_prisma_migrations",
                "SELECT migration_name FROM {table} WHERE finished_at IS NOT NULL AND rolled_back_at IS NULL",
            ),
        ),
        Tool("command"),
    )
}


def choose(name: str, commands: t.Mapping[str, t.Sequence[str]]) -> Tool:
    """A tool by name, with the commands given (``info``, ``upgrade``, ...) instead of its own."""
    instead: dict[str, t.Any] = {key: tuple(value) for key, value in commands.items()}
    return dataclasses.replace(TOOLS[name], **instead)


def fill(command: t.Sequence[str], **values: str) -> list[str]:
    """A command with its placeholders filled in; other braces stay as they are."""
    return [re.sub(r"\{(\w+)\}", lambda m: values.get(m.group(1), m.group(0)), part) for part in command]


def _parse_alembic(output: str) -> tuple[str, list[Pending]]:
    current, pending = [], []
    for line in output.splitlines():
        found = ALEMBIC_LINE.match(line.strip())
        if not found:
            continue
        if "(current)" in found["marks"]:
            current.append(found["revision"])
        else:
            pending.append({"revision": found["revision"], "message": found["message"].strip()})
    # Alembic prints the newest first.
    return ",".join(sorted(current)), pending[::-1]


def _parse_django(output: str) -> tuple[str, list[Pending]]:
    last: dict[str, str] = {}
    pending = []
    for line in output.splitlines():
        found = DJANGO_LINE.match(line.strip())
        if found and found["done"] == "X":
            last[found["app"]] = found["name"]
        elif found:
            pending.append(f"{found['app']}.{found['name']}")
    return ",".join(f"{app}={name}" for app, name in sorted(last.items())), _pending(pending)


def _apps(text: str) -> dict[str, str]:
    return dict(part.split("=", 1) for part in text.split(",") if part)


def _pending(names: t.Iterable[str]) -> list[Pending]:
    return [{"revision": name, "message": ""} for name in names]
