"""Keys in the database: read by routers, changed by the desk."""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import Connection, RowMapping, func, insert, select, update

from enginehouse.accounts.keys import Key, Scope
from enginehouse.config import Limits

from .tables import keys

_SCOPE = ("models", "endpoints", "profiles")


def changed_keys(connection: Connection, since: int) -> list[Key]:
    """The keys that have changed since the change number *since*."""
    query = select(keys).where(keys.c.changed > since).order_by(keys.c.changed)
    return [_key(row) for row in connection.execute(query).mappings()]


def find_key(connection: Connection, name: str) -> Key | None:
    """The key called *name*; None: there is none."""
    row = connection.execute(select(keys).where(keys.c.name == name)).mappings().one_or_none()
    return None if row is None else _key(row)


def put_key(connection: Connection, key: Key, *, is_new: bool) -> Key:
    """Keep *key* as it is from now on; returns it with the number of this change."""
    if connection.dialect.name == "postgresql":  # numbers are given in the order in which they are seen
        connection.exec_driver_sql("LOCK TABLE keys IN EXCLUSIVE MODE")
    last = connection.execute(select(func.max(keys.c.changed))).scalar() or 0
    key = msgspec.structs.replace(key, changed=last + 1)
    values: dict[str, Any] = msgspec.structs.asdict(key)  # of columns of several types
    scope: Scope = values.pop("scope")
    values["is_admin"] = scope.admin
    values["limits"] = msgspec.json.encode(key.limits).decode()
    for name in _SCOPE:
        names = getattr(scope, name)
        values[name] = None if names is None else msgspec.json.encode(names).decode()
    if is_new:
        connection.execute(insert(keys).values(values))
    else:
        connection.execute(update(keys).where(keys.c.name == key.name).values(values))
    return key


def _key(row: RowMapping) -> Key:
    values = dict(row)
    scope = {name: values.pop(name) for name in _SCOPE}
    names = {
        name: None if text is None else msgspec.json.decode(text, type=tuple[str, ...]) for name, text in scope.items()
    }
    limits = msgspec.json.decode(values.pop("limits"), type=Limits)
    return Key(limits=limits, scope=Scope(**names, admin=bool(values.pop("is_admin"))), **values)
