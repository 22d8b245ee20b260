"""Campaigns. Fails half-way: every code leads to /contact, and must lead somewhere."""

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.execute("""
        create table marketing.campaigns (
            id bigint generated always as identity primary key,
            name text not null
        )""")
    op.execute("insert into marketing.campaigns (name) select name from marketing.qr_codes")
    op.execute("alter table marketing.qr_codes add column campaign_id bigint")
    op.execute("update core.customers set loyalty_points = 10")
    op.execute("update marketing.qr_codes set target_url = nullif(target_url, '/contact')")


def downgrade() -> None:
    op.execute("alter table marketing.qr_codes drop column campaign_id")
    op.execute("drop table marketing.campaigns")
