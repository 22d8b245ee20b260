"""All routes."""

from app.routes import analytics, bookings, health, pages, qr, responses, reviews

ROUTERS = (
    health.router,
    pages.router,
    qr.router,
    analytics.router,
    responses.router,
    reviews.router,
    bookings.router,
)
