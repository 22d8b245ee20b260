"""Bookings: made, and completed; a day later the worker asks for a review."""

from __future__ import annotations

from uuid import UUID

from fastapi import APIRouter, HTTPException
from pydantic import Field
from sqlalchemy import func, select

from app import lifecycle
from app.customers import Guest, find_or_add
from app.tables import bookings

router = APIRouter(prefix="/api/bookings", tags=["bookings"])


class NewBooking(Guest):
    """A table for some guests."""

    station_id: str = Field(max_length=64)
    guests: int = Field(ge=1, le=60)


@router.post("", status_code=201)
async def book(body: NewBooking) -> dict[str, str]:
    """Take a booking."""
    async with lifecycle.db.begin() as connection:
        customer = await find_or_add(connection, body)
        booking = await connection.scalar(
            bookings.insert()
            .values(customer_id=customer, station_id=body.station_id, guests=body.guests)
            .returning(bookings.c.id)
        )
    return {"id": str(booking)}


@router.post("/{booking_id}/complete")
async def complete(booking_id: UUID) -> dict[str, str]:
    """The evening is over."""
    async with lifecycle.db.begin() as connection:
        done = await connection.execute(
            bookings.update()
            .where(bookings.c.id == booking_id, bookings.c.completed_at.is_(None))
            .values(completed_at=func.now())
        )
    if not done.rowcount:
        raise HTTPException(409, "this booking was completed before, or never existed")
    return {"status": "completed"}


@router.get("/{booking_id}")
async def show(booking_id: UUID) -> dict[str, object]:
    """One booking."""
    async with lifecycle.single.connect() as connection:
        row = (
            (await connection.execute(select(bookings).where(bookings.c.id == booking_id)))
            .mappings()
            .one_or_none()
        )
    if row is None:
        raise HTTPException(404, "no such booking")
    return dict(row)
