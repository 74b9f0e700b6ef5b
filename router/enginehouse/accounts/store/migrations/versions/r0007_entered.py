"""Up to where charges of a router's requests are entries."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Make room for it."""
    op.add_column("routers", sa.Column("entered", sa.BigInteger))
