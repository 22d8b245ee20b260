"""Campaigns, without long locks. Fails half-way, after statements that were committed one by one."""

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    with op.get_context().autocommit_block():
        op.execute("""
            create table marketing.campaigns (
                id bigint generated always as identity primary key,
                name text not null
            )""")
        op.execute("insert into marketing.campaigns (name) select name from marketing.qr_codes")
        op.execute("create index concurrently ix_customers_loyalty on core.customers (loyalty_points)")
        # More than one code leads to the same page: this leaves an invalid index behind.
        op.execute("create unique index concurrently ix_qr_codes_target on marketing.qr_codes (target_url)")
        op.execute("update marketing.qr_codes set target_url = nullif(target_url, '/contact')")


def downgrade() -> None:
    op.execute("drop index marketing.ix_qr_codes_target")
    op.execute("drop index core.ix_customers_loyalty")
    op.execute("drop table marketing.campaigns")
