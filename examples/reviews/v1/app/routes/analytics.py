"""Analytics of a QR code: counted from all of its scans, and kept for five minutes."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

from fastapi import APIRouter, HTTPException, Response
from redis.exceptions import RedisError

from app import lifecycle
from app.admin import ADMIN
from app.counts import COUNTS, present

router = APIRouter(prefix="/api/qr", tags=["qr-tracking", "marketing"])


def _key(code: str) -> str:
    return f"reviews:qr_analytics:1:{code}"


async def forget_analytics(code: str) -> None:
    """Drop a code's cached analytics; without the cache there is nothing to drop."""
    with suppress(RedisError):
        await lifecycle.cache.delete(_key(code))


@router.get("/analytics/{code}")
async def analytics(code: str, response: Response) -> dict[str, Any]:
    """Scans, sessions and conversions of a code. X-Cache tells a cached answer from a fresh one."""
    with suppress(RedisError):  # slower without the cache, not broken
        if cached := await lifecycle.cache.get(_key(code)):
            response.headers["X-Cache"] = "HIT"
            return present(json.loads(cached))
    async with lifecycle.single.connect() as connection:
        row = (await connection.execute(COUNTS, {"code": code})).mappings().one_or_none()
    if row is None:
        raise HTTPException(404, f"no QR code {code!r}")
    with suppress(RedisError):
        await lifecycle.cache.set(
            _key(code), json.dumps(dict(row)), ex=lifecycle.settings.analytics_cache_seconds
        )
    response.headers["X-Cache"] = "MISS"
    return present(dict(row))


@router.delete("/analytics/{code}/cache", status_code=204, dependencies=[ADMIN], response_class=Response)
async def drop_analytics(code: str) -> Response:
    """Forget the cached analytics of a code."""
    await forget_analytics(code)
    return Response(status_code=204)
