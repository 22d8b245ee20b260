"""Says hello: a second system, as small as one can be. Standard library only."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

VERSION = os.environ["HELLO_VERSION"]
PAGES = {
    "/": ("text/plain; charset=utf-8", f"hello from version {VERSION}\n"),
    "/health": ("application/json", json.dumps({"status": "healthy"})),
    "/version": ("application/json", json.dumps({"version": VERSION})),
}
leaving = threading.Event()


class Handler(BaseHTTPRequestHandler):
    """Answers GET; keeps connections longer than a proxy does, and gives notice before it leaves."""

    protocol_version = "HTTP/1.1"
    timeout = 75
    wbufsize = -1  # head and body in one packet

    def do_GET(self) -> None:
        kind, text = PAGES.get(self.path.partition("?")[0], (None, "no such page\n"))
        body = text.encode()
        self.send_response(200 if kind else 404)
        self.send_header("Content-Type", kind or "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-App-Version", VERSION)
        if leaving.is_set():
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def log_message(self, format: str, *args: object) -> None:
        """The proxy in front logs requests."""


class Server(ThreadingHTTPServer):
    """Threads that wait on idle connections do not hold up the end."""

    daemon_threads = True
    request_queue_size = 128


def main() -> None:
    """Serve until SIGTERM; then a second in which kept connections are closed politely."""
    server = Server(("", 8080), Handler)

    def leave() -> None:
        leaving.wait()
        time.sleep(1)
        server.shutdown()

    threading.Thread(target=leave, daemon=True).start()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: leaving.set())
    print(f"hello {VERSION} listens on port 8080", flush=True)
    server.serve_forever(poll_interval=0.1)
    time.sleep(0.2)  # answers that are being written right now


if __name__ == "__main__":
    main()
