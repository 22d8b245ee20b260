"""The check kind `prometheus` against Prometheus."""

from __future__ import annotations

import json
import shutil
from typing import Any

import pytest
from verify_containers import free_port, image
from verify_servers import always, answer, serve

pytestmark = pytest.mark.skipif(shutil.which("docker") is None, reason="needs Docker")


@pytest.fixture(scope="module")
def started(start: Any) -> str:
    port = free_port()
    start("prometheus", "-p", f"127.0.0.1:{port}:9090", image("prometheus"))
    return f"http://127.0.0.1:{port}"


@pytest.fixture
def prometheus(started: str, passes: Any) -> str:
    """One that has asked each of its three targets: it spreads the first rounds over the interval."""
    passes(prometheus=started, expect={"expressions": {"count(up)": 3}})
    return started


def test_targets_and_expressions(passes: Any, prometheus: str) -> None:
    good = passes(
        prometheus=prometheus,
        expect={
            "ready": True,
            "targets": {"itself": 1, "lost": {"eq": 1}},
            "targets_down": {"lte": 1},
            "expressions": {
                'sum(up{job="lost"})': 1,
                'up{job="itself"}': {"gte": 1},
                "scalar(vector(1.5))": 1.5,
                "vector(1) / 0": {"gt": 1e9},
            },
        },
    )
    assert good.observed["target itself"] == 1 and good.observed["targets_down"] == 1
    # JSON has no infinity, and the report is JSON.
    json.dumps(good.observed, allow_nan=False)


@pytest.mark.parametrize(
    ("expect", "reason"),
    [
        ({"targets": {"itself": 2}}, "target itself: saw 1, expected at least 2"),
        ({"targets": {"lost": 2}}, "target lost: saw 1, expected at least 2"),
        ({"targets": {"nobody": 1}}, "target nobody: saw nothing"),
        ({"targets_down": 0}, "targets_down: saw 1, expected 0"),
        ({"expressions": {'sum(up{job="lost"})': 2}}, "saw 1, expected 2"),
        ({"expressions": {"up": 1}}, "3 series, expected one; aggregate them"),
        ({"expressions": {"no_such_metric": 1}}, "saw nothing, expected 1"),
        ({"expressions": {"sum(up": 1}}, "answered 400"),
        # Nothing divided by nothing is no value, whatever is expected of it.
        ({"expressions": {"vector(0) / 0": {"ne": 0}}}, "saw nothing, expected not 0"),
    ],
)
def test_gone_wrong(fails: Any, prometheus: str, expect: Any, reason: str) -> None:
    assert reason in fails(prometheus=prometheus, expect=expect)


def test_one_that_is_not_there_or_something_else(fails: Any, prometheus: str) -> None:
    assert "Connection refused" in fails(prometheus="http://127.0.0.1:1")
    assert "/-/ready answered 404" in fails(prometheus=prometheus + "/elsewhere")
    for body in (
        b"[]",
        b'{"data": null}',
        b'{"data": {"result": [{"value": 1}], "resultType": "vector"}}',
        b"ok",
    ):
        with serve(always(answer(body, kind="application/json"))) as server:
            url = f"http://127.0.0.1:{server.port}"
            expect = {"targets": {"x": 1}, "expressions": {"up": 1}}
            assert fails(prometheus=url, expect=expect)
