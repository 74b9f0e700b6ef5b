"""The tables of accounts as they are in a database of this version."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Double,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
)
from sqlalchemy.types import TypeEngine

from .columns import COLUMNS

HEAD: Final = "0007"
"""The last migration: what a database of this version has in its table `alembic_version`."""

metadata = MetaData()
_Id = BigInteger().with_variant(Integer, "sqlite")  # there only an INTEGER counts by itself

_KINDS: Final[dict[str, tuple[type[TypeEngine[Any]] | TypeEngine[Any], bool]]] = {
    "ended_at": (Double, False),
    "duration_s": (Double, False),
    "status": (Integer, False),
    "error_code": (String, True),
    "request_id": (String, False),
    "endpoint": (String, False),
    "key": (String, True),
    "model": (String, False),
    "instance_id": (String, False),
    "is_stream": (Boolean, True),
    "is_cancelled": (Boolean, False),
    "prompt_tokens": (BigInteger, False),
    "cached_tokens": (BigInteger, False),
    "completion_tokens": (BigInteger, False),
    "reasoning_tokens": (BigInteger, False),
    "host": (Text, True),
    "prices": (Text, True),
    "cost": (_Id, True),
    "charge": (_Id, True),
}


def _columns() -> list[Column[object]]:
    return [Column(name, _KINDS[name][0], nullable=_KINDS[name][1]) for name in COLUMNS]


usage = Table(
    "usage",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("router", String),  # NULL in the oldest files
    Column("serial", BigInteger),
    *_columns(),
    Index("usage_ended_at", "ended_at"),
    Index("usage_request", "router", "serial", unique=True),
)
"""What has ended: one row for each request that reached an engine."""

running = Table(
    "running",
    metadata,
    Column("router", String, primary_key=True),
    Column("serial", BigInteger, primary_key=True, autoincrement=False),
    *_columns(),
)
"""What runs, as it was last noted: what it took if its router is gone."""

routers = Table(
    "routers",
    metadata,
    Column("id", String, primary_key=True),
    Column("beat", BigInteger, nullable=False),
    Column("entered", BigInteger),
)
"""Who uses a database. A router that shares it counts its beat up while it lives.

One that does not share it enters charges some time after their rows: `entered` is the last row whose charge is in
entries. NULL: all are.
"""

keys = Table(
    "keys",
    metadata,
    Column("name", String, primary_key=True),
    Column("sha256", String, nullable=False, unique=True),
    Column("old_sha256", String),
    Column("old_until", Double),
    Column("models", String),
    Column("endpoints", String),
    Column("profiles", String),
    Column("is_admin", Boolean, nullable=False),
    Column("limits", String, nullable=False, server_default="{}"),
    Column("created_at", Double, nullable=False),
    Column("expires_at", Double),
    Column("revoked_at", Double),
    Column("changed", BigInteger, nullable=False),
    Index("keys_changed", "changed"),
)
"""Keys of clients, by their hashes; lists of names are JSON, and NULL is all there are."""

balances = Table(
    "balances",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("key", String, nullable=False, unique=True),
    Column("balance", BigInteger, CheckConstraint("balance >= 0"), nullable=False),
    Column("leased", BigInteger, CheckConstraint("leased >= 0 AND leased <= balance"), nullable=False),
    Column("monthly", BigInteger),
    Column("month", String),
    Column("spent", BigInteger, nullable=False),
)
"""What keys have: the sum of their entries, and the part of it that routers have leased. All amounts are in units.

`spent` is what was charged in `month`, of which `monthly` is the most.
"""

entries = Table(
    "entries",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("at", Double, nullable=False),
    Column("month", String, nullable=False),
    Column("key", String, nullable=False),
    Column("kind", String, nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("requests", BigInteger),
    Column("router", String),
    Column("reference", String),
    Index("entries_key", "key", "month"),
    Index("entries_reference", "key", "reference", unique=True),
)
"""What changed a key's credit, and never changes itself."""

leases = Table(
    "leases",
    metadata,
    Column("router", String, primary_key=True),
    Column("key", String, primary_key=True),
    Column("amount", BigInteger, CheckConstraint("amount >= 0"), nullable=False),
)
"""What a router may spend of a key's credit without asking."""
parts = Table(
    "parts",
    metadata,
    Column("subject", String, primary_key=True),
    Column("kind", String, primary_key=True),
    Column("router", String, primary_key=True),
    Column("used", BigInteger, nullable=False),
    Column("unused", BigInteger, nullable=False),
    Column("is_short", Boolean, nullable=False),
    Column("frees_s", Double, nullable=False),
    Column("said", BigInteger, nullable=False),
    Index("parts_router", "router"),
)
"""What routers that share a database hold of limits; what those that are gone used of a day is nobody's."""
