"""Alembic: one transaction a migration, and no waiting behind somebody else's lock."""

import logging
import os
import sys

from alembic import context
from sqlalchemy import NullPool, create_engine, text

from app.settings import load

logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
options = {"transaction_per_migration": True}
# A migration that waits for a lock makes every request behind it wait too: give up early instead.
lock_timeout = os.environ.get("MIGRATION_LOCK_TIMEOUT", "5s")

if context.is_offline_mode():
    # For review (`alembic upgrade head --sql`): no database, so none of its settings.
    context.configure(dialect_name="postgresql", literal_binds=True, **options)
    context.execute(f"set lock_timeout = '{lock_timeout}'")
    with context.begin_transaction():
        context.run_migrations()
else:
    engine = create_engine(
        load().database_url,
        poolclass=NullPool,
        connect_args={"connect_timeout": 5, "application_name": "reviews-migrate"},
    )
    with engine.connect() as connection:
        connection.execute(
            text("select set_config('lock_timeout', :timeout, false)"), {"timeout": lock_timeout}
        )
        connection.commit()
        context.configure(connection=connection, **options)
        with context.begin_transaction():
            context.run_migrations()
