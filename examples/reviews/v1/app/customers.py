"""Customers are known by their phone number."""

from __future__ import annotations

from uuid import UUID

from pydantic import BaseModel, Field
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from app.tables import customers


class Guest(BaseModel):
    """How a guest introduces himself."""

    name: str = Field(min_length=1, max_length=200)
    phone: str = Field(min_length=5, max_length=32)


async def find_or_add(connection: AsyncConnection, guest: Guest) -> UUID:
    """The customer with this phone number, added when new; the name is the last one given."""
    statement = insert(customers).values(name=guest.name, phone=guest.phone)
    customer: UUID = await connection.scalar(
        statement.on_conflict_do_update(index_elements=["phone"], set_={"name": guest.name}).returning(
            customers.c.id
        )
    )
    return customer
