"""Configuration: environment variables, read once, every mistake reported at the same time."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from urllib.parse import urlsplit


class ConfigurationError(Exception):
    """What is wrong with the environment, one line a mistake; never contains a value that is secret."""

    def __init__(self, mistakes: list[str]) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = mistakes


@dataclass(frozen=True)
class Settings:
    """The configuration of one process."""

    database_url: str
    redis_url: str
    secret_key: str
    admin_api_key: str
    customer_app_url: str
    yelp_review_url: str
    google_review_url: str
    coupon_discount: int
    coupon_validity_days: int
    coupon_min_order: Decimal
    qr_tracking_enabled: bool
    qr_session_cookie_domain: str | None
    analytics_cache_seconds: int
    review_request_delay_hours: int
    worker_poll_seconds: int
    web_concurrency: int
    db_pool_size: int
    drain_seconds: int


class _Reader:
    def __init__(self, environ: Mapping[str, str]) -> None:
        self.environ = environ
        self.mistakes: list[str] = []

    def text(self, name: str, default: str | None = None, *, least: int = 1) -> str:
        value = self.environ.get(name, "").strip()
        if not value and default is not None:
            return default
        if not value:
            self.mistakes.append(f"{name} is not set")
        elif len(value) < least:
            self.mistakes.append(f"{name} has {len(value)} characters, at least {least} are needed")
        return value

    def url(self, name: str, *schemes: str) -> str:
        value = self.text(name)
        if value and (urlsplit(value).scheme not in schemes or not urlsplit(value).netloc):
            self.mistakes.append(
                f"{name} is not a URL that starts with {' or '.join(s + '://' for s in schemes)}"
            )
        return value

    def integer(self, name: str, default: int | None, low: int, high: int) -> int:
        value = self.text(name, None if default is None else str(default))
        if not value:
            return low
        if not value.isdecimal() or not low <= int(value) <= high:
            self.mistakes.append(f"{name} is {value!r}, a whole number from {low} to {high} is needed")
            return low
        return int(value)

    def amount(self, name: str) -> Decimal:
        value = self.text(name)
        try:
            amount = Decimal(value or "0")
        except InvalidOperation:
            amount = Decimal(-1)
        if not amount.is_finite() or amount < 0:
            self.mistakes.append(f"{name} is {value!r}, an amount such as 50.00 is needed")
        return amount

    def switch(self, name: str, default: bool) -> bool:
        value = self.text(name, "true" if default else "false").lower()
        if value not in ("true", "false"):
            self.mistakes.append(f"{name} is {value!r}, true or false is needed")
        return value == "true"


def read(environ: Mapping[str, str]) -> Settings:
    """Read the settings out of `environ`, or raise ConfigurationError with every mistake in it."""
    env = _Reader(environ)
    settings = Settings(
        # SQLAlchemy wants the driver in the scheme; everybody else writes it without.
        database_url=env.url("DATABASE_URL", "postgresql", "postgres", "postgresql+psycopg").replace(
            urlsplit(environ.get("DATABASE_URL", "")).scheme + "://", "postgresql+psycopg://", 1
        ),
        redis_url=env.url("REDIS_URL", "redis", "rediss"),
        secret_key=env.text("SECRET_KEY", least=32),
        admin_api_key=env.text("ADMIN_API_KEY", least=16),
        customer_app_url=env.url("CUSTOMER_APP_URL", "https", "http").rstrip("/"),
        yelp_review_url=env.url("YELP_REVIEW_URL", "https"),
        google_review_url=env.url("GOOGLE_REVIEW_URL", "https"),
        coupon_discount=env.integer("REVIEW_COUPON_DISCOUNT", None, 1, 100),
        coupon_validity_days=env.integer("REVIEW_COUPON_VALIDITY_DAYS", None, 1, 3650),
        coupon_min_order=env.amount("REVIEW_COUPON_MIN_ORDER"),
        qr_tracking_enabled=env.switch("QR_TRACKING_ENABLED", True),
        qr_session_cookie_domain=env.text("QR_SESSION_COOKIE_DOMAIN", "") or None,
        analytics_cache_seconds=env.integer("ANALYTICS_CACHE_SECONDS", 300, 1, 86400),
        review_request_delay_hours=env.integer("REVIEW_REQUEST_DELAY_HOURS", 24, 0, 720),
        worker_poll_seconds=env.integer("WORKER_POLL_SECONDS", 1, 1, 60),
        web_concurrency=env.integer("WEB_CONCURRENCY", 2, 1, 64),
        db_pool_size=env.integer("DB_POOL_SIZE", 5, 1, 100),
        drain_seconds=env.integer("DRAIN_SECONDS", 1, 0, 30),
    )
    if env.mistakes:
        raise ConfigurationError(env.mistakes)
    return settings


def load() -> Settings:
    """The settings of this process; where they are wrong, say so and do not start."""
    try:
        return read(os.environ)
    except ConfigurationError as error:
        for mistake in error.mistakes:
            print(f"reviews: refusing to start: {mistake} (see .env.example)", file=sys.stderr)
        sys.exit(78)  # EX_CONFIG
