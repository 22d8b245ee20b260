"""The background worker: a day after an evening with us, ask the guest for a review.

Exactly one may be active, or guests would be asked twice. A lease (an advisory lock, held by a
connection, so it ends with the process however that ends) decides; a worker that finds it taken says
so and waits. Each start leaves a row in ops.worker_generations.
"""

from __future__ import annotations

import logging
import pathlib
import signal
import socket
import sys
import threading

from sqlalchemy import Connection, Engine, NullPool, create_engine, text
from sqlalchemy.exc import SQLAlchemyError

from app.links import review_url
from app.settings import Settings, load
from app.version import REVISION, VERSION

log = logging.getLogger("reviews.worker")

#: The container's health check looks at the age of this file: touched only while the lease is held.
ALIVE = pathlib.Path("/tmp/worker.alive")  # noqa: S108
LEASE = 0x7265_7669_6577  # "review"
BATCH = 20

_REGISTER = text("""
    insert into ops.worker_generations (version, revision, host)
    values (:version, :revision, :host) returning id
""")
_OTHER = text("""
    select version || ' on ' || host from ops.worker_generations
    where id <> :id and active_at is not null and stopped_at is null order by heartbeat_at desc limit 1
""")
_WAITED = text(
    "update ops.worker_generations set waited_for = :other, heartbeat_at = clock_timestamp() where id = :id"
)
_ACTIVE = text("""
    update ops.worker_generations
    set active_at = clock_timestamp(), heartbeat_at = clock_timestamp() where id = :id
""")
_HEARTBEAT = text("""
    update ops.worker_generations set heartbeat_at = clock_timestamp(), requests_sent = :sent where id = :id
""")
_STOPPED = text("""
    update ops.worker_generations
    set stopped_at = clock_timestamp(), heartbeat_at = clock_timestamp(), requests_sent = :sent where id = :id
""")
# Asked and written down in one transaction: a guest is asked once, or not at all and again later.
_ASK = text("""
    with due as (
        select id, customer_id, station_id from core.bookings
        where completed_at <= now() - make_interval(hours => :delay) and review_requested_at is null
        order by completed_at limit :batch for update skip locked
    ), marked as (
        update core.bookings b set review_requested_at = now() from due where b.id = due.id
    )
    insert into feedback.customer_reviews (customer_id, booking_id, station_id)
    select customer_id, id, station_id from due
    on conflict (booking_id) do nothing
    returning id
""")


class Worker:
    """One generation of the worker."""

    def __init__(self, settings: Settings, engine: Engine) -> None:
        self.settings = settings
        self.engine = engine
        self.leave = threading.Event()
        self.sent = 0
        self.generation = 0

    def run(self) -> None:
        """Wait for the lease, work until told to leave, and leave a record of when."""
        with self.engine.connect() as connection:
            self.generation = connection.scalar(
                _REGISTER, {"version": VERSION, "revision": REVISION, "host": socket.gethostname()}
            )
            try:
                if self.take_lease(connection):
                    self.work(connection)
            finally:
                ALIVE.unlink(missing_ok=True)
                if not connection.invalidated:
                    # While the lease is still ours: what follows us starts after this moment.
                    connection.execute(_STOPPED, {"id": self.generation, "sent": self.sent})
        log.info("stopped after %d requests", self.sent)

    def take_lease(self, connection: Connection) -> bool:
        """True with the lease; False when told to leave while waiting for it."""
        waited = 0
        while not connection.scalar(text("select pg_try_advisory_lock(:key)"), {"key": LEASE}):
            other = connection.scalar(_OTHER, {"id": self.generation}) or "an unknown worker"
            connection.execute(_WAITED, {"id": self.generation, "other": other})
            if waited % 10 == 0:
                log.error("another generation is active: %s; waiting for it to stop", other)
            waited += 1
            if self.leave.wait(1):
                return False
        connection.execute(_ACTIVE, {"id": self.generation})
        log.info("active: version %s, revision %s", VERSION, REVISION)
        return True

    def work(self, connection: Connection) -> None:
        """Ask for reviews until told to leave.

        All of it over the lease's own connection: an error there may mean a lost lease, and ends the process.
        """
        while not self.leave.is_set():
            ALIVE.touch()
            asked = self.ask(connection)
            connection.execute(_HEARTBEAT, {"id": self.generation, "sent": self.sent})
            if asked < BATCH:
                self.leave.wait(self.settings.worker_poll_seconds)

    def ask(self, connection: Connection) -> int:
        """Ask one batch of guests; returns how many."""
        rows = connection.scalars(
            _ASK, {"delay": self.settings.review_request_delay_hours, "batch": BATCH}
        ).all()
        for review_id in rows:
            review_url(self.settings.customer_app_url, self.settings.secret_key, review_id)
            log.info("asked for review %s", review_id)
        self.sent += len(rows)
        return len(rows)


def main() -> None:
    """Run until SIGTERM or SIGINT."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stdout)
    settings = load()
    engine = create_engine(
        settings.database_url,
        poolclass=NullPool,
        isolation_level="AUTOCOMMIT",
        connect_args={"connect_timeout": 5, "application_name": "reviews-worker"},
    )
    worker = Worker(settings, engine)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: worker.leave.set())
    try:
        worker.run()
    except SQLAlchemyError as error:
        # Perhaps the lease is gone with the connection: end, and be started again.
        sys.exit(f"worker: stopped by the database: {str(error).splitlines()[0]}")


if __name__ == "__main__":
    main()
