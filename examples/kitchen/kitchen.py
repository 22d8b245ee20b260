"""Back office of a restaurant chain: webhooks, live figures, cached reports. State is in memory."""

from __future__ import annotations

import asyncio
import hmac
import json
import math
import os
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from typing import Annotated, Any

import uvicorn
from fastapi import Depends, FastAPI, Header, HTTPException, Request, Response
from fastapi.responses import StreamingResponse
from guards import RateLimit, Refused, Tokens, Webhooks
from pydantic import BaseModel
from starlette.types import ASGIApp, Message, Receive, Scope, Send

VERSION = "1.0.0"
REVISION = os.environ.get("APP_REVISION", "unknown")


def _required(*names: str) -> list[str]:
    missing = [name for name in names if not os.environ.get(name)]
    if missing:
        sys.exit(f"kitchen: refusing to start: {', '.join(missing)} not set (see .env.example)")
    return [os.environ[name] for name in names]


def _number(name: str, default: float) -> float:
    return float(os.environ.get(name) or default)


TOKEN_SECRET, WEBHOOK_SECRET, DEMO_PASSWORD = _required("TOKEN_SECRET", "WEBHOOK_SECRET", "DEMO_PASSWORD")
STREAM_OPENS_PER_MINUTE = int(_number("STREAM_OPENS_PER_MINUTE", 60))
STREAMS_PER_USER = int(_number("STREAMS_PER_USER", 2))
KPI_SECONDS = _number("KPI_SECONDS", 0.5)
CACHE_SECONDS = _number("CACHE_SECONDS", 300)
REPORT_SECONDS = _number("REPORT_SECONDS", 0.2)
#: Requests a minute, by what the organisation pays for.
PLANS = {"free": 60, "pro": 600, "enterprise": 6000}
USERS = {"owner@example.com": "enterprise", "manager@example.com": "pro", "cook@example.com": "free"}
BRANCHES = ("Downtown", "Harbour", "Airport", "Old Town", "University")

tokens = Tokens(TOKEN_SECRET)
webhooks = Webhooks(WEBHOOK_SECRET, _number("WEBHOOK_TOLERANCE_SECONDS", 300))
limits = RateLimit()
streams: Counter[str] = Counter()
deliveries: Counter[str] = Counter()
received: Counter[str] = Counter()
cache: dict[tuple[str, str], tuple[float, dict[str, Any]]] = {}
app = FastAPI(title="Kitchen", version=VERSION, docs_url=None, redoc_url=None)


class Login(BaseModel):
    """Who somebody claims to be."""

    email: str
    password: str


class Item(BaseModel):
    """A line of a delivery."""

    itemId: str
    quantity: int


class Delivery(BaseModel):
    """A purchase order that has arrived."""

    orgId: str
    poId: str
    receivedBy: str = ""
    items: list[Item]


def too_many(detail: str, wait: float = 1) -> HTTPException:
    """The 429 of every limit."""
    return HTTPException(429, detail, headers={"Retry-After": str(math.ceil(wait))})


async def signed_in(authorization: Annotated[str, Header()] = "") -> dict[str, Any]:
    """The claims of the bearer token."""
    scheme, _, token = authorization.partition(" ")
    try:
        if scheme.lower() != "bearer":
            raise Refused("a bearer token is needed")
        return tokens.read(token)
    except Refused as error:
        raise HTTPException(401, str(error), headers={"WWW-Authenticate": "Bearer"}) from error


async def within_plan(
    response: Response, user: Annotated[dict[str, Any], Depends(signed_in)]
) -> dict[str, Any]:
    """Signed in, and not more often than the plan allows."""
    allowed = PLANS[user["plan"]]
    left, wait = limits.take(f"plan:{user['email']}", allowed)
    response.headers["X-RateLimit-Limit"], response.headers["X-RateLimit-Remaining"] = str(allowed), str(left)
    if wait:
        raise too_many(f"plan {user['plan']} allows {allowed} requests a minute", wait)
    return user


User = Annotated[dict[str, Any], Depends(within_plan)]


