"""The edge is turned to a colour that answers, and back from one that does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.slipway.edge import flag
from ansible.module_utils.slipway.edge.ask import EdgeError
from ansible.module_utils.slipway.edge.switch import turn


def asked(directory: Path, server: Any = None, **more: Any) -> dict[str, Any]:
    return {
        "directory": str(directory), "colour": None, "domain": "shop.test" if server else None,
        "port": server.server_port if server else 0, "tls": False, "path": "/health", "requests": 3, "servers": [],
        "timeout": 0.2, "back_on_failure": True, **more,
    }  # fmt: skip


def test_without_a_colour_it_only_says_where_the_edge_points(tmp_path: Path) -> None:
    flag.point(tmp_path, "blue")
    assert turn(asked(tmp_path)) == {"changed": False, "colour": "blue", "before": "blue"}


def test_a_plan_says_where_it_would_turn_and_does_not(tmp_path: Path) -> None:
    planned = turn(asked(tmp_path, colour="blue"), check=True)
    assert planned["changed"] and planned["diff"] == {"before": "live: none\n", "after": "live: blue\n"}
    assert flag.pointed_at(tmp_path) == "none"


def test_it_is_seen_to_have_turned(tmp_path: Path, server: Any) -> None:
    server.answers = [(200, "blue"), (200, "green")]
    done = turn(asked(tmp_path, server, colour="green"))
    assert (done["colour"], done["before"], done["requests"]) == ("green", "none", 4)
    assert done["gates"][0]["verdict"] == "pass" and flag.pointed_at(tmp_path) == "green"


@pytest.mark.parametrize(("back", "colour"), [(True, "blue"), (False, "green")])
def test_from_a_colour_that_does_not_answer_it_is_turned_back(
    tmp_path: Path, server: Any, back: bool, colour: str
) -> None:
    flag.point(tmp_path, "blue")
    server.answers = [(502, "green")]
    with pytest.raises(EdgeError) as failed:
        turn(asked(tmp_path, server, colour="green", back_on_failure=back))
    assert failed.value.result["colour"] == flag.pointed_at(tmp_path) == colour
    assert ("The edge points at blue again." in str(failed.value)) is back
