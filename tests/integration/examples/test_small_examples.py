"""The examples that exist to be verified: hello, kitchen, chat."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import json
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import pytest
from examples_client import Answer
from examples_system import EXAMPLES, Container, run

Start = Callable[..., Container]
SECRETS = {
    "TOKEN_SECRET": "only-for-tests-tokens",
    "WEBHOOK_SECRET": "only-for-tests-webhooks",
    "DEMO_PASSWORD": "only-for-tests-password",
    "ADMIN_TOKEN": "only-for-tests-admin",
    "STRIPE_SECRET_KEY": "only-for-tests-stripe",
}


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a container of an image, with these variables; it is removed afterwards."""
    names: list[str] = []

    def begin(image: str, port: int = 8000, **environment: str) -> Container:
        name = f"examples-{os.getpid()}-small-{len(names)}"
        names.append(name)
        options = [part for item in environment.items() for part in ("--env", "=".join(item))]
        run("docker", "run", "-d", "--name", name, "--read-only", *options, image)
        container = Container(name, port)
        deadline = time.monotonic() + 15
        while True:
            try:
                container.ask("/health")
                return container
            except OSError:
                assert time.monotonic() < deadline, container.logs()
                time.sleep(0.05)

    yield begin
    run("docker", "rm", "-f", *names)


@pytest.fixture(scope="module")
def images() -> Iterator[dict[str, str]]:
    """The images of kitchen and chat."""
    built = {}
    for name in ("kitchen", "chat"):
        built[name] = f"examples-{name}:{os.getpid()}"
        options = ("-q", "--build-arg", "BASE=slipway/debian:13", "--build-arg", "REVISION=abc")
        run("docker", "build", *options, "-t", built[name], str(EXAMPLES / name))
    yield built
    run("docker", "rmi", *built.values())


def test_hello_answers_its_version_and_leaves_politely(start: Start) -> None:
    run(str(EXAMPLES / "hello/build"), "1", "2")
    for version in ("1", "2"):
        hello = start(f"slipway/hello:{version}", 8080)
        assert hello.ask("/version").json == {"version": version}
        assert (hello.ask("/health").status, hello.ask("/").status, hello.ask("/x").status) == (200, 200, 404)
    with (
        closing(http.client.HTTPConnection(hello.address, 8080, timeout=5)) as kept,
        ThreadPoolExecutor(1) as pool,
    ):
        stopping = None
        closed = []
        for number in range(20):
            if number == 5:
                stopping = pool.submit(hello.stop)
            kept.request("GET", "/")
            response = kept.getresponse()
            closed.append(response.getheader("Connection") == "close")
            assert response.read() == b"hello from version 2\n"
            if closed[-1]:
                break
            time.sleep(0.1)
        assert closed[:5] == [False] * 5, "connections are kept while it runs"
        assert closed[-1], "and closed with notice when it stops"
        assert stopping is not None
        code, seconds = stopping.result()
        assert (code, seconds < 4) == (0, True)


def login(kitchen: Container, email: str = "manager@example.com") -> dict[str, str]:
    body = {"email": email, "password": SECRETS["DEMO_PASSWORD"]}
    return {"Authorization": f"Bearer {kitchen.ask('/auth/login', 'POST', body).json['accessToken']}"}


def hook(
    kitchen: Container, request_id: str, age: float = 0, tamper: bytes = b"", signed: bool = True
) -> Answer:
    stamp = str(int((time.time() - age) * 1000))
    body = json.dumps({"event": "invoice.paid", "id": "evt_1", "amount": 5000}).encode()
    digest = hmac.new(
        SECRETS["WEBHOOK_SECRET"].encode(), f"{stamp}.".encode() + body, hashlib.sha256
    ).hexdigest()
    headers = {"X-Timestamp": stamp, "X-Request-Id": request_id} | ({"X-Signature": digest} if signed else {})
    return kitchen.ask("/webhooks/billing", "POST", body + tamper, **headers)


