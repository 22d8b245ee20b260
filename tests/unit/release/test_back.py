"""Whether traffic is back: what was seen counts, not what an edge was told."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.module_utils.slipway.release import back

TURNED = {"colour": "blue", "before": "green", "confirmed_ms": 12.0}


@pytest.mark.parametrize(
    ("edge", "why"),
    [
        (TURNED, ""),
        # It was told to, and answers were not seen: the outage of taking an intention for an observation.
        ({"colour": "blue", "before": "green", "msg": "not answered by blue: status 502"}, "status 502"),
        ({"colour": "blue", "before": "green"}, "not seen to answer from blue"),
        ({"colour": "green", "before": "green", "msg": "was not turned to blue"}, "was not turned"),
        ({"colour": "green", "before": "green"}, "points at green"),
        # Rebuilt: there is nothing of the release, and nothing to lose.
        ({"colour": "none", "before": "none", "msg": "does not answer"}, ""),
        ({"colour": "none", "before": "green", "msg": "does not answer"}, "does not answer"),
        # It never left: what is taken back has no traffic here, whatever the old colour does.
        ({"colour": "blue", "before": "blue", "msg": "status 502"}, ""),
        ({"msg": "unreachable"}, "unreachable"),
        ({}, "did not answer"),
        (None, "did not answer"),
    ],
)
def test_one_edge(edge: dict[str, Any] | None, why: str) -> None:
    said = back.trouble("blue", "green", {"edge1": edge}, had_traffic=False)
    assert said == "" if not why else (why in said and said.startswith("edge1: "))


def test_an_edge_that_somebody_turned_back_has_to_answer_too() -> None:
    """The release had traffic, and may be the only one that works."""
    edge = {"colour": "blue", "before": "blue", "msg": "not answered by blue: status 502"}
    assert (
        back.trouble("blue", "green", {"edge1": edge}, had_traffic=True)
        == "edge1: not answered by blue: status 502"
    )
    assert back.trouble("blue", "green", {"edge1": {**edge, "confirmed_ms": 1.0}}, had_traffic=True) == ""


def test_every_edge_counts() -> None:
    assert back.trouble("blue", "green", {"edge1": TURNED, "edge2": TURNED}, True) == ""
    assert back.trouble("blue", "green", {"edge1": TURNED, "edge2": None}, True) == "edge2: did not answer"


def test_before_a_first_release_there_is_nothing_to_answer() -> None:
    assert back.trouble("none", "green", {"edge1": {"colour": "none", "before": "green"}}, True) == ""
