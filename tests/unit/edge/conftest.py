"""An edge to ask: a server that answers what a test tells it to."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator

import pytest
from ansible.module_utils.slipway.edge.ask import COLOUR_HEADER


class Server(http.server.ThreadingHTTPServer):
    """Gives the `answers`, each a status and a colour, one after the other; the last one for ever."""

    answers: list[tuple[int, str]]


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        answers = self.server.answers
        status, colour = answers.pop(0) if len(answers) > 1 else answers[0]
        self.send_response(status)
        self.send_header(COLOUR_HEADER, colour)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_arguments: object) -> None:
        """Silent."""


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server(("127.0.0.1", 0), Handler)
    threading.Thread(target=made.serve_forever, daemon=True).start()
    yield made
    made.shutdown()
    made.server_close()
