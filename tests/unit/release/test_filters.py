"""What the filters of role release make of what the hosts of a play know."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

PATH = Path(__file__).resolve().parents[3] / "plugins/filter/release.py"
RELEASE = {"previous_colour": "blue", "colour": "green", "before_traffic": ["start"]}
BACK = {"colour": "blue", "before": "green", "confirmed_ms": 1.0}


def trouble(hostvars: dict[str, dict[str, Any]], phase: str = "confirm") -> str:
    spec = importlib.util.spec_from_file_location("release_filters", PATH)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    filters = module.FilterModule().filters()
    return str(filters["release_edge_trouble"](hostvars, ["edge1", "edge2"], list(hostvars), RELEASE, phase))


def test_each_edge_that_came_to_the_rescue_is_judged_by_what_was_seen_there() -> None:
    here = {"release_failure": "", "release_edge": BACK}
    assert trouble({"edge1": here, "edge2": here, "app1": {"release_failure": "it failed"}}) == ""


def test_an_edge_that_was_lost_is_not_judged_by_what_was_seen_before() -> None:
    """A settlement earlier in the run had turned it back, and then a release turned it again."""
    lost = {"release_edge": BACK}
    assert trouble({"edge1": {**lost, "release_failure": ""}, "edge2": lost}) == "edge2: did not answer"


def test_where_nothing_has_failed_as_in_a_settlement_all_are_there() -> None:
    assert trouble({"edge1": {"release_edge": BACK}, "edge2": {"release_edge": BACK}}) == ""
    assert trouble({"edge1": {"release_edge": BACK}, "edge2": {}}) == "edge2: did not answer"
