"""Where keys are made and changed: by the command line and the routes under `/admin`, beside the routers that run.

A router learns of it within about a second, from the database. None of this knows of requests, and each call is one
transaction on a connection of its own, so it may be asked from any thread.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import msgspec

from enginehouse.config import Config, Limits
from enginehouse_plugin.errors import RequestError

from .keys import Key, Scope, hash_secret, new_secret
from .store import shared_engine

if TYPE_CHECKING:
    from sqlalchemy import Connection


class KeyExists(RequestError):
    """There is, or was, a key of that name: usage is told apart by names."""

    code = "key_exists"


class KeyNotFound(RequestError):
    """There is no key of that name in the database."""

    code = "key_not_found"


class Desk:
    """The keys in the database that *config* names.

    Every method may raise `StoreError`: the database cannot be used now.

    Raises:
        ConfigError: it names none, or that cannot be used.
    """

    def __init__(self, config: Config) -> None:
        self._engine = shared_engine(config)
        self._prefix = config.accounts.key_prefix
        self._taken = {key.name for key in config.keys}

    def all_keys(self) -> list[Key]:
        """All keys, those that are revoked or have expired too, in the order of their names."""
        from .store.keys import changed_keys

        with self._engine() as connection:
            return sorted(changed_keys(connection, 0), key=lambda key: key.name)

    def create(
        self, name: str, scope: Scope, *, limits: Limits | None = None, expires_in_s: float | None = None
    ) -> tuple[Key, str]:
        """Make a key called *name*; returns it and its secret, which nobody can be told again.

        Raises:
            KeyExists: there is one of that name.
        """
        from .store.keys import find_key, put_key

        secret = new_secret(self._prefix)
        now = time.time()
        with self._engine() as connection:
            if name in self._taken or find_key(connection, name) is not None:
                raise KeyExists(f"There is a key '{name}' already, or was: take another name.", param="name")
            key = Key(
                name=name,
                sha256=hash_secret(secret),
                scope=scope,
                limits=limits or Limits(),
                created_at=now,
                expires_at=None if expires_in_s is None else now + expires_in_s,
            )
            return put_key(connection, key, is_new=True), secret

    def rotate(self, name: str, *, overlap_s: float = 0.0) -> tuple[Key, str]:
        """Give the key called *name* a new secret, which is returned; the old one is good for *overlap_s* still.

        Raises:
            KeyNotFound: there is none, or it is revoked.
        """
        from .store.keys import put_key

        secret = new_secret(self._prefix)
        with self._engine() as connection:
            key = msgspec.structs.replace(old := self._found(connection, name), sha256=hash_secret(secret))
            if overlap_s > 0:
                key = msgspec.structs.replace(key, old_sha256=old.sha256, old_until=time.time() + overlap_s)
            else:
                key = msgspec.structs.replace(key, old_sha256=None, old_until=None)
            return put_key(connection, key, is_new=False), secret

    def limit(self, name: str, limits: Limits) -> Key:
        """Keep the key called *name* to *limits* from now on.

        Raises:
            KeyNotFound: there is none, or it is revoked.
        """
        from .store.keys import put_key

        with self._engine() as connection:
            key = msgspec.structs.replace(self._found(connection, name), limits=limits)
            return put_key(connection, key, is_new=False)

    def expire(self, name: str, *, in_s: float | None) -> Key:
        """Let the key called *name* be good for *in_s* seconds from now, or for ever (None), whatever held before.

        Raises:
            KeyNotFound: there is none, or it is revoked.
        """
        from .store.keys import put_key

        with self._engine() as connection:
            expires_at = None if in_s is None else time.time() + in_s
            key = msgspec.structs.replace(self._found(connection, name), expires_at=expires_at)
            return put_key(connection, key, is_new=False)

    def revoke(self, name: str) -> Key:
        """Let nobody in with the key called *name* any more.

        Raises:
            KeyNotFound: there is none, or it is revoked already.
        """
        from .store.keys import put_key

        with self._engine() as connection:
            key = msgspec.structs.replace(self._found(connection, name), revoked_at=time.time())
            return put_key(connection, key, is_new=False)

    def _found(self, connection: Connection, name: str) -> Key:
        from .store.keys import find_key

        key = find_key(connection, name)
        if key is None or key.revoked_at is not None:
            raise KeyNotFound(f"There is no key '{name}' in the database, or it is revoked.", param="name")
        return key
