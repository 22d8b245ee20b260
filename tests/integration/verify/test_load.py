"""The load engine and the traffic counter against servers that behave, stall, hang up and lie."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.slipway.verify.loads import engine as load_engine
from ansible.module_utils.slipway.verify.loads.budget import NO_DESCRIPTORS
from ansible.module_utils.slipway.verify.loads.routes import parse_routes
from ansible.module_utils.slipway.verify.loads.run import (
    Shape,
    apply,
    null_server,
    overhead,
    raise_descriptor_limit,
)
from ansible.module_utils.slipway.verify.loads.stats import Statistics
from verify_servers import Authority, always, answer, read_request, serve

MODULE_UTILS = Path(__file__).resolve().parents[3] / "module_utils"


def keep_alive(connection: socket.socket) -> None:
    """Answer every request on the connection."""
    while read_request(connection):
        connection.sendall(answer(extra="X-App-Version: v1\r\n", close=False))


def load(shape: Shape, routes: Any, port: int, scheme: str = "http", **options: Any) -> Statistics:
    parsed = parse_routes(routes, f"{scheme}://shop.test", f"127.0.0.1:{port}", **options)
    return asyncio.run(apply(shape, parsed, "X-App-Version"))


@pytest.mark.parametrize("connections", ["keep-alive", "fresh"])
@pytest.mark.parametrize(
    "shape", [Shape(300, None, 10), Shape(100, None, rate=400.0)], ids=["closed", "open"]
)
def test_every_request_is_answered_once(connections: str, shape: Shape) -> None:
    with serve(keep_alive) as server:
        found = load(shape, ["/a"], server.port, connections=connections).summary()
        opened = server.connections
    assert (found["requests"], found["failed"]) == (shape.requests, 0)
    assert found["statuses"] == {"200": shape.requests}
    assert found["releases"]["v1"]["responses"] == shape.requests
    assert opened == shape.requests if connections == "fresh" else opened < 100


def test_duration_rate_and_weights() -> None:
    routes = [{"path": "/a", "weight": 3}, {"path": "/b", "json": {"k": 1}, "connections": "fresh"}]
    with serve(keep_alive) as server:
        found = load(Shape(None, 1.0, rate=100.0), routes, server.port).summary()
    assert found["requests"] == 100 and 0.9 < found["seconds"] < 1.3
    assert found["routes"] == {"GET /a": {"ok": 75, "failed": 0}, "POST /b": {"ok": 25, "failed": 0}}
    assert len(found["timeline"]) in (1, 2) and found["histogram"]


def test_an_open_loop_does_not_hide_a_stall() -> None:
    """A second of nothing: a closed loop of one sees one slow request, an open loop all that waited."""
    began: list[float] = []

    def stalling(connection: socket.socket) -> None:
        while read_request(connection):
            began.append(time.monotonic())
            if 0.3 < time.monotonic() - began[0] < 0.8:
                time.sleep(max(0.0, began[0] + 0.8 - time.monotonic()))
            connection.sendall(answer(close=False))

    with serve(stalling) as server:
        figures = load(Shape(None, 1.2, rate=100.0), ["/"], server.port).figures()
    assert figures["failed"] == 0
    assert figures["p90"] > 300, "a third of the requests fell into the stall"
    began.clear()
    with serve(stalling) as server:
        figures = load(Shape(None, 1.2, 1), ["/"], server.port).figures()
    assert figures["p90"] < 100


def hang_up_while_idle(connection: socket.socket) -> None:
    """Answers once and closes without having said so."""
    read_request(connection)
    connection.sendall(answer(close=False))
    time.sleep(0.05)


def hang_up_on_second(connection: socket.socket) -> None:
    """Answers once, takes the second request and closes."""
    read_request(connection)
    connection.sendall(answer(close=False))
    read_request(connection)


def test_a_kept_connection_that_is_closed_on_us() -> None:
    with serve(hang_up_on_second) as server:
        found = load(Shape(10, None, 1), ["/"], server.port).summary()
    assert found["failures"] == {"closed": 5}
    assert "before any byte of the answer (kept connection)" in found["failure_details"][0]["detail"]
    with serve(hang_up_while_idle) as server:
        # Closed while nobody was using it: that is nobody's failure.
        found = load(Shape(5, None, rate=5.0), ["/"], server.port).summary()
    assert found["failed"] == 0


@pytest.mark.parametrize(
    ("handler", "kind", "detail"),
    [
        (lambda connection: time.sleep(2), "timeout", "no complete answer within 0.3 s: before any byte"),
        (always(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"), "closed", "after 3 of 9 bytes"),
        (always(b"SSH-2.0\r\n"), "protocol", "not an HTTP answer"),
        (always(answer(b"Traceback: boom", "500 Oops")), "status 500", "boom"),
        (lambda connection: None, "closed", "before any byte"),
    ],
)
def test_failures_are_counted_by_kind(handler: Any, kind: str, detail: str) -> None:
    with serve(handler) as server:
        found = load(Shape(4, None, 2), [{"path": "/", "timeout": "300ms"}], server.port).summary()
    assert found["failures"] == {kind: 4}
    assert detail in found["failure_details"][0]["detail"]
    assert found["failed"] == found["requests"] == 4


@pytest.mark.parametrize("shape", [Shape(1000, None, 2), Shape(None, 0.5, rate=20.0)], ids=["closed", "open"])
def test_a_load_that_is_never_answered_ends_at_its_deadline(shape: Shape) -> None:
    with serve(lambda connection: time.sleep(5)) as server:
        started = time.monotonic()
        found = load(shape._replace(deadline=0.8), ["/"], server.port, timeout=30.0).summary()
    assert time.monotonic() - started < 3, "a thousand timeouts of 30 s would take hours"
    wanted = " of 1000" if shape.requests else ""
    assert found["overdue"]["value"] == f"{found['requests']}{wanted} requests"
    assert found["failures"] == {"deadline": found["requests"]} and found["requests"] > 0
    assert "still under way when the load's deadline came" in found["failure_details"][0]["detail"]


def test_warming_up_counts_towards_the_deadline() -> None:
    with serve(lambda connection: time.sleep(5)) as server:
        routes = parse_routes(["/"], f"http://127.0.0.1:{server.port}")
        started = time.monotonic()
        found = asyncio.run(apply(Shape(10, None, 2, deadline=0.5), routes, warm_up=10)).summary()
    assert time.monotonic() - started < 3 and found["overdue"]["limit"] == "all within 0.5 s"


def test_no_deadline_no_word_of_it() -> None:
    with serve(keep_alive) as server:
        assert "overdue" not in load(Shape(20, None, 2, deadline=30.0), ["/"], server.port).summary()


def test_running_out_of_file_descriptors_is_our_own_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    async def none_left(*_arguments: Any) -> Any:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(load_engine, "open_socket", none_left)
    assert load(Shape(4, None, 2), ["/"], 1).summary()["failures"] == {NO_DESCRIPTORS: 4}


def test_the_limit_on_file_descriptors_is_raised_as_far_as_it_goes() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        raise_descriptor_limit()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_nobody_listens() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        found = load(Shape(4, None, 2), ["/"], unused.getsockname()[1]).summary()
    assert found["failures"] == {"connect": 4}
    assert "Connection refused" in found["failure_details"][0]["detail"]


def test_tls_with_server_name(authority: Authority) -> None:
    with serve(keep_alive, context=authority.context("shop.test")) as server:
        found = load(
            Shape(50, None, 5), ["/"], server.port, "https", ca_file=str(authority.ca_file)
        ).summary()
        assert found["failed"] == 0 and server.connections == 5
        found = load(Shape(2, None, 1), ["/"], server.port, "https").summary()
        assert "certificate verify failed" in found["failure_details"][0]["detail"]
        assert found["failures"] == {"tls": 2}


def test_own_overhead_is_measured_and_the_null_server_goes_away() -> None:
    figures = overhead(Shape(100, None, 10), fresh=False)
    assert figures["failed"] == 0 and figures["requests"] > 500 and figures["p95"] > 0
    with null_server() as port, socket.create_connection(("127.0.0.1", port)):
        pass
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))


def traffic(tmp_path: Path, port: int, *arguments: str) -> subprocess.Popen[bytes]:
    base = f"http://127.0.0.1:{port}"
    routes = [
        {"name": "keep", "url": f"{base}/a", "weight": 4},
        {"name": "fresh", "url": f"{base}/a", "weight": 2, "connections": "fresh"},
        {"name": "post", "url": f"{base}/p", "json": {"n": 1}},
        {"name": "slow", "url": f"{base}/slow", "timeout": "5s"},
    ]
    spec = tmp_path / "spec.json"
    spec.write_text(json.dumps(routes))
    command = [
        sys.executable,
        "-m",
        "slipway.verify.loads.traffic",
        "--rate",
        "100",
        "--out",
        str(tmp_path / "out.json"),
    ]
    command += [
        "--release-header",
        "X-App-Version",
        "--ready-file",
        str(tmp_path / "ready"),
        *arguments,
        str(spec),
    ]
    return subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(MODULE_UTILS)})


class Releases:
    """Answers as v1 until it is told otherwise; /slow takes a second."""

    def __init__(self) -> None:
        self.version = "v1"
        self.broken = False

    def __call__(self, connection: socket.socket) -> None:
        while True:
            request = read_request(connection)
            if not request:
                return
            if b" /slow " in request:
                time.sleep(1.0)
            status = "500 Oops" if self.broken else "200 OK"
            connection.sendall(answer(b"{}", status, extra=f"X-App-Version: {self.version}\r\n", close=False))


def wait_for(path: Path) -> None:
    end = time.monotonic() + 10
    while not path.exists():
        assert time.monotonic() < end, f"{path} never came"
        time.sleep(0.02)


@pytest.mark.parametrize("how", ["stop file", "SIGTERM"])
def test_traffic_counts_by_release_and_waits_for_what_is_under_way(tmp_path: Path, how: str) -> None:
    releases = Releases()
    stop = tmp_path / "stop"
    with serve(releases) as server:
        process = traffic(tmp_path, server.port, "--stop-file", str(stop))
        wait_for(tmp_path / "ready")
        time.sleep(0.7)
        releases.version = "v2"
        time.sleep(0.7)
        if how == "SIGTERM":
            process.send_signal(signal.SIGTERM)
        else:
            stop.touch()
        assert process.wait(10) == 0
    found = json.loads((tmp_path / "out.json").read_text())
    assert found["failed"] == 0 and found["requests"] > 100
    assert set(found["releases"]) == {"v1", "v2"}
    assert sum(entry["responses"] for entry in found["releases"].values()) == found["requests"]
    assert found["releases"]["v1"]["first_sent_s"] < found["releases"]["v2"]["first_sent_s"]
    assert found["routes"]["slow"]["ok"] > 5, "requests of a second that were under way at the end count too"
    assert found["longest_gap_ms"] < 500
    assert set(found["routes"]) == {"keep", "fresh", "post", "slow"}


def test_traffic_reports_failures_by_its_exit_code(tmp_path: Path) -> None:
    releases = Releases()
    with serve(releases) as server:
        process = traffic(tmp_path, server.port, "--seconds", "1.5")
        wait_for(tmp_path / "ready")
        releases.broken = True
        threading.Timer(0.3, lambda: setattr(releases, "broken", False)).start()
        assert process.wait(10) == 1
    found = json.loads((tmp_path / "out.json").read_text())
    assert 10 < found["failures"]["status 500"] < 100
    assert found["longest_gap_ms"] > 200


def test_traffic_without_any_answer_is_not_a_success(tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        assert traffic(tmp_path, unused.getsockname()[1], "--seconds", "0.3").wait(10) == 1


def test_traffic_refuses_a_wrong_declaration(tmp_path: Path) -> None:
    spec = tmp_path / "spec.json"
    spec.write_text('[{"ulr": "http://x/"}]')
    run = subprocess.run(
        [sys.executable, "-m", "slipway.verify.loads.traffic", "--out", str(tmp_path / "out"), str(spec)],
        env={**os.environ, "PYTHONPATH": str(MODULE_UTILS)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 2 and "did you mean 'url'" in run.stderr
