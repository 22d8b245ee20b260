"""A release that fails while it is watched is taken out of traffic, whoever is there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.slipway.edge import flag
from ansible.module_utils.slipway.edge.ask import EdgeError
from ansible.module_utils.slipway.edge.watch import watch

RELEASE = "20261121T210000Z-1a2b3c4"


def asked(root: Path, server: Any, **more: Any) -> dict[str, Any]:
    (root / "releases" / RELEASE).mkdir(parents=True)
    flag.point(root / "edge", "green")
    return {
        "root": str(root), "release": RELEASE, "colour": "green", "previous_colour": "blue", "domain": "shop.test",
        "path": "/health", "port": server.server_port, "tls": False, "seconds": 0.3, "interval": 0.01, "failures": 3,
        **more,
    }  # fmt: skip


def written(root: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((root / "releases" / RELEASE / "watch.json").read_text())
    return found


def test_single_failures_turn_nothing(tmp_path: Path, server: Any) -> None:
    server.answers = [(500, "green"), (502, "green"), (200, "green")]
    seen = watch(asked(tmp_path, server))
    assert (seen["verdict"], seen["bad"], seen["changed"]) == ("pass", 2, False) and "diff" not in seen
    assert written(tmp_path)["verdict"] == "pass" and flag.pointed_at(tmp_path / "edge") == "green"


@pytest.mark.parametrize(("previous", "live"), [("blue", "blue"), ("none", "green")])
def test_failures_in_a_row_turn_the_edge_back_where_there_is_something_to_turn_to(
    tmp_path: Path, server: Any, previous: str, live: str
) -> None:
    server.answers = [(502, "green")]
    with pytest.raises(
        EdgeError, match="3 probes of /health in a row failed, the last with status 502"
    ) as failed:
        watch(asked(tmp_path, server, previous_colour=previous))
    result = failed.value.result
    assert (result["verdict"], result["changed"]) == ("fail", live == "blue")
    assert result.get("diff") == (
        {"before": "live: green\n", "after": "live: blue\n"} if live == "blue" else None
    )
    assert written(tmp_path)["verdict"] == "fail" and flag.pointed_at(tmp_path / "edge") == live


def test_it_ends_where_somebody_else_has_switched(tmp_path: Path, server: Any) -> None:
    server.answers = [(200, "green")]
    wanted = asked(tmp_path, server)
    flag.point(tmp_path / "edge", "blue")
    with pytest.raises(EdgeError, match="somebody has switched back") as ended:
        watch(wanted)
    assert ended.value.result["gates"][0]["verdict"] == "inconclusive"
    assert written(tmp_path)["verdict"] == "ended"
