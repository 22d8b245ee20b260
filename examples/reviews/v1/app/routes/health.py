"""Is it alive, may it have traffic, which release is it, how is it doing."""

from __future__ import annotations

import asyncio
import time

from fastapi import APIRouter, Response
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from app import lifecycle, metrics, probes
from app.version import RELEASE, REVISION, SCHEMA, VERSION

router = APIRouter(tags=["operations"])
_started = time.monotonic()


@router.get("/health")
@router.get("/api/health/check", include_in_schema=False)
async def health(response: Response) -> dict[str, str | int]:
    """Healthy means: it can do its work. Without the cache it still can, only slower."""
    database, cache = await asyncio.gather(probes.database(), probes.cache())
    healthy = database == "connected"
    response.status_code = 200 if healthy else 503
    return {
        "status": "healthy" if healthy else "unhealthy",
        "database": database,
        "cache": cache,
        "version": VERSION,
        "uptime_seconds": int(time.monotonic() - _started),
    }


@router.get("/ready")
async def ready(response: Response) -> dict[str, str | None]:
    """Ready means: the schema is one this code knows, and it is not about to leave."""
    reason, schema = None, None
    try:
        async with asyncio.timeout(3), lifecycle.single.connect() as connection:
            schema = await connection.scalar(text("select max(version_num) from alembic_version"))
        if schema is None or schema < SCHEMA:
            reason = f"schema is at {schema}, {SCHEMA} is needed"
    except (SQLAlchemyError, TimeoutError):
        reason = "database unreachable, or never migrated"
    if lifecycle.draining:
        reason = "shutting down"
    response.status_code = 503 if reason else 200
    return {"status": "not ready" if reason else "ready", "schema": schema, "reason": reason}


@router.get("/version")
async def version() -> dict[str, str]:
    """Which release answers."""
    return {"version": VERSION, "revision": REVISION, "release": RELEASE}


@router.get("/metrics", include_in_schema=False)
async def prometheus() -> Response:
    """Metrics of all workers of this container."""
    return Response(metrics.render(), media_type="text/plain; version=0.0.4; charset=utf-8")
