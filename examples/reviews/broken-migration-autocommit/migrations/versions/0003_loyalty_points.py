"""Loyalty points. This one succeeds."""

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.execute("alter table core.customers add column loyalty_points bigint")


def downgrade() -> None:
    op.execute("alter table core.customers drop column loyalty_points")
