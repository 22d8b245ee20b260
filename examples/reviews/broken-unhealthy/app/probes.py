"""Can the things we depend on be reached?"""

from __future__ import annotations

import asyncio

from redis.exceptions import RedisError
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from app import lifecycle


async def database() -> str:
    """`connected` or `unreachable`."""
    try:
        async with asyncio.timeout(3), lifecycle.single.connect() as connection:
            await connection.execute(text("select name from marketing.campaigns where active"))
    except (SQLAlchemyError, TimeoutError):
        return "unreachable"
    return "connected"


async def cache() -> str:
    """`connected` or `unreachable`."""
    try:
        await lifecycle.cache.ping()
    except RedisError:
        return "unreachable"
    return "connected"
