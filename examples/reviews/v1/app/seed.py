"""Fill an empty database with the data of seed.sql: `python -m app.seed`. Rows of the application stay."""

from __future__ import annotations

import pathlib
import sys
import time

import psycopg

from app.settings import load

_SEEDED = "select exists (select from marketing.qr_codes where code = 'BC012')"
_ANALYZE = """
    analyze core.customers, core.bookings, feedback.customer_reviews, feedback.review_escalations,
        feedback.discount_coupons, marketing.qr_codes, marketing.qr_scans
"""


def seed(connection: psycopg.Connection) -> int:
    """Run seed.sql in one transaction; returns how many rows it added, 0 where it was run before."""
    with connection.transaction(), connection.cursor() as cursor:
        cursor.execute(_SEEDED)
        if cursor.fetchone() == (True,):
            return 0
        # Our own file, as bytes: psycopg wants to see that this is no text put together from input.
        cursor.execute(pathlib.Path(__file__).with_name("seed.sql").read_bytes())
        added = 0
        while cursor.nextset():
            added += max(cursor.rowcount, 0)
    return added


def main() -> None:
    """Seed, refresh the planner's statistics, and say what was added."""
    started = time.monotonic()
    url = load().database_url.replace("postgresql+psycopg://", "postgresql://", 1)
    try:
        with psycopg.connect(url, autocommit=True, connect_timeout=5) as connection:
            added = seed(connection)
            if added:
                connection.execute(_ANALYZE)
    except psycopg.Error as error:
        sys.exit(f"seed: {str(error).splitlines()[0]} (has `alembic upgrade head` been run?)")
    print(f"seed: {added} rows added in {time.monotonic() - started:.1f} s")


if __name__ == "__main__":
    main()