def test_kitchen_takes_a_webhook_once(start: Start, images: dict[str, str]) -> None:
    kitchen = start(images["kitchen"], **SECRETS)
    assert hook(kitchen, "one").status == 200
    assert hook(kitchen, "one").status == 401
    assert hook(kitchen, "two", age=3600).status == 401
    assert hook(kitchen, "three", tamper=b" ").status == 401
    assert hook(kitchen, "four", signed=False).status == 401
    assert kitchen.ask("/webhooks/billing/evt_1", **login(kitchen)).json == {"id": "evt_1", "deliveries": 1}
    assert kitchen.ask("/version").json == {"version": "1.0.0", "revision": "abc"}


class Stream:
    """A stream of server-sent events."""

    def __init__(self, kitchen: Container, headers: dict[str, str]) -> None:
        self.connection = http.client.HTTPConnection(kitchen.address, 8000, timeout=5)
        self.connection.request("GET", "/stream/kpis?orgId=ORG", headers=headers)
        self.response = self.connection.getresponse()
        self.status = self.response.status

    def figures(self, count: int) -> list[tuple[int, float]]:
        """Sequence numbers, and when they arrived."""
        seen: list[tuple[int, float]] = []
        while len(seen) < count:
            line = self.response.readline().decode()
            assert line, "the stream ended"
            if line.startswith("data: ") and "seq" in line:
                seen.append((json.loads(line[6:])["seq"], time.monotonic()))
        return seen

    def close(self) -> None:
        self.response.close()
        self.connection.close()


def test_kitchen_streams_are_live_limited_and_resumed(start: Start, images: dict[str, str]) -> None:
    kitchen = start(images["kitchen"], STREAM_OPENS_PER_MINUTE="8", KPI_SECONDS="0.2", **SECRETS)
    assert Stream(kitchen, {}).status == 401
    user = login(kitchen)
    one = Stream(kitchen, user)
    figures = one.figures(4)
    numbers = [number for number, _ in figures]
    assert numbers == list(range(numbers[0], numbers[0] + 4))
    assert figures[-1][1] - figures[1][1] > 0.2, "they arrive as they happen, not all at once"
    two, three = Stream(kitchen, user), Stream(kitchen, user)
    assert (two.status, three.status) == (200, 429)
    one.close()
    two.close()
    time.sleep(0.6)
    again = Stream(kitchen, user | {"Last-Event-ID": str(numbers[1])})
    assert again.status == 200, "a stream that was closed is not counted any longer"
    assert [number for number, _ in again.figures(3)] == [numbers[1] + n for n in (1, 2, 3)]
    statuses = [Stream(kitchen, user).status for _ in range(8)]
    assert set(statuses) == {200, 429}
    assert statuses[-3:] == [429] * 3, "so many a minute"
    # Open streams do not hold up the end.
    code, seconds = kitchen.stop()
    assert (code, seconds < 5) == (0, True)


@pytest.mark.parametrize(
    "path",
    [
        "overview?",
        "rankings?period=2026-11&",
        "budgets?",
        "forecast/items?startDate=2026-11-01&endDate=2026-11-30&",
    ],
)
def test_kitchen_reports_are_cached_until_goods_arrive(
    start: Start, images: dict[str, str], path: str
) -> None:
    kitchen = start(images["kitchen"], **SECRETS)
    user = login(kitchen)

    def report(org: str) -> tuple[str, float, Any]:
        started = time.monotonic()
        answer = kitchen.ask(f"/franchise/{path}orgId={org}", **user)
        assert answer.status == 200
        return answer.headers["x-cache"], time.monotonic() - started, answer.json

    first, second, other = report("ORG"), report("ORG"), report("OTHER")
    assert (first[0], second[0], other[0]) == ("MISS", "HIT", "MISS")
    assert first[1] > 0.2 > 2 * second[1]
    order = {"orgId": "ORG", "poId": "PO_1", "items": [{"itemId": "ITEM_1", "quantity": 100}]}
    received = kitchen.ask("/procurement/purchase-orders/receive", "POST", order, **user)
    assert (received.status, received.json["invalidated"]) == (200, 1)
    assert (report("ORG")[0], report("ORG")[0], report("OTHER")[0]) == ("MISS", "HIT", "HIT")
    if path == "overview?":
        assert report("ORG")[2]["summary"]["stock"] == 100