@app.get("/health")
async def health() -> dict[str, str]:
    """Alive."""
    return {"status": "healthy", "version": VERSION}


@app.get("/ready")
async def ready(response: Response) -> dict[str, str]:
    """May have traffic."""
    response.status_code = 503 if server.should_exit else 200
    return {"status": "shutting down" if server.should_exit else "ready"}


@app.get("/version")
async def version() -> dict[str, str]:
    """Which release answers."""
    return {"version": VERSION, "revision": REVISION}


@app.post("/auth/login")
async def login(body: Login) -> dict[str, Any]:
    """Trade a password for a token."""
    _, wait = limits.take(f"login:{body.email}", 30)
    if wait:
        raise too_many("too many attempts", wait)
    right = hmac.compare_digest(body.password.encode(), DEMO_PASSWORD.encode())
    if body.email not in USERS or not right:
        raise HTTPException(401, "email or password is wrong")
    user = {"email": body.email, "plan": USERS[body.email]}
    return {"accessToken": tokens.issue(**user), "expiresIn": tokens.seconds, "user": user}


@app.post("/webhooks/{provider}")
async def webhook(
    provider: str,
    request: Request,
    x_signature: Annotated[str, Header()] = "",
    x_timestamp: Annotated[str, Header()] = "",
    x_request_id: Annotated[str, Header()] = "",
) -> dict[str, Any]:
    """Take a signed event, once."""
    body = await request.body()
    try:
        webhooks.accept(body, x_signature, x_timestamp, x_request_id)
    except Refused as error:
        raise HTTPException(401, str(error)) from error
    try:
        event = str(json.loads(body)["id"])
    except (ValueError, KeyError, TypeError) as error:
        raise HTTPException(400, "the body is no JSON object with an id") from error
    deliveries[f"{provider}/{event}"] += 1
    return {"received": True, "id": event}


@app.get("/webhooks/{provider}/{event}")
async def delivered(provider: str, event: str, user: User) -> dict[str, Any]:
    """How often an event took effect."""
    return {"id": event, "deliveries": deliveries[f"{provider}/{event}"]}


def kpi(org: str, number: int) -> dict[str, Any]:
    """The figures of a moment, made from its number: every replica and every release tells the same story,
    so that a client can go on with another one where it was cut off."""
    orders = 40 + number * 7 % 23
    moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(number * KPI_SECONDS))
    return {"seq": number, "orgId": org, "orders": orders, "revenue": orders * 275, "timestamp": moment}


async def figures(request: Request, org: str, after: int | None) -> AsyncIterator[str]:
    """Server-sent events after number `after` (of the past, a hundred at most), then as they happen."""
    now = int(time.time() / KPI_SECONDS)
    number = now if after is None else max(min(after, now) + 1, now - 99)
    yield "retry: 1000\n\n"
    # Sending to a client that is gone raises nothing, so it has to be asked for.
    while not server.should_exit and not await request.is_disconnected():
        while number * KPI_SECONDS <= time.time():
            yield f"id: {number}\nevent: kpi-update\ndata: {json.dumps(kpi(org, number))}\n\n"
            if number % 5 == 0:
                yield 'event: heartbeat\ndata: {"status": "ok"}\n\n'
            number += 1
        await asyncio.sleep(max(0.01, number * KPI_SECONDS - time.time()))


