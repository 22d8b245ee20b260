"""QR codes: a scan is recorded and redirected; a booking that follows makes it a conversion."""

from __future__ import annotations

import re
from typing import Annotated
from uuid import UUID, uuid4

from fastapi import APIRouter, Cookie, Header, HTTPException, Request
from fastapi.responses import RedirectResponse
from pydantic import BaseModel
from sqlalchemy import text

from app import lifecycle
from app.routes.analytics import forget_analytics

router = APIRouter(prefix="/api/qr", tags=["qr-tracking", "marketing"])

# One round trip: find the code, record the scan, say where to go.
_SCAN = text("""
    with code as (
        select id, target_url from marketing.qr_codes where code = :code and active
    ), scan as (
        insert into marketing.qr_scans (qr_code_id, session_id, device, user_agent, ip)
        select id, :session, :device, :agent, cast(:ip as inet) from code where :tracked
    )
    select target_url from code
""")
_CONVERT = text("""
    update marketing.qr_scans s set converted_to_booking = true, converted_at = now()
    from marketing.qr_codes c
    where s.session_id = :session and s.converted_to_booking = false and c.id = s.qr_code_id
    returning c.code
""")
_CONVERTED = text("""
    select count(*) from marketing.qr_scans where session_id = :session and converted_to_booking = true
""")
_LIST = text("select code, name, target_url, active from marketing.qr_codes order by code")


class Conversion(BaseModel):
    """A session that ended in a booking."""

    session_id: UUID


def device_of(agent: str) -> str:
    """A rough guess of the device from a User-Agent."""
    if re.search(r"iPad|Tablet", agent):
        return "tablet"
    return "mobile" if re.search(r"Mobi|Android|iPhone", agent) else "desktop"


@router.get("/scan/{code}", status_code=307, response_class=RedirectResponse)
async def scan(
    code: str,
    request: Request,
    user_agent: Annotated[str, Header()] = "",
    qr_session: Annotated[UUID | None, Cookie()] = None,
) -> RedirectResponse:
    """Record the scan and send the guest on."""
    session = qr_session or uuid4()
    async with lifecycle.single.connect() as connection:
        target = await connection.scalar(
            _SCAN,
            {
                "code": code,
                "session": session,
                "device": device_of(user_agent),
                "agent": re.sub("[<>]", "", user_agent)[:500],
                "ip": request.client.host if request.client else None,
                "tracked": lifecycle.settings.qr_tracking_enabled,
            },
        )
    if target is None:
        raise HTTPException(404, f"no active QR code {code!r}")
    response = RedirectResponse(target, status_code=307, headers={"Cache-Control": "no-store"})
    response.set_cookie(
        "qr_session",
        str(session),
        max_age=30 * 86400,
        httponly=True,
        samesite="lax",
        domain=lifecycle.settings.qr_session_cookie_domain,
    )
    return response


@router.post("/conversion")
async def conversion(body: Conversion) -> dict[str, int | bool]:
    """Mark the scans of a session as converted; asking again changes nothing."""
    async with lifecycle.db.begin() as connection:
        codes = (await connection.scalars(_CONVERT, {"session": body.session_id})).all()
        known = codes or await connection.scalar(_CONVERTED, {"session": body.session_id})
    if not known:
        raise HTTPException(404, "no scan with this session")
    for code in set(codes):
        await forget_analytics(code)
    return {"converted": len(codes), "already": not codes}


@router.get("/list")
async def list_codes() -> list[dict[str, str | bool]]:
    """All codes and where they lead."""
    async with lifecycle.single.connect() as connection:
        return [dict(row) for row in (await connection.execute(_LIST)).mappings()]
