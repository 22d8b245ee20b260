# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""The migrations a source tree holds, read from its files: what a plan can say before there is an image to ask."""

from __future__ import annotations

import ast
import os
import re
import typing as t
from pathlib import Path

#: ``{"revision": "ab12", "parents": ["cd34"], "message": "add votes"}``
Revision: t.TypeAlias = "dict[str, t.Any]"

# Where other people's migrations are.
_FOREIGN = {"node_modules", "site-packages", ".venv", "venv", ".git"}
_DJANGO = re.compile(r"^\d{4}_\w+$")


class UnknownRevision(Exception):
    """The database stands where the source does not lead; the message says where."""


def read(tool: str, source: Path) -> list[Revision] | None:
    """Return the revisions of a source tree, parents first; None where the tool's files can't be read without it."""
    if tool in ("alembic", "flask"):
        return _in_order([found for path in _files(source, ".py") if (found := _alembic(path))])
    if tool == "django":
        names = sorted(
            f"{path.parent.parent.name}.{path.stem}"
            for path in _files(source, ".py")
            if path.parent.name == "migrations" and _DJANGO.match(path.stem)
        )
        return [_revision(name) for name in names]
    if tool == "prisma":
        names = sorted(path.parent.name for path in _files(source, ".sql") if path.name == "migration.sql")
        return [_revision(name) for name in names]
    return None


def pending(revisions: t.Sequence[Revision], applied: t.Collection[str]) -> list[dict[str, str]]:
    """Return what is left when `applied` and all that leads to it is done, in the order of `revisions`.

    Raises UnknownRevision where a name in `applied` that is a revision of a chain is not in the source.
    """
    known = {revision["revision"]: revision for revision in revisions}
    chained = any(revision["parents"] for revision in revisions)
    done: set[str] = set()
    todo = list(applied)
    while todo:
        name = todo.pop()
        if name in done:
            continue
        if name not in known:
            if chained:
                raise UnknownRevision(
                    f"the database stands at revision {name}, which is not among the {len(known)} of this source"
                )
            continue
        done.add(name)
        todo += known[name]["parents"]
    return [
        {"revision": revision["revision"], "message": revision["message"]}
        for revision in revisions
        if revision["revision"] not in done
    ]


def _files(source: Path, suffix: str) -> t.Iterator[Path]:
    for directory, subdirectories, names in os.walk(source):
        subdirectories[:] = sorted(name for name in subdirectories if name not in _FOREIGN)
        for name in sorted(names):
            if name.endswith(suffix):
                yield Path(directory) / name


def _revision(name: str, parents: t.Iterable[str] = (), message: str = "") -> Revision:
    return {"revision": name, "parents": list(parents), "message": message}


def _alembic(path: Path) -> Revision | None:
    """Return the revision a Python file declares, without running it."""
    text = path.read_text(encoding="utf-8", errors="replace")
    if "down_revision" not in text:
        return None
    try:
        tree = ast.parse(text)
    except SyntaxError:
        return None
    values: dict[str, t.Any] = {}
    for node in tree.body:
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        value = getattr(node, "value", None)
        if isinstance(target, ast.Name) and isinstance(value, ast.expr):
            try:
                values[target.id] = ast.literal_eval(value)
            except ValueError:
                continue
    if not isinstance(values.get("revision"), str) or "down_revision" not in values:
        return None
    down = values["down_revision"] or ()
    message = (ast.get_docstring(tree) or "").strip().splitlines()
    return _revision(
        values["revision"], [down] if isinstance(down, str) else down, message[0] if message else ""
    )


def _in_order(revisions: list[Revision]) -> list[Revision]:
    """Return them parents first; what hangs on a revision that is not there comes last."""
    ordered: list[Revision] = []
    placed: set[str] = set()
    known = {revision["revision"] for revision in revisions}
    left = sorted(revisions, key=lambda revision: str(revision["revision"]))
    while left:
        ready = [one for one in left if placed.issuperset(name for name in one["parents"] if name in known)]
        if not ready:
            return ordered + left
        ordered += ready
        placed |= {one["revision"] for one in ready}
        left = [one for one in left if one["revision"] not in placed]
    return ordered
