"""All routes."""

from app.routes import analytics, bookings, health, pages, qr, reviews

ROUTERS = (health.router, pages.router, qr.router, analytics.router, reviews.router, bookings.router)
