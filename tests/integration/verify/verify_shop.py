"""A small shop that does everything a flow can look at, and can be told to get any of it wrong."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import socket
import threading
import time
from typing import Any

from verify_servers import answer, read_request

HOOK_SECRET = "whsec_" + base64.b64encode(b"a-secret-of-the-webhook-sender").decode()
PASSWORD = "correct-horse-battery"
TOKEN = "eyJhbGciOi." + "t0k3n" * 60 + ".signature"


class Shop:
    """`faults` names what it does wrong."""

    def __init__(self) -> None:
        self.faults: set[str] = set()
        self.requests: list[tuple[str, str]] = []
        self.orders: dict[str, dict[str, Any]] = {}
        self.seen_ids: set[str] = set()
        self.price = 1
        self.cached: bytes | None = None
        self.streams = 0
        self.window: list[float] = []
        self.signing: tuple[dict[str, Any], str] = ({}, "")
        self.lock = threading.Lock()

    def __call__(self, connection: socket.socket) -> None:
        raw = read_request(connection)
        if not raw:
            return
        head, _blank, body = raw.partition(b"\r\n\r\n")
        first, *rest = head.decode("latin-1").split("\r\n")
        method, target, _version = first.split(" ")
        headers = {k.lower(): v.strip() for k, v in (line.split(":", 1) for line in rest)}
        self.requests.append((method, target))
        reply = self.route(connection, method, target, headers, body)
        if reply is not None:
            connection.sendall(reply)

    def json(self, data: Any, status: str = "200 OK", extra: str = "") -> bytes:
        return answer(json.dumps(data).encode(), status, "application/json", extra)

    def route(
        self, connection: socket.socket, method: str, target: str, headers: dict[str, str], body: bytes
    ) -> Any:
        if target == "/api/login" and method == "POST":
            given = json.loads(body)
            if given.get("password") != PASSWORD:
                return self.json({"error": f"wrong password {given.get('password')}"}, "401 Unauthorized")
            found = {"access_token": TOKEN, "user": {"name": given["user"], "role": "admin"}, "items": [1, 2]}
            if "login" in self.faults:
                return self.json({**found, "user": {"role": "nobody"}}, "200 OK")
            return self.json(found, extra="Set-Cookie: session=c00kie-value; Path=/; HttpOnly\r\n")
        if target == "/api/me":
            allowed = headers.get(
                "authorization"
            ) == f"Bearer {TOKEN}" and "session=c00kie-value" in headers.get("cookie", "")
            return (
                self.json({"you": "admin", "token": TOKEN}) if allowed else self.json({}, "401 Unauthorized")
            )
        if target.startswith("/api/orders"):
            return self.order(method, target, body)
        if target == "/hooks/pay":
            return self.hook(headers, body)
        if target == "/hooks/github":
            wanted = "sha256=" + hmac.new(b"gh-secret", body, hashlib.sha256).hexdigest()
            good = hmac.compare_digest(headers.get("x-hub-signature-256", ""), wanted)
            return self.json({}) if good else self.json({}, "401 Unauthorized")
        if target == "/api/events":
            return self.stream(connection, headers)
        if target == "/api/limited":
            return self.limited()
        if target.startswith("/products/1"):
            return self.product(method, body)
        if target.startswith("/echo"):
            kind = headers.get("content-type", "")
            found = {"method": method, "target": target, "type": kind, "body": body.decode(), "version": 7}
            reply = self.json(found, extra="X-Echo: seen\r\n")
            return reply[: reply.index(b"\r\n\r\n") + 4] if method == "HEAD" else reply
        if target == "/moved":
            return self.json({}, "302 Found", "Location: /echo\r\n")
        if target == "/enter":
            extra = "Set-Cookie: session=0123456789abcdef; Path=/\r\nLocation: /cookies\r\n"
            return self.json({}, "302 Found", extra)
        if target == "/hooks/any":
            return self.json({}) if self.signed(headers, body) else self.json({}, "401 Unauthorized")
        if target == "/busy":
            first = self.requests.count((method, target)) == 1
            wait = "Retry-After: 1\r\n"
            return self.json({}, "429 Too Many Requests", wait) if first else self.json({})
        if target.startswith("/cookies"):
            given = {
                "/cookies?set": "theme=dark\r\nSet-Cookie: session=0123456789abcdef; Path=/",
                "/cookies?expire": "session=deleted; expires=Thu, 01 Jan 1970 00:00:00 GMT",
            }.get(target)
            return self.json(
                {"sent": headers.get("cookie", "")}, extra=f"Set-Cookie: {given}\r\n" if given else ""
            )
        if target == "/api/unusual":
            connection.sendall(
                b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n\r\n"
                b"\xef\xbb\xbf: hello\r\nretry: 3000\r\n\r\ndata: one\rdata:two\r\r"
                b"id\nevent: tick\ndata\n\n:\n\ndata: three\r\n\r\n: end\n\n"
            )
            return None
        if target == "/slow":
            time.sleep(5)
        return self.json({"error": "not found"}, "404 Not Found")

    def signed(self, headers: dict[str, str], body: bytes) -> bool:
        """Whether a message is signed as `signing` (the declaration, without secret; the key) says."""
        sign, text = self.signing
        encoding, scheme = sign.get("secret_encoding"), sign["scheme"]
        key = {"hex": bytes.fromhex, "base64": base64.b64decode}.get(encoding, str.encode)(text)
        name = {"stripe": "stripe-signature"}.get(scheme, sign.get("header", "X-Signature").lower())
        given, stamp = headers.get(name, ""), headers.get("x-time", "")
        payload = body
        if scheme == "stripe":
            parts = dict(part.split("=", 1) for part in given.split(",") if "=" in part)
            given, payload = parts.get("v1", ""), parts.get("t", "").encode() + b"." + body
        elif scheme == "custom":
            given, payload = given.removeprefix("v0="), f"v0:{stamp}:".encode() + body
        digest = hmac.new(key, payload, sign.get("algorithm", "sha256"))
        wanted = base64.b64encode(digest.digest()).decode() if scheme == "base64" else digest.hexdigest()
        return hmac.compare_digest(given, wanted)

    def order(self, method: str, target: str, body: bytes) -> bytes:
        with self.lock:
            if method == "POST":
                identifier = f"o{len(self.orders) + 1}"
                self.orders[identifier] = {"id": identifier, "payments": 0, **json.loads(body)}
                return self.json(self.orders[identifier], "201 Created")
            identifier = target.rpartition("/")[2]
            if method == "DELETE":
                if "delete" in self.faults:
                    return self.json({}, "500 Oops")
                return (
                    self.json({}, "204 No Content")
                    if self.orders.pop(identifier, None)
                    else self.json({}, "404 No")
                )
            return (
                self.json(self.orders[identifier]) if identifier in self.orders else self.json({}, "404 No")
            )

    def hook(self, headers: dict[str, str], body: bytes) -> bytes:
        secret = base64.b64decode(HOOK_SECRET[6:])
        identifier, stamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "0")
        payload = f"{identifier}.{stamp}.".encode() + body
        wanted = "v1," + base64.b64encode(hmac.new(secret, payload, hashlib.sha256).digest()).decode()
        if "unsigned" not in self.faults and "webhook-signature" not in headers:
            return self.json({"error": "no signature"}, "401 Unauthorized")
        if headers.get("webhook-signature", wanted) != wanted and "tampered" not in self.faults:
            return self.json({"error": "bad signature"}, "401 Unauthorized")
        if abs(time.time() - int(stamp)) > 300 and "stale" not in self.faults:
            return self.json({"error": "too old"}, "400 Bad Request")
        with self.lock:
            if identifier in self.seen_ids and "late" in self.faults:
                paid = self.orders[json.loads(body)["order"]]
                threading.Timer(0.7, lambda: paid.update(payments=paid["payments"] + 1)).start()
            if identifier in self.seen_ids and "twice" not in self.faults:
                return self.json({"seen": True}, "409 Conflict")
            self.seen_ids.add(identifier)
            order = self.orders.get(json.loads(body).get("order"))
            if order is None:
                return self.json({"error": "no such order"}, "404 Not Found")
            order["payments"] += 1
        return self.json({"ok": True})

    def stream(self, connection: socket.socket, headers: dict[str, str]) -> Any:
        with self.lock:
            if self.streams >= 2 and "streams" not in self.faults:
                return self.json({"error": "too many streams"}, "429 Too Many Requests")
            self.streams += 1
        kind = "text/plain" if "kind" in self.faults else "text/event-stream"
        try:
            if "tardy" in self.faults:  # header and events come together
                time.sleep(1.2)
                head = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\n\r\n"
                connection.sendall(head.encode() + b"id: 1\nevent: tick\ndata: {}\n\n" * 5)
                return None
            coding = "Content-Encoding: gzip\r\n" if "compressed" in self.faults else ""
            connection.sendall(f"HTTP/1.1 200 OK\r\n{coding}Content-Type: {kind}\r\n\r\n: hello\n\n".encode())
            first = int(headers.get("last-event-id", 0)) + (3 if "gap" in self.faults else 1)
            events = [
                f'id: {n}\nevent: tick\ndata: {{"seq": {n}}}\n\n'.encode() for n in range(first, first + 100)
            ]
            if "buffered" in self.faults:
                connection.sendall(b"".join(events[:5]))
            if "mute" in self.faults:
                time.sleep(3)
            for event in events if "buffered" not in self.faults else []:
                time.sleep(0.1)
                connection.sendall(event)
            time.sleep(3)
        except OSError:
            return None
        finally:
            with self.lock:
                self.streams -= 1
        return None

    def limited(self) -> bytes:
        with self.lock:
            now = time.monotonic()
            self.window = [moment for moment in self.window if now - moment < 1.0]
            if len(self.window) >= 5 and "unlimited" not in self.faults:
                return self.json({}, "429 Too Many Requests")
            if "burst500" in self.faults and len(self.window) == 3:
                return self.json({}, "500 Oops")
            self.window.append(now)
        return self.json({"ok": True})

    def product(self, method: str, body: bytes) -> bytes:
        with self.lock:
            if method == "PUT":
                self.price = json.loads(body)["price"]
                if "uninvalidated" not in self.faults:
                    self.cached = None
                return self.json({"ok": True})
            hit = self.cached is not None and "uncached" not in self.faults
            if not hit:
                time.sleep(0.05)
                self.cached = json.dumps({"price": self.price}).encode()
            return answer(
                self.cached or b"", kind="application/json", extra=f"X-Cache: {'HIT' if hit else 'MISS'}\r\n"
            )
