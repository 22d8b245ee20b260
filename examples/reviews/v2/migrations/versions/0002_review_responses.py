"""Answers to reviews, and their sentiment. Adds only: the release before this one works with it."""

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.execute("alter table feedback.customer_reviews add column sentiment text")
    op.execute("""
        create table feedback.review_responses (
            id uuid primary key default gen_random_uuid(),
            review_id uuid not null references feedback.customer_reviews (id),
            author text not null,
            body text not null,
            created_at timestamptz not null default now()
        )""")


def downgrade() -> None:
    op.execute("drop table feedback.review_responses")
    op.execute("alter table feedback.customer_reviews drop column sentiment")
