"""The lock: one holder, a heartbeat, and a takeover that only one contender wins."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest
from ansible.module_utils.slipway.release.lock import Held, Lock


def me(token: str) -> dict[str, str]:
    return {"token": token, "owner": f"owner of {token}", "controller": "laptop", "command": "deploy.yml"}


def test_the_second_is_told_who_holds_it(tmp_path: Path) -> None:
    lock = Lock(tmp_path / "lock.json", ttl=20)
    assert lock.acquire(me("a"), wait=0) is None
    with pytest.raises(Held) as refused:
        Lock(tmp_path / "lock.json", ttl=20).acquire(me("b"), wait=0)
    assert refused.value.holder["owner"] == "owner of a"
    assert refused.value.age < 5
    assert lock.mine("a") and not lock.mine("b")


def test_only_the_holder_gives_it_back(tmp_path: Path) -> None:
    lock = Lock(tmp_path / "lock.json", ttl=20)
    lock.acquire(me("a"), wait=0)
    assert lock.release("b") is False
    assert lock.release("a") is True
    assert lock.holder() is None


def test_without_a_heartbeat_it_is_taken_over(tmp_path: Path) -> None:
    lock = Lock(tmp_path / "lock.json", ttl=20)
    lock.acquire(me("a"), wait=0)
    long_ago = time.time() - 60
    os.utime(lock.path, (long_ago, long_ago))
    gone = lock.acquire(me("b"), wait=0)
    assert gone is not None and gone["token"] == "a"
    assert lock.mine("b")


def test_one_who_is_leaving_is_waited_for(tmp_path: Path) -> None:
    lock = Lock(tmp_path / "lock.json", ttl=20)
    lock.acquire(me("a"), wait=0)
    threading.Timer(0.3, lock.release, ["a"]).start()
    assert lock.acquire(me("b"), wait=5) is None
    assert lock.mine("b")


def test_a_file_that_is_no_lock_does_not_hold_for_ever(tmp_path: Path) -> None:
    lock = Lock(tmp_path / "lock.json", ttl=20)
    lock.path.write_text("{half")
    with pytest.raises(Held):
        lock.acquire(me("a"), wait=0)


def test_of_many_who_take_over_one_wins(tmp_path: Path) -> None:
    for _ in range(20):
        lock = Lock(tmp_path / "lock.json", ttl=20)
        lock.path.unlink(missing_ok=True)
        lock.acquire(me("old"), wait=0)
        long_ago = time.time() - 60
        os.utime(lock.path, (long_ago, long_ago))
        won: list[str] = []

        def contend(token: str, won: list[str] = won) -> None:
            try:
                Lock(tmp_path / "lock.json", ttl=20).acquire(me(token), wait=0)
                won.append(token)
            except Held:
                pass

        threads = [threading.Thread(target=contend, args=[f"t{n}"]) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(won) == 1, won
        assert lock.mine(won[0])
        assert {path.name for path in tmp_path.iterdir()} == {"lock.json", "lock.json.guard"}
