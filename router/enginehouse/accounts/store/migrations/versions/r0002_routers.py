"""Routers that share a database, and show there that they live."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Make the table of routers."""
    op.create_table(
        "routers",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("beat", sa.BigInteger, nullable=False),
    )
