"""What a host is brought to, and what is said where that can't be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.slipway.compose import colours
from ansible.module_utils.slipway.compose.project import ProjectError

NOTHING: dict[str, Any] = {
    "name": "shop", "running": [], "stopped": [], "absent": [], "prepared": [], "workers": None, "colours": {},
    "timeout": 5, "wait": True, "settled": 0,
}  # fmt: skip


def refused(command: list[str]) -> tuple[int, str, str]:
    raise AssertionError(f"{command} was run")


def silent(_command: list[str]) -> tuple[int, str, str]:
    return 0, "", ""


def there(name: str) -> str:
    return f"/usr/bin/{name}"


def test_a_colour_needs_its_files() -> None:
    for asked in ({"running": ["green"]}, {"workers": "green"}, {"prepared": ["green"]}):
        with pytest.raises(ProjectError, match="does not say which files green runs from"):
            colours.bring(refused, there, {**NOTHING, **asked})


def test_a_host_without_an_engine_has_nothing_to_stop() -> None:
    done = colours.bring(refused, lambda _name: None, {**NOTHING, "stopped": ["blue"], "absent": ["green"]})
    assert done == {"changed": False, "containers": {"blue": [], "green": []}}


def test_a_plan_for_a_new_host_says_what_starts(tmp_path: Path) -> None:
    asked = {**NOTHING, "running": ["green"], "colours": {"green": str(tmp_path)}}
    unprepared = colours.bring(refused, lambda _name: None, asked, check=True)
    assert unprepared["changed"] is True
    planned = colours.bring(silent, there, asked, check=True)
    assert planned["diff"] == {"before": "", "after": "green: start the new release\n"}


def test_files_that_were_not_handed_out_are_named(tmp_path: Path) -> None:
    asked = {**NOTHING, "running": ["green"], "colours": {"green": str(tmp_path)}}
    with pytest.raises(ProjectError, match=r"green can't be started: this host was not given the files"):
        colours.bring(silent, there, asked)
