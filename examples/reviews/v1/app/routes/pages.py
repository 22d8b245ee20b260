"""The few pages that are not an API."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import HTMLResponse, RedirectResponse
from pydantic import BaseModel, Field

from app import lifecycle
from app.tables import contact_messages

router = APIRouter(tags=["pages"])

_CONTACT = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Contact</title></head>
<body><h1>Book your evening</h1>
<form method="post" action="/api/contact"><input name="name"><input name="phone"><button>Send</button></form>
</body></html>
"""


class Contact(BaseModel):
    """A message from the contact form."""

    name: str = Field(min_length=1, max_length=200)
    phone: str = Field(min_length=5, max_length=32)
    message: str = Field(default="", max_length=4000)


@router.get("/contact", response_class=HTMLResponse)
async def contact_page() -> HTMLResponse:
    """The page every QR code leads to."""
    return HTMLResponse(_CONTACT, headers={"Cache-Control": "public, max-age=300"})


@router.get("/contact.html", include_in_schema=False)
async def old_contact_page() -> RedirectResponse:
    """The address printed on the first business cards."""
    return RedirectResponse("/contact", status_code=301)


@router.post("/api/contact", status_code=201)
async def send_contact(contact: Contact) -> dict[str, str]:
    """Keep a message of the contact form."""
    async with lifecycle.db.begin() as connection:
        key = await connection.scalar(
            contact_messages.insert().values(**contact.model_dump()).returning(contact_messages.c.id)
        )
    return {"id": str(key)}


@router.get("/api/slow")
async def slow(seconds: Annotated[float, Query(ge=0, le=30)] = 1.0) -> dict[str, float]:
    """An answer that takes its time, to see what becomes of requests in flight."""
    await asyncio.sleep(seconds)
    return {"slept": seconds}
