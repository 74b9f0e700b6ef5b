"""Credits of keys, what changed them, what routers have leased of them; and what each request cost, and where."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

# The strict tables of the oldest files know few types: in SQLite a whole number of any size is an INTEGER.
_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Make the tables, and room in rows of usage."""
    for table in ("usage", "running"):
        op.add_column(table, sa.Column("host", sa.Text))
        op.add_column(table, sa.Column("prices", sa.Text))
        op.add_column(table, sa.Column("cost", _ID))
        op.add_column(table, sa.Column("charge", _ID))
    op.create_table(
        "balances",
        sa.Column("id", _ID, primary_key=True),
        sa.Column("key", sa.String, nullable=False, unique=True),
        sa.Column("balance", sa.BigInteger, sa.CheckConstraint("balance >= 0"), nullable=False),
        sa.Column("leased", sa.BigInteger, sa.CheckConstraint("leased >= 0 AND leased <= balance"), nullable=False),
        sa.Column("monthly", sa.BigInteger),
        sa.Column("month", sa.String),
        sa.Column("spent", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "entries",
        sa.Column("id", _ID, primary_key=True),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("month", sa.String, nullable=False),
        sa.Column("key", sa.String, nullable=False),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("amount", sa.BigInteger, nullable=False),
        sa.Column("requests", sa.BigInteger),
        sa.Column("router", sa.String),
        sa.Column("reference", sa.String),
    )
    op.create_index("entries_key", "entries", ["key", "month"])
    op.create_index("entries_reference", "entries", ["key", "reference"], unique=True)
    op.create_table(
        "leases",
        sa.Column("router", sa.String, primary_key=True),
        sa.Column("key", sa.String, primary_key=True),
        sa.Column("amount", sa.BigInteger, sa.CheckConstraint("amount >= 0"), nullable=False),
    )
