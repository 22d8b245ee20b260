"""How mistakes are told."""

from __future__ import annotations

import pytest
from ansible.module_utils.slipway.model.problems import Problem, listing, near_miss


def test_a_list_of_problems_is_numbered_by_file_and_line_without_repeats() -> None:
    late, early = Problem("b.yml", 3, "k", "is wrong", "mend it"), Problem("a.yml", 20, "", "is wrong")
    nowhere = Problem("a.yml", 0, "x", "is missing", "add it")
    assert listing([late, early, late, nowhere]).splitlines() == [
        "1. a.yml: x: is missing -> add it",
        "2. a.yml:20: is wrong",
        "3. b.yml:3: k: is wrong -> mend it",
    ]


@pytest.mark.parametrize(
    ("name", "near"),
    [("wbe", "web"), ("helth", "health"), ("DATABASE", "database"), ("zebra", ""), (None, ""), (5, "")],
)
def test_near_misses(name: object, near: str) -> None:
    assert near_miss(name, ["web", "health", "database"]) == near
