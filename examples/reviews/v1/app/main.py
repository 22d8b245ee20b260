"""The application: routes, and what is true of every response."""

from __future__ import annotations

import logging
import time

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from sqlalchemy.exc import IntegrityError
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app import lifecycle, metrics
from app.routes import ROUTERS
from app.version import RELEASE, VERSION

log = logging.getLogger("uvicorn.error")
#: Who asks these is not a customer: counted, they would water down the share of errors.
_UNCOUNTED = frozenset({"/health", "/api/health/check", "/ready", "/metrics", "/version"})


class Instrument:
    """Name the version in each response, count it, and close kept connections while leaving.

    Outside of FastAPI on purpose: its answer to an unhandled exception passes here too.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        status, complete = 500, False
        started = time.perf_counter()

        async def send_named(message: Message) -> None:
            nonlocal status, complete
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"].append((b"x-app-version", VERSION.encode()))
                if lifecycle.draining:
                    message["headers"].append((b"connection", b"close"))
            await send(message)
            complete = message["type"] == "http.response.body" and not message.get("more_body", False)

        try:
            await self.app(scope, receive, send_named)
        except Exception:
            if not complete:
                raise
            # Answered with a 500 already. Raised further, it would make the server close the connection,
            # and the request that the proxy sends on it next would be lost for this one's mistake.
            log.exception("%s %s failed", scope["method"], scope["path"])
        finally:
            if scope["path"] not in _UNCOUNTED:
                metrics.requests.labels(str(status), RELEASE).inc()
                metrics.latency.observe(time.perf_counter() - started)


def create() -> ASGIApp:
    """Put the application together."""
    api = FastAPI(
        title="Customer reviews and QR tracking",
        version=VERSION,
        lifespan=lifecycle.lifespan,
        docs_url=None,
        redoc_url=None,
    )
    for router in ROUTERS:
        api.include_router(router)

    @api.exception_handler(IntegrityError)
    async def refuse(request: Request, error: IntegrityError) -> JSONResponse:
        """What the database refuses (an unknown station, say) is the caller's mistake, not ours."""
        return JSONResponse({"detail": "refers to something that does not exist"}, status_code=422)

    return Instrument(api)


app = create()
