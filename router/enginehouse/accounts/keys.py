"""Keys of clients: only their hashes are kept, and they are compared in constant time."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Sequence

from enginehouse.config import KeyConfig
from enginehouse_plugin.errors import EnginehouseError

ANONYMOUS = "anonymous"
"""The name of all clients where no keys are configured."""

_HINT = "Send it as 'Authorization: Bearer <key>'."


class Unauthorized(EnginehouseError):
    """The request carries no key that is known; `code` tells a missing one from a wrong one."""

    code = "invalid_api_key"


def new_secret() -> str:
    """A new secret of 256 random bits, to be shown once and never stored."""
    return f"eh-{secrets.token_urlsafe(32)}"


def hash_secret(secret: str) -> str:
    """What the configuration keeps of *secret*: SHA-256 in hexadecimal.

    A plain hash is enough: a secret of 256 random bits cannot be guessed, unlike a password.
    """
    return hashlib.sha256(secret.encode()).hexdigest()


class KeyRing:
    """The keys of a configuration. Without any, everybody may come in, under the name `anonymous`."""

    def __init__(self, keys: Sequence[KeyConfig] = ()) -> None:
        self.replace(keys)

    def replace(self, keys: Sequence[KeyConfig]) -> None:
        """Know *keys* from now on, and no others."""
        self._keys = tuple((bytes.fromhex(key.sha256), key.name) for key in keys)

    @property
    def is_open(self) -> bool:
        """Whether no key is asked for."""
        return not self._keys

    def check(self, authorization: str | None) -> str:
        """The name of the key in *authorization*, the value of that header.

        Raises:
            Unauthorized: there is none, it is not a bearer's, or the key is not known.
        """
        if not self._keys:
            return ANONYMOUS
        if not authorization:
            raise Unauthorized(f"An API key is needed. {_HINT}", code="missing_api_key")
        scheme, _, secret = authorization.partition(" ")
        secret = secret.strip()
        if scheme.lower() != "bearer" or not secret:
            raise Unauthorized(f"The Authorization header holds no bearer key. {_HINT}")
        given = hashlib.sha256(secret.encode("utf-8", "surrogateescape")).digest()
        found: str | None = None
        for known, name in self._keys:  # all of them, so that time does not tell which one matched
            if hmac.compare_digest(given, known):
                found = name
        if found is None:
            raise Unauthorized("The API key is not known here.")
        return found
