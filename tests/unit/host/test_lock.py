"""One at a time on a host: who waits for whom, and for how long."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest
from ansible.module_utils.slipway.host import lock as host_lock


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(host_lock, "DIRECTORY", tmp_path)
    return tmp_path


def held(seconds: float) -> int:
    """Hold the lock in another process, which says for how long; return its id."""
    ready, write = os.pipe()
    if not (child := os.fork()):
        with host_lock.alone("shop", seconds):
            os.write(write, b"x")
            time.sleep(60)
        os._exit(0)
    os.read(ready, 1)
    return child


def end(process: int) -> None:
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)


def test_whoever_is_late_is_named() -> None:
    holder = held(-1)
    try:
        with (
            pytest.raises(host_lock.Busy, match=f"Process {holder} .* ps -fp {holder}"),
            host_lock.alone("shop", 1),
        ):
            pass
        with host_lock.alone("another", 1):
            pass
    finally:
        end(holder)


def test_a_killed_holder_holds_nothing() -> None:
    holder = held(600)
    threading.Timer(0.3, end, [holder]).start()
    begin = time.monotonic()
    with host_lock.alone("shop", 1):
        assert time.monotonic() - begin >= 0.2


def test_what_an_earlier_holder_has_promised_does_not_count(directory: Path) -> None:
    with host_lock.alone("shop", -100):
        pass
    holder = held(600)
    threading.Timer(0.3, end, [holder]).start()
    with host_lock.alone("shop", 1) as descriptor:
        host_lock.promise(descriptor, 30)
        said = (directory / "slipway-shop.lock").read_text().split()
        assert float(said[0]) > time.time() + 20 and said[1] == str(os.getpid())
    assert (directory / "slipway-shop.lock").stat().st_mode & 0o777 == 0o600