class Figures(StreamingResponse):
    """A stream that is counted for its user as long as it is open."""

    def __init__(self, user: str, events: AsyncIterator[str]) -> None:
        super().__init__(events, media_type="text/event-stream")
        self.headers.update({"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        self.user = user
        streams[user] += 1

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            streams[self.user] -= 1


@app.get("/stream/kpis")
async def stream(
    orgId: str,
    request: Request,
    user: Annotated[dict[str, Any], Depends(signed_in)],
    last_event_id: Annotated[int | None, Header()] = None,
) -> Figures:
    """Live figures. A user may open so many streams a minute, and have so many at a time."""
    _, wait = limits.take(f"stream:{user['email']}", STREAM_OPENS_PER_MINUTE)
    if wait:
        raise too_many(f"{STREAM_OPENS_PER_MINUTE} streams a minute", wait)
    if streams[user["email"]] >= STREAMS_PER_USER:
        raise too_many(f"{STREAMS_PER_USER} streams at a time")
    return Figures(user["email"], figures(request, orgId, last_event_id))


async def report(org: str, request: Request, response: Response, make: dict[str, Any]) -> dict[str, Any]:
    """A report, from the cache where it is there. X-Cache says which."""
    key = (org, f"{request.url.path}?{request.url.query}")
    until, kept = cache.get(key, (0.0, {}))
    if until > time.monotonic():
        response.headers["X-Cache"] = "HIT"
        return kept
    await asyncio.sleep(REPORT_SECONDS)  # what the database would take
    cache[key] = (time.monotonic() + CACHE_SECONDS, make)
    response.headers["X-Cache"] = "MISS"
    return make


@app.get("/franchise/overview")
async def overview(
    orgId: str, request: Request, response: Response, user: User, range: str = "today"
) -> dict[str, Any]:
    """The chain on one page."""
    summary = {"branches": len(BRANCHES), "revenue": 12500, "stock": received[orgId]}
    return await report(orgId, request, response, {"orgId": orgId, "range": range, "summary": summary})


@app.get("/franchise/rankings")
async def rankings(
    orgId: str, request: Request, response: Response, user: User, period: str = "2026-11"
) -> dict[str, Any]:
    """The branches, best first."""
    rows = [
        {"branch": name, "rank": rank, "revenue": 9000 - 700 * rank} for rank, name in enumerate(BRANCHES, 1)
    ]
    return await report(orgId, request, response, {"orgId": orgId, "period": period, "rankings": rows})


@app.get("/franchise/budgets")
async def budgets(
    orgId: str, request: Request, response: Response, user: User, period: str = "2026-11"
) -> dict[str, Any]:
    """What each branch may spend."""
    rows = [{"branch": name, "budget": 4000, "spent": 400 * n} for n, name in enumerate(BRANCHES, 1)]
    return await report(orgId, request, response, {"orgId": orgId, "period": period, "budgets": rows})


@app.get("/franchise/forecast/items")
async def forecast(
    orgId: str, request: Request, response: Response, user: User, startDate: str, endDate: str
) -> dict[str, Any]:
    """What will be needed."""
    rows = [{"itemId": f"ITEM_{n}", "quantity": 20 + 5 * n} for n in (1, 2, 3)]
    answer = {"orgId": orgId, "startDate": startDate, "endDate": endDate, "forecast": rows}
    return await report(orgId, request, response, answer)


@app.post("/procurement/purchase-orders/receive")
async def receive_order(delivery: Delivery, user: User) -> dict[str, Any]:
    """Goods have arrived: what was reported of this organisation is no longer true."""
    received[delivery.orgId] += sum(item.quantity for item in delivery.items)
    stale = [key for key in cache if key[0] == delivery.orgId]
    for key in stale:
        del cache[key]
    print(f"[CACHE] Invalidating org={delivery.orgId} removed={len(stale)}")
    return {"poId": delivery.poId, "status": "received", "invalidated": len(stale)}


class Named:
    """Name the version in each response; while leaving, close the connections that are kept."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_named(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"].append((b"x-app-version", VERSION.encode()))
                if server.should_exit:
                    message["headers"].append((b"connection", b"close"))
            await send(message)

        await self.app(scope, receive, send_named)


class Server(uvicorn.Server):
    """After SIGTERM, a second in which clients close the connections they keep; then the listener goes."""

    async def main_loop(self) -> None:
        await super().main_loop()
        await asyncio.sleep(1)


server = Server(
    uvicorn.Config(
        Named(app),
        host="0.0.0.0",  # noqa: S104  # the container's own network
        port=8000,
        timeout_keep_alive=75,  # longer than the proxy's
        timeout_graceful_shutdown=20,
        access_log=False,
    )
)

if __name__ == "__main__":
    server.run()
