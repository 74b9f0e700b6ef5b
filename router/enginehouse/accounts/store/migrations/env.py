"""What Alembic runs for each upgrade: the migrations, in the transaction that is open already."""

from __future__ import annotations

from alembic import context

from enginehouse.accounts.store.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
