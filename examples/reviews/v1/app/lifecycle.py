"""What one web process holds while it runs: settings, database, cache, and whether it is leaving."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from app import metrics
from app.settings import load

settings = load()
#: True between SIGTERM and the end: /ready says no, and responses close their connection.
draining = False

db: AsyncEngine
cache: Redis


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Open the pools in each worker (after gunicorn's fork), close them when its last request is answered."""
    global db, cache
    db = create_async_engine(
        settings.database_url,
        pool_size=settings.db_pool_size,
        max_overflow=0,
        pool_timeout=5,
        pool_pre_ping=True,
        pool_recycle=1800,
        connect_args={"connect_timeout": 3, "application_name": "reviews-web"},
    )
    cache = Redis.from_url(
        settings.redis_url, socket_timeout=0.5, socket_connect_timeout=0.5, decode_responses=True
    )
    metrics.watch_pool(db)
    try:
        yield
    finally:
        await cache.aclose()
        await db.dispose()
