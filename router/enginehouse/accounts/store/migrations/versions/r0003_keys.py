"""Keys of clients, by their hashes."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Make the table of keys."""
    op.create_table(
        "keys",
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("sha256", sa.String, nullable=False, unique=True),
        sa.Column("old_sha256", sa.String),
        sa.Column("old_until", sa.Double),
        sa.Column("models", sa.String),
        sa.Column("endpoints", sa.String),
        sa.Column("profiles", sa.String),
        sa.Column("is_admin", sa.Boolean, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("expires_at", sa.Double),
        sa.Column("revoked_at", sa.Double),
        sa.Column("changed", sa.BigInteger, nullable=False),
    )
    op.create_index("keys_changed", "keys", ["changed"])
