"""Which version `release_version` is, at each moment of a run."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
from ansible.errors import AnsibleUndefinedVariable
from ansible.inventory.group import Group
from ansible.inventory.host import Host
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar

PLUGIN = Path(__file__).resolve().parents[3] / "plugins" / "vars" / "release_version.py"
SPEC = importlib.util.spec_from_file_location("release_version", PLUGIN)
assert SPEC and SPEC.loader
plugin = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(plugin)


def version(**variables: Any) -> Any:
    """Return what a check that says "{{ release_version }}" expects."""
    given = plugin.VarsModule().get_vars(DataLoader(), "inventory", [Host("edge1")])
    return Templar(loader=DataLoader(), variables={**given, **variables}).template(given["release_version"])


OLD, NEW, BACK = ({"version": name} for name in ("v0", "v2", "v1"))


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, "v2"),
        ({"slipway_phase": "preflight"}, "v2"),
        # A release that broke off has just been settled: it is not what is being released.
        ({"slipway_phase": "preflight", "release_this": OLD}, "v2"),
        ({"slipway_phase": "preflight", "release_this": NEW, "release_planned": {}}, "v2"),
        ({"slipway_phase": "verify", "release_this": NEW, "release_planned": {}}, "v2"),
        # A rollback, and a phase or a playbook that looks at what is live: the inventory may name a newer one.
        ({"slipway_phase": "rollback", "release_this": BACK, "release_planned": {}}, "v1"),
        ({"slipway_phase": "verify", "release_this": BACK}, "v1"),
        ({"release_this": BACK}, "v1"),
        ({"slipway_phase": "verify", "release_this": {"version": ""}}, ""),
    ],
)
def test_the_version_of_what_is_being_released(variables: dict[str, Any], expected: str) -> None:
    assert version(app_version="v2", **variables) == expected


def test_a_system_without_a_version_is_told_what_is_missing() -> None:
    with pytest.raises(AnsibleUndefinedVariable, match="'app_version' is undefined"):
        version(slipway_phase="preflight")


def test_groups_do_not_have_it() -> None:
    assert plugin.VarsModule().get_vars(DataLoader(), "inventory", [Group("edge")]) == {}