def test_kitchen_limits_requests_by_plan(start: Start, images: dict[str, str]) -> None:
    kitchen = start(images["kitchen"], REPORT_SECONDS="0", **SECRETS)
    answers = {}
    for email in ("cook@example.com", "owner@example.com"):
        user = login(kitchen, email)
        answers[email] = [kitchen.ask("/franchise/overview?orgId=ORG", **user) for _ in range(70)]
    cook = [answer.status for answer in answers["cook@example.com"]]
    assert set(cook[:60]) == {200}
    assert 429 in cook[60:]
    refused = next(answer for answer in answers["cook@example.com"] if answer.status == 429)
    assert int(refused.headers["retry-after"]) >= 1
    assert {answer.status for answer in answers["owner@example.com"]} == {200}
    assert kitchen.ask("/franchise/overview?orgId=ORG").status == 401


def test_chat_from_signing_up_to_checkout(start: Start, images: dict[str, str]) -> None:
    chat = start(images["chat"], **SECRETS)
    for path in (
        "/health",
        "/ready",
        *(f"/api/{area}/health" for area in ("auth", "chats", "billing", "analytics")),
    ):
        assert chat.ask(path).status == 200
    account = {"email": "ann@example.com", "password": "Test123!@#", "username": "ann"}
    assert chat.ask("/api/auth/signup", "POST", account).status == 201
    assert chat.ask("/api/auth/signup", "POST", account).status == 409
    assert chat.ask("/api/auth/signin", "POST", account | {"password": "wrong-password"}).status == 401
    assert chat.ask("/api/auth/signin", "POST", account | {"email": "bob@example.com"}).status == 401
    user = {"Authorization": f"Bearer {chat.ask('/api/auth/signin', 'POST', account).json['token']}"}
    assert chat.ask("/api/chats", "POST", {"title": "Test"}).status == 401
    created = chat.ask("/api/chats", "POST", {"title": "Test"}, **user)
    assert created.status == 201
    messages = f"/api/chats/{created.json['id']}/messages"
    said = chat.ask(messages, "POST", {"content": "Hello"}, **user)
    assert (said.status, said.json["message"]["content"]) == (200, "You said: Hello")
    assert [row["role"] for row in chat.ask(messages, **user).json] == ["user", "assistant"]
    paid = chat.ask("/api/billing/create-checkout-session", "POST", {"priceId": "price_1"}, **user)
    assert (paid.status, paid.json["url"].startswith("https://checkout.example.com/")) == (200, True)
    admin = {"Authorization": f"Bearer {SECRETS['ADMIN_TOKEN']}"}
    assert chat.ask("/api/analytics/costs/daily", **admin).json["providers"] == {"small": 1}
    assert chat.ask("/api/analytics/costs/daily", **user).status == 403
    # Somebody else sees none of it; and nothing is left when the account is closed.
    bob = account | {"email": "bob@example.com"}
    assert chat.ask("/api/auth/signup", "POST", bob).status == 201
    other = {"Authorization": f"Bearer {chat.ask('/api/auth/signin', 'POST', bob).json['token']}"}
    assert (chat.ask(messages, **other).status, chat.ask("/api/chats", **other).json) == (404, [])
    assert chat.ask("/api/auth/me", "DELETE", **user).status == 204
    assert chat.ask("/api/chats", **user).status == 401
    assert chat.ask("/api/auth/signup", "POST", account).status == 201


@pytest.mark.parametrize("name", ["kitchen", "chat"])
def test_without_its_secrets_nothing_starts(images: dict[str, str], name: str) -> None:
    done = run("docker", "run", "--rm", images[name], check=False)
    assert done.returncode == 1
    assert f"{name}: refusing to start: " in done.stderr
    assert "Traceback" not in done.stderr
