"""Parts of limits that routers hold."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Make the table of parts."""
    op.create_table(
        "parts",
        sa.Column("subject", sa.String, primary_key=True),
        sa.Column("kind", sa.String, primary_key=True),
        sa.Column("router", sa.String, primary_key=True),
        sa.Column("used", sa.BigInteger, nullable=False),
        sa.Column("unused", sa.BigInteger, nullable=False),
        sa.Column("is_short", sa.Boolean, nullable=False),
        sa.Column("frees_s", sa.Double, nullable=False),
        sa.Column("said", sa.BigInteger, nullable=False),
    )
    op.create_index("parts_router", "parts", ["router"])
