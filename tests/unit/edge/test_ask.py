"""The switch: flags, and seeing through the edge that it has turned."""

from __future__ import annotations

import http.server
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.slipway.edge import ask as edge
from ansible.module_utils.slipway.edge import flag
from ansible.module_utils.slipway.model.colours import other
from hypothesis import given
from hypothesis import strategies as st


@given(st.lists(st.sampled_from(["blue", "green", "none"]), max_size=8))
def test_it_points_where_it_was_last_turned(
    tmp_path_factory: pytest.TempPathFactory, turns: list[str]
) -> None:
    flags = tmp_path_factory.mktemp("edge")
    now = "none"
    for colour in turns:
        assert flag.point(flags, colour) is (colour != now)
        now = colour
        assert flag.pointed_at(flags) == colour
    assert flag.pointed_at(flags) == now


def test_from_one_colour_to_the_other_it_never_points_nowhere(tmp_path: Path) -> None:
    flag.point(tmp_path, "blue")
    seen: set[str] = set()
    stop = threading.Event()

    def look() -> None:
        while not stop.is_set():
            # As nginx does it: blue first, then green over it.
            colour = "none"
            if (tmp_path / "blue").exists():
                colour = "blue"
            if (tmp_path / "green").exists():
                colour = "green"
            seen.add(colour)

    looker = threading.Thread(target=look)
    looker.start()
    for turn in range(300):
        flag.point(tmp_path, "green" if turn % 2 == 0 else "blue")
    stop.set()
    looker.join()
    assert seen <= {"blue", "green"}


def test_other() -> None:
    assert [other(colour) for colour in ("blue", "green", "none")] == ["green", "blue", "blue"]


def address(server: Any) -> edge.Address:
    return edge.Address("site.test", port=server.server_port, tls=False)


def test_answers_count_in_a_row_and_server_errors_do_not(server: Any) -> None:
    server.answers = [
        (200, "blue"),
        (200, "green"),
        (502, "green"),
        (200, "green"),
        (200, "blue"),
        (404, "green"),
    ]
    assert edge.confirm(address(server), "green", 3, time.monotonic() + 5) == 8


def test_what_was_seen_last_is_said(server: Any) -> None:
    server.answers = [(503, "none")]
    with pytest.raises(edge.EdgeError, match="status 503 from none"):
        edge.confirm(address(server), "green", 3, time.monotonic() + 0.2)


def test_nobody_listens() -> None:
    with pytest.raises(edge.EdgeError, match="ConnectionRefusedError"):
        edge.confirm(edge.Address("site.test", port=1, tls=False), "green", 1, time.monotonic() + 0.1)


def test_servers_that_do_not_answer_or_answer_5xx_are_named() -> None:
    class Asked(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(503 if self.path == "/ill" else 200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Asked)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"127.0.0.1:{server.server_port}"
    try:
        well = {"address": address, "path": "/health"}
        assert edge.unready([well], "shop.example.test") == []
        found = edge.unready(
            [well, {"address": address, "path": "/ill"}, {"address": "127.0.0.1:1", "path": "/"}],
            "shop.example.test",
        )
    finally:
        server.shutdown()
        server.server_close()
    assert len(found) == 2 and "status 503" in found[0] and found[1].startswith("127.0.0.1:1:")


def test_without_tls_the_edge_listens_on_80() -> None:
    asked = {"domain": "site.test", "tls": False, "path": "/health"}
    assert edge.public(asked).port == 80
    assert edge.public({**asked, "tls": True}).port == 443
    assert edge.public({**asked, "port": 8080}).port == 8080
