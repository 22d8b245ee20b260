"""Routes for the team only."""

from __future__ import annotations

import hmac
from typing import Annotated

from fastapi import Depends, Header, HTTPException

from app.lifecycle import settings


async def _check(x_api_key: Annotated[str, Header()] = "") -> None:
    if not hmac.compare_digest(x_api_key.encode(), settings.admin_api_key.encode()):
        raise HTTPException(403, "X-API-Key is missing or wrong")


#: As a route's dependency: only with the administrators' key.
ADMIN = Depends(_check)
