"""The team's answers to reviews, and how guests felt."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from fastapi import APIRouter, HTTPException
from pydantic import BaseModel, Field
from sqlalchemy import column, func, insert, select, table, update

from app import lifecycle
from app.admin import ADMIN
from app.sentiment import sentiment

router = APIRouter(prefix="/api/reviews", tags=["responses"])

_reviews = table(
    "customer_reviews",
    *map(column, ("id", "station_id", "rating", "comment", "sentiment")),
    schema="feedback",
)
_responses = table(
    "review_responses",
    *map(column, ("id", "review_id", "author", "body", "created_at")),
    schema="feedback",
)


class NewResponse(BaseModel):
    """An answer to a guest."""

    author: str = Field(min_length=1, max_length=200)
    body: str = Field(min_length=1, max_length=4000)


@router.get("/sentiment")
async def by_sentiment(station_id: str) -> dict[str, int]:
    """How many reviews of a station there are of each sentiment; `unrated` are those nobody answered yet."""
    query = (
        select(func.coalesce(_reviews.c.sentiment, "unrated"), func.count())
        .where(_reviews.c.station_id == station_id)
        .group_by(_reviews.c.sentiment)
    )
    async with lifecycle.single.connect() as connection:
        return dict((await connection.execute(query)).tuples().all())


@router.get("/{review_id}/responses")
async def list_responses(review_id: UUID) -> list[dict[str, Any]]:
    """The answers to a review, oldest first."""
    query = select(_responses).where(_responses.c.review_id == review_id).order_by(_responses.c.created_at)
    async with lifecycle.single.connect() as connection:
        return [dict(row) for row in (await connection.execute(query)).mappings()]


@router.post("/{review_id}/responses", status_code=201, dependencies=[ADMIN])
async def respond(review_id: UUID, response: NewResponse) -> dict[str, str]:
    """Answer a review; that is also when somebody has read it, so its sentiment is kept."""
    async with lifecycle.db.begin() as connection:
        query = select(_reviews.c.rating, _reviews.c.comment).where(_reviews.c.id == review_id)
        review = (await connection.execute(query)).one_or_none()
        if review is None:
            raise HTTPException(404, "no such review")
        feeling = sentiment(review.rating, review.comment)
        await connection.execute(update(_reviews).where(_reviews.c.id == review_id).values(sentiment=feeling))
        added = (
            insert(_responses).values(review_id=review_id, **response.model_dump()).returning(_responses.c.id)
        )
        key = await connection.scalar(added)
    return {"id": str(key), "sentiment": feeling}
