"""The container's health check: ask /health and look at the status line. No imports that cost time."""

import socket
import sys

try:
    with socket.create_connection(("127.0.0.1", 8000), timeout=4) as connection:
        connection.sendall(b"GET /health HTTP/1.0\r\nHost: localhost\r\n\r\n")
        status = connection.recv(64).split(b" ")[1:2]
except OSError as error:
    sys.exit(f"/health: {error}")
if status != [b"200"]:
    sys.exit(f"/health answered {status}")
