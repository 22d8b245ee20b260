"""What a role's argument_specs say is what its defaults, its entry points and its README say."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
ROLES = sorted(path.parent.name for path in ROOT.glob("roles/*/tasks"))
# Playbooks that are run on demand; all others are phases of a release.
# declaration.yml is preflight's own part.
ON_DEMAND = {"declaration.yml", "indexes.yml", "job.yml"}


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def specs(role: str) -> dict[str, Any]:
    """Return the options of a role's entry points, by entry point."""
    found = read(ROOT / "roles" / role / "meta/argument_specs.yml")["argument_specs"]
    return {entry: spec.get("options") or {} for entry, spec in found.items()}


def defaults(role: str) -> dict[str, Any]:
    """Return the defaults of a role that are not internal to it."""
    found = read(ROOT / "roles" / role / "defaults/main.yml")
    return {name: value for name, value in found.items() if not name.startswith("__")}


def is_computed(value: Any) -> bool:
    return "{{" in str(value) or "{%" in str(value)


def uses(data: Any) -> Iterator[dict[str, Any]]:
    """Yield the arguments of each import_role and include_role in tasks or plays, and of each role of a play."""
    if isinstance(data, list):
        for item in data:
            yield from uses(item)
    elif isinstance(data, dict):
        for key, value in data.items():
            if key.rpartition(".")[2] in ("import_role", "include_role"):
                yield value
            elif key == "roles":
                yield from ({"name": one["role"] if isinstance(one, dict) else one} for one in value)
            else:
                yield from uses(value)


def used_entry_points() -> set[tuple[str, str]]:
    """Return role and entry point of every use of a role; one that a template chooses counts as each that it names."""
    used = {(role, "main") for role in ROLES}
    for pattern in ("playbooks/*.yml", "roles/*/tasks/*.yml", "molecule/*/*.yml"):
        for path in ROOT.glob(pattern):
            for use in uses(read(path)):
                entry = str(use.get("tasks_from", "main"))
                names = re.findall(r"'(\w+)'", entry) if is_computed(entry) else [entry]
                used |= {(use["name"], name) for name in names}
    return used


def table(role: str, heading: str) -> set[str]:
    """Return the names in the first column of the table with that heading in a role's README; none where there is no such."""
    text = (ROOT / "roles" / role / "README.md").read_text()
    found = re.search(rf"^\| {heading} \|.*\n\|[-| ]+\n((?:\|.*\n)+)", text, re.MULTILINE)
    rows = found.group(1).splitlines() if found else []
    return {name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1])}


@pytest.mark.parametrize("role", ROLES)
def test_every_default_is_in_the_specs_as_it_is(role: str) -> None:
    options = [(name, option) for entry in specs(role).values() for name, option in entry.items()]
    wrong = []
    for name, value in defaults(role).items():
        declared = [option for known, option in options if known == name]
        if not declared:
            wrong.append(f"{name} is in no entry point's options")
        for option in declared:
            # What is computed need not be written twice.
            if option.get("default", value if is_computed(value) else None) != value or option.get(
                "required"
            ):
                wrong.append(f"{name} is {value!r} in defaults, {option} in argument_specs")
    assert wrong == []


@pytest.mark.parametrize("role", ROLES)
def test_every_default_in_the_specs_is_a_default(role: str) -> None:
    declared = {
        name
        for entry in specs(role).values()
        for name, option in entry.items()
        if name.startswith(f"{role}_") and "default" in option
    }
    assert declared - set(defaults(role)) == set()


def test_every_entry_point_has_a_spec_and_tasks() -> None:
    declared = {(role, entry) for role in ROLES for entry in specs(role)}
    assert used_entry_points() - declared == set()
    assert {one for one in declared if not (ROOT / f"roles/{one[0]}/tasks/{one[1]}.yml").exists()} == set()


@pytest.mark.parametrize("role", ROLES)
def test_every_option_says_what_it_is(role: str) -> None:
    for options in specs(role).values():
        assert [
            name for name, option in options.items() if not (option["description"] and option["type"])
        ] == []


@pytest.mark.parametrize("role", ROLES)
def test_the_readme_names_what_there_is(role: str) -> None:
    declared = specs(role)
    if names := table(role, "variable"):
        assert names == {name for options in declared.values() for name in options}
    if names := table(role, "entry point"):
        assert names == set(declared)


def test_a_release_does_not_validate_again_what_preflight_has() -> None:
    # Each validation is a task, 15 ms of a release for each host, and in a rescue one more that can fail.
    for path in (ROOT / "playbooks").glob("*.yml"):
        tasks = [play.get("tasks", []) for play in read(path)]
        validated = [use for use in uses(tasks) if use.get("rolespec_validate", True)]
        assert path.name in ON_DEMAND or validated == [], path.name


def test_what_is_looked_at_is_there() -> None:
    assert {
        ("release", "phase"),
        ("verify", "dark"),
        ("edge", "switch"),
        ("declaration", "main"),
    } <= used_entry_points()
    assert "backup_keep" in table("backup", "variable") and "dark" in table("verify", "entry point")
