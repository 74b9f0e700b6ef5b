"""Usage, and what runs: also out of the files that were counted by themselves, as versions 1 and 2."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")
_OLD = (
    "ended_at, request_id, key, model, instance_id, status, is_cancelled, duration_s, prompt_tokens, cached_tokens, "
    "completion_tokens, error_code"
)


def upgrade() -> None:
    """Make the tables, or go on with those of a file of version 1 or 2."""
    connection = op.get_bind()
    version = connection.exec_driver_sql("PRAGMA user_version").scalar() if connection.dialect.name == "sqlite" else 0
    if version == 0:
        op.create_table(
            "usage",
            sa.Column("id", _ID, primary_key=True),
            sa.Column("router", sa.String),
            sa.Column("serial", sa.BigInteger),
            *_columns(),
        )
        op.create_index("usage_ended_at", "usage", ["ended_at"])
        op.create_index("usage_request", "usage", ["router", "serial"], unique=True)
    if version == 1:
        for column in (
            sa.Column("router", sa.Text),
            sa.Column("serial", sa.Integer),
            sa.Column("endpoint", sa.Text, nullable=False, server_default=""),
            sa.Column("is_stream", sa.Integer),
            sa.Column("reasoning_tokens", sa.Integer, nullable=False, server_default="0"),
        ):
            op.add_column("usage", column)
        op.create_index("usage_request", "usage", ["router", "serial"], unique=True)
        op.execute(f"CREATE TABLE IF NOT EXISTS running (owner, serial, {_OLD})")  # the owner was a process
        op.execute(f"INSERT INTO usage ({_OLD}) SELECT {_OLD} FROM running")  # noqa: S608  # a constant
        op.drop_table("running")
    if version != 2:
        op.create_table(
            "running",
            sa.Column("router", sa.String, primary_key=True),
            sa.Column("serial", sa.BigInteger, primary_key=True, autoincrement=False),
            *_columns(),
        )
    if connection.dialect.name == "sqlite":
        op.execute("PRAGMA user_version = 3")  # so that routers of version 1 and 2 leave it alone


def _columns() -> list[sa.Column[object]]:
    return [
        sa.Column("ended_at", sa.Double, nullable=False),
        sa.Column("duration_s", sa.Double, nullable=False),
        sa.Column("status", sa.Integer, nullable=False),
        sa.Column("error_code", sa.String),
        sa.Column("request_id", sa.String, nullable=False),
        sa.Column("endpoint", sa.String, nullable=False),
        sa.Column("key", sa.String),
        sa.Column("model", sa.String, nullable=False),
        sa.Column("instance_id", sa.String, nullable=False),
        sa.Column("is_stream", sa.Boolean),
        sa.Column("is_cancelled", sa.Boolean, nullable=False),
        sa.Column("prompt_tokens", sa.BigInteger, nullable=False),
        sa.Column("cached_tokens", sa.BigInteger, nullable=False),
        sa.Column("completion_tokens", sa.BigInteger, nullable=False),
        sa.Column("reasoning_tokens", sa.BigInteger, nullable=False),
    ]
