"""Customers, bookings, reviews, coupons, QR codes."""

from alembic import op

revision = "0001"
down_revision = None

SCHEMAS = ("core", "feedback", "marketing", "ops")


def upgrade() -> None:
    for schema in SCHEMAS:
        op.execute(f"create schema {schema}")
    op.execute("""
        create table core.stations (
            id text primary key,
            name text not null
        )""")
    op.execute("""
        create table core.customers (
            id uuid primary key default gen_random_uuid(),
            name text not null,
            phone text not null unique,
            created_at timestamptz not null default now()
        )""")
    op.execute("""
        create table core.bookings (
            id uuid primary key default gen_random_uuid(),
            customer_id uuid not null references core.customers (id),
            station_id text not null references core.stations (id),
            guests integer not null check (guests > 0),
            booked_at timestamptz not null default now(),
            completed_at timestamptz,
            review_requested_at timestamptz
        )""")
    # What the worker looks for, every second.
    op.execute("""
        create index ix_bookings_review_due on core.bookings (completed_at)
        where completed_at is not null and review_requested_at is null""")
    op.execute("""
        create table core.contact_messages (
            id uuid primary key default gen_random_uuid(),
            name text not null,
            phone text not null,
            message text not null,
            created_at timestamptz not null default now()
        )""")
    op.execute("""
        create table feedback.customer_reviews (
            id uuid primary key default gen_random_uuid(),
            customer_id uuid not null references core.customers (id),
            booking_id uuid unique references core.bookings (id),
            station_id text not null references core.stations (id),
            status text not null default 'pending'
                check (status in ('pending', 'submitted', 'escalated', 'completed')),
            rating text check (rating in ('great', 'good', 'okay', 'could_be_better')),
            comment text,
            created_at timestamptz not null default now(),
            submitted_at timestamptz
        )""")
    op.execute("""
        create table feedback.review_escalations (
            id uuid primary key default gen_random_uuid(),
            review_id uuid not null references feedback.customer_reviews (id),
            reason text not null,
            created_at timestamptz not null default now(),
            resolved_at timestamptz
        )""")
    op.execute("""
        create table feedback.discount_coupons (
            id uuid primary key default gen_random_uuid(),
            code text not null unique,
            customer_id uuid not null references core.customers (id),
            review_id uuid references feedback.customer_reviews (id),
            discount_percent integer not null check (discount_percent between 1 and 100),
            min_order numeric(10, 2) not null,
            valid_until timestamptz not null,
            used boolean not null default false,
            created_at timestamptz not null default now()
        )""")
    op.execute("""
        create table marketing.qr_codes (
            id uuid primary key default gen_random_uuid(),
            code text not null unique,
            name text not null,
            target_url text not null,
            active boolean not null default true,
            created_at timestamptz not null default now()
        )""")
    op.execute("""
        create table marketing.qr_scans (
            id uuid primary key default gen_random_uuid(),
            qr_code_id uuid not null references marketing.qr_codes (id),
            session_id uuid not null,
            device text not null,
            user_agent text not null,
            ip inet,
            scanned_at timestamptz not null default now(),
            converted_to_booking boolean not null default false,
            converted_at timestamptz
        )""")
    # A conversion looks for the scans of its session that are still open.
    op.execute("""
        create index ix_qr_scans_session_open on marketing.qr_scans (session_id)
        where converted_to_booking = false""")
    op.execute("""
        create table ops.worker_generations (
            id bigint generated always as identity primary key,
            version text not null,
            revision text not null,
            host text not null,
            started_at timestamptz not null default clock_timestamp(),
            active_at timestamptz,
            heartbeat_at timestamptz not null default clock_timestamp(),
            stopped_at timestamptz,
            requests_sent bigint not null default 0,
            waited_for text
        )""")
    # Must be empty. A generation that was killed was last alive at its last heartbeat.
    op.execute("""
        create view ops.worker_overlaps as
        with active as (
            select id, version, tstzrange(active_at, coalesce(stopped_at, heartbeat_at)) as during
            from ops.worker_generations where active_at is not null
        )
        select a.id as earlier, a.version as earlier_version, b.id as later, b.version as later_version,
            a.during * b.during as overlap
        from active a join active b on a.id < b.id and a.during && b.during""")
    op.execute("""
        create view ops.system_health as
        select 'reviews' as system, count(*) as total_records,
            count(*) filter (where created_at > now() - interval '24 hours') as last_24h,
            count(*) filter (where status = 'pending') as pending
        from feedback.customer_reviews
        union all
        select 'qr_scans', count(*), count(*) filter (where scanned_at > now() - interval '24 hours'), null
        from marketing.qr_scans""")
    op.execute("""
        insert into core.stations (id, name) values
            ('CA-ROSEVILLE', 'Roseville'), ('CA-SACRAMENTO', 'Sacramento'), ('CA-FREMONT', 'Fremont'),
            ('CA-SANJOSE', 'San Jose')""")
    op.execute("""
        insert into marketing.qr_codes (code, name, target_url)
        values ('BC001', 'Business card', '/contact')""")


def downgrade() -> None:
    for schema in reversed(SCHEMAS):
        op.execute(f"drop schema {schema} cascade")
