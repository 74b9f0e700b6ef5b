"""Limits of keys."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Make room for the limits of each key."""
    op.add_column("keys", sa.Column("limits", sa.String, nullable=False, server_default="{}"))
