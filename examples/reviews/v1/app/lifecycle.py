"""What one web process holds while it runs: settings, database, cache, and whether it is leaving."""

from __future__ import annotations

import select
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from redis.asyncio import Redis
from sqlalchemy import event
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from app import metrics
from app.settings import load

settings = load()
#: True between SIGTERM and the end: /ready says no, and responses close their connection.
draining = False

#: For several statements in one transaction: `async with db.begin()`.
db: AsyncEngine
#: For a statement that stands alone: half the round trips. The same pool.
single: AsyncEngine
cache: Redis


def refuse_closed(connection: Any, *_: Any) -> None:
    """Notice a connection that the server has closed (it was restarted, say) before it is used; the pool then
    opens another. An idle connection has nothing to say, so anything to read means the end. A ping would
    notice as well, but costs more than most of our queries.
    """
    idle = select.poll()
    idle.register(connection.driver_connection.fileno(), select.POLLIN)
    if idle.poll(0):
        raise DisconnectionError("the server has closed this connection")


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Open the pools in each worker (after gunicorn's fork), close them when its last request is answered."""
    global db, single, cache
    db = create_async_engine(
        settings.database_url,
        pool_size=settings.db_pool_size,
        max_overflow=0,
        pool_timeout=20,
        pool_recycle=1800,
        connect_args={"connect_timeout": 3, "application_name": "reviews-web"},
    )
    event.listen(db.sync_engine, "checkout", refuse_closed)
    single = db.execution_options(isolation_level="AUTOCOMMIT")
    cache = Redis.from_url(
        settings.redis_url, socket_timeout=0.5, socket_connect_timeout=0.5, decode_responses=True
    )
    metrics.watch_pool(db)
    try:
        yield
    finally:
        await cache.aclose()
        await db.dispose()
