"""Reviews: asked for, submitted by the guest, escalated when the guest was not happy."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, HTTPException, Query
from pydantic import BaseModel, Field
from sqlalchemy import func, select

from app import lifecycle
from app.admin import ADMIN
from app.customers import Guest, find_or_add
from app.links import key_fits, review_key, review_url
from app.tables import coupons, escalations, reviews

router = APIRouter(prefix="/api/reviews", tags=["reviews", "feedback"])

Rating = Literal["great", "good", "okay", "could_be_better"]
Status = Literal["pending", "submitted", "escalated", "completed"]


class NewReview(Guest):
    """A guest to ask for a review."""

    station_id: str = Field(max_length=64)


class Submission(BaseModel):
    """What the guest says; `key` is the one in the link."""

    key: str
    rating: Rating
    comment: str = Field(default="", max_length=4000)


@router.post("", status_code=201)
async def create(body: NewReview) -> dict[str, str]:
    """Begin a review; the answer holds the link for the guest."""
    settings = lifecycle.settings
    async with lifecycle.db.begin() as connection:
        customer = await find_or_add(connection, body)
        review_id = await connection.scalar(
            reviews.insert().values(customer_id=customer, station_id=body.station_id).returning(reviews.c.id)
        )
    return {
        "id": str(review_id),
        "status": "pending",
        "key": review_key(settings.secret_key, review_id),
        "url": review_url(settings.customer_app_url, settings.secret_key, review_id),
    }


@router.get("")
async def list_reviews(
    station_id: str,
    status: Status = "pending",
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> list[dict[str, Any]]:
    """Reviews of a station in a status."""
    query = select(reviews).where(reviews.c.station_id == station_id, reviews.c.status == status).limit(limit)
    async with lifecycle.single.connect() as connection:
        return [dict(row) for row in (await connection.execute(query)).mappings()]


@router.get("/queue")
async def queue(limit: Annotated[int, Query(ge=1, le=200)] = 50) -> list[dict[str, Any]]:
    """The newest reviews that somebody still has to look at."""
    query = (
        select(reviews)
        .where(reviews.c.status.in_(["pending", "submitted"]))
        .order_by(reviews.c.created_at.desc())
        .limit(limit)
    )
    async with lifecycle.single.connect() as connection:
        return [dict(row) for row in (await connection.execute(query)).mappings()]


@router.get("/escalations", dependencies=[ADMIN])
async def list_escalations(limit: Annotated[int, Query(ge=1, le=200)] = 50) -> list[dict[str, Any]]:
    """Guests who wait for a call."""
    query = (
        select(escalations, reviews.c.station_id, reviews.c.comment)
        .join(reviews, reviews.c.id == escalations.c.review_id)
        .where(escalations.c.resolved_at.is_(None))
        .order_by(escalations.c.created_at.desc())
        .limit(limit)
    )
    async with lifecycle.single.connect() as connection:
        return [dict(row) for row in (await connection.execute(query)).mappings()]


@router.post("/escalations/{escalation_id}/resolve", dependencies=[ADMIN])
async def resolve(escalation_id: UUID) -> dict[str, str]:
    """Somebody called the guest: the review is done."""
    async with lifecycle.db.begin() as connection:
        review_id = await connection.scalar(
            escalations.update()
            .where(escalations.c.id == escalation_id, escalations.c.resolved_at.is_(None))
            .values(resolved_at=func.now())
            .returning(escalations.c.review_id)
        )
        if review_id is None:
            raise HTTPException(404, "no open escalation with this id")
        await connection.execute(reviews.update().where(reviews.c.id == review_id).values(status="completed"))
    return {"status": "completed"}


@router.get("/coupons/{customer_id}")
async def valid_coupons(customer_id: UUID) -> list[dict[str, Any]]:
    """A guest's coupons that can still be used."""
    query = select(
        coupons.c.code, coupons.c.discount_percent, coupons.c.min_order, coupons.c.valid_until
    ).where(
        coupons.c.customer_id == customer_id, coupons.c.valid_until > func.now(), coupons.c.used.is_(False)
    )
    async with lifecycle.single.connect() as connection:
        return [dict(row) for row in (await connection.execute(query)).mappings()]


@router.get("/{review_id}")
async def show(review_id: UUID) -> dict[str, Any]:
    """One review."""
    async with lifecycle.single.connect() as connection:
        row = (
            (await connection.execute(select(reviews).where(reviews.c.id == review_id)))
            .mappings()
            .one_or_none()
        )
    if row is None:
        raise HTTPException(404, "no such review")
    return dict(row)


@router.post("/{review_id}/submit")
async def submit(review_id: UUID, body: Submission) -> dict[str, Any]:
    """Take the rating: happy guests are sent on to Google and Yelp, unhappy ones get a call and a coupon."""
    settings = lifecycle.settings
    if not key_fits(settings.secret_key, review_id, body.key):
        raise HTTPException(403, "the key does not belong to this review")
    unhappy = body.rating == "could_be_better"
    async with lifecycle.db.begin() as connection:
        customer = await connection.scalar(
            reviews.update()
            .where(reviews.c.id == review_id, reviews.c.status == "pending")
            .values(
                status="escalated" if unhappy else "submitted",
                rating=body.rating,
                comment=body.comment,
                submitted_at=func.now(),
            )
            .returning(reviews.c.customer_id)
        )
        if customer is None:
            raise HTTPException(409, "this review was submitted before, or never existed")
        if not unhappy:
            links = {"google": settings.google_review_url, "yelp": settings.yelp_review_url}
            return {"id": review_id, "status": "submitted", "share": links}
        escalation = await connection.scalar(
            escalations.insert().values(review_id=review_id, reason=body.rating).returning(escalations.c.id)
        )
        code = f"SORRY-{secrets.token_hex(4).upper()}"
        valid_until = datetime.now(UTC) + timedelta(days=settings.coupon_validity_days)
        await connection.execute(
            coupons.insert().values(
                code=code,
                customer_id=customer,
                review_id=review_id,
                discount_percent=settings.coupon_discount,
                min_order=settings.coupon_min_order,
                valid_until=valid_until,
            )
        )
    coupon = {"code": code, "discount_percent": settings.coupon_discount, "valid_until": valid_until}
    return {"id": review_id, "status": "escalated", "escalation_id": escalation, "coupon": coupon}
