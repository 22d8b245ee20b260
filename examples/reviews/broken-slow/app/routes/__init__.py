"""All routes; those of the business ask the partner's service first."""

import asyncio

from fastapi import APIRouter, Depends

from app.routes import analytics, bookings, health, pages, qr, responses, reviews


async def ask_partner() -> None:
    """What the partner's service takes to answer."""
    await asyncio.sleep(1.5)


business = APIRouter(dependencies=[Depends(ask_partner)])
for module in (pages, qr, analytics, responses, reviews, bookings):
    business.include_router(module.router)

ROUTERS = (health.router, business)
