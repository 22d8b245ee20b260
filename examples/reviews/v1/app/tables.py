"""The tables, as the code uses them. Migrations create them."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, DateTime, FetchedValue, Integer, MetaData, Numeric, Table, Text, Uuid

metadata = MetaData()


def _key() -> Column[object]:
    return Column("id", Uuid, primary_key=True, server_default=FetchedValue())


def _time(name: str) -> Column[object]:
    return Column(name, DateTime(timezone=True))


customers = Table(
    "customers",
    metadata,
    _key(),
    Column("name", Text),
    Column("phone", Text),
    _time("created_at"),
    schema="core",
)
bookings = Table(
    "bookings",
    metadata,
    _key(),
    Column("customer_id", Uuid),
    Column("station_id", Text),
    Column("guests", Integer),
    _time("booked_at"),
    _time("completed_at"),
    _time("review_requested_at"),
    schema="core",
)
contact_messages = Table(
    "contact_messages",
    metadata,
    _key(),
    Column("name", Text),
    Column("phone", Text),
    Column("message", Text),
    _time("created_at"),
    schema="core",
)
reviews = Table(
    "customer_reviews",
    metadata,
    _key(),
    Column("customer_id", Uuid),
    Column("booking_id", Uuid),
    Column("station_id", Text),
    Column("status", Text),
    Column("rating", Text),
    Column("comment", Text),
    _time("created_at"),
    _time("submitted_at"),
    schema="feedback",
)
escalations = Table(
    "review_escalations",
    metadata,
    _key(),
    Column("review_id", Uuid),
    Column("reason", Text),
    _time("created_at"),
    _time("resolved_at"),
    schema="feedback",
)
coupons = Table(
    "discount_coupons",
    metadata,
    _key(),
    Column("code", Text),
    Column("customer_id", Uuid),
    Column("review_id", Uuid),
    Column("discount_percent", Integer),
    Column("min_order", Numeric(10, 2)),
    _time("valid_until"),
    Column("used", Boolean),
    schema="feedback",
)
