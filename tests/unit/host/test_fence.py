"""The fence: a number that only rises, and who it keeps out."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.slipway.host import fence
from hypothesis import given
from hypothesis import strategies as st


def me(root: Path, generation: int, token: str = "a") -> dict[str, Any]:
    return {
        "root": str(root),
        "generation": generation,
        "token": token,
        "owner": f"owner of {token}",
        "controller": "laptop",
        "command": "deploy.yml",
    }


def test_who_comes_later_keeps_out_who_came_before(tmp_path: Path) -> None:
    first, second = me(tmp_path, 1, "a"), me(tmp_path, 2, "b")
    fence.take(tmp_path, first)
    fence.see(first)
    fence.take(tmp_path, second)
    fence.see(second)
    for step in (
        lambda: fence.see(first),
        lambda: fence.take(tmp_path, first),
        lambda: fence.held(first).__enter__(),
    ):
        with pytest.raises(fence.Lost, match=r"owner of b on laptop \(deploy.yml, since 20") as lost:
            step()
        assert lost.value.result["lost"]["generation"] == 2
    assert fence.holder_instead_of(first) is not None and fence.holder_instead_of(second) is None


def test_of_two_with_the_same_number_the_first_has_it(tmp_path: Path) -> None:
    """Both read the hosts before either had the lock."""
    fence.take(tmp_path, me(tmp_path, 3, "a"))
    with pytest.raises(fence.Lost):
        fence.take(tmp_path, me(tmp_path, 3, "b"))
    fence.take(tmp_path, me(tmp_path, 3, "a"))


def test_a_host_that_nobody_ever_fenced_lets_everybody_in(tmp_path: Path) -> None:
    fence.see(None)
    fence.see(me(tmp_path / "new", 1))
    with fence.held(me(tmp_path / "new", 1)):
        pass
    assert fence.read(tmp_path / "new") == {"generation": 0}
    fence.take(tmp_path / "new", me(tmp_path / "new", 1))
    assert fence.read(tmp_path / "new")["generation"] == 1


@pytest.mark.parametrize("text", ["", "{", "[]", '{"generation": "many"}', '{"generation": null}', "null"])
def test_one_that_can_not_be_read_is_taken_anew(tmp_path: Path, text: str) -> None:
    (tmp_path / fence.NAME).write_text(text)
    assert fence.read(tmp_path) == {"generation": 0}
    fence.take(tmp_path, me(tmp_path, 4))
    assert fence.read(tmp_path)["token"] == "a"


def test_it_does_not_change_hands_during_a_step(tmp_path: Path) -> None:
    fence.take(tmp_path, me(tmp_path, 1, "a"))
    order: list[str] = []
    with fence.held(me(tmp_path, 1, "a")):
        taker = threading.Thread(
            target=lambda: (fence.take(tmp_path, me(tmp_path, 2, "b")), order.append("taken"))
        )
        taker.start()
        time.sleep(0.1)
        order.append("done")
    taker.join(5)
    assert order == ["done", "taken"]


def test_whoever_dies_in_a_step_lets_go(tmp_path: Path) -> None:
    fence.take(tmp_path, me(tmp_path, 1, "a"))
    if not (child := os.fork()):
        with fence.held(me(tmp_path, 1, "a")):
            os._exit(0)
    os.waitpid(child, 0)
    fence.take(tmp_path, me(tmp_path, 2, "b"))


def test_every_module_is_handed_the_fence_of_the_run() -> None:
    mine = {"root": "/x", "generation": 1, "token": "a"}
    assert fence.handed({"name": "x"}, {"release_lock": {"fence": mine}}) == {"name": "x", "fence": mine}
    assert fence.handed({"fence": {"root": "/y"}}, {"release_lock": {"fence": mine}}) == {
        "fence": {"root": "/y"}
    }
    for without in ({}, {"release_lock": {"token": "a"}}, {"release_lock": {"skipped": True}}):
        assert fence.handed({"name": "x"}, without) == {"name": "x"}


@given(st.lists(st.tuples(st.integers(1, 5), st.sampled_from("abc"))))
def test_it_never_falls(tmp_path_factory: pytest.TempPathFactory, takers: list[tuple[int, str]]) -> None:
    root, highest, holder = tmp_path_factory.mktemp("root"), 0, ""
    for generation, token in takers:
        allowed = generation > highest or (generation == highest and token == holder)
        try:
            fence.take(root, me(root, generation, token))
            assert allowed
            highest, holder = generation, token
        except fence.Lost:
            assert not allowed
        assert fence.read(root)["generation"] == highest


def test_the_report_of_a_run_that_has_lost_claims_nothing(tmp_path: Path) -> None:
    release = fence.Lost(me(tmp_path, 2, "b")).result["report"]["release"]
    assert release["verdict"] == "inconclusive" and "has lost the system to owner of b" in release["reason"]
