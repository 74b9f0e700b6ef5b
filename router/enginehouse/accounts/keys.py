"""Keys of clients: only their hashes are kept, and a key is found by its hash in one look-up.

Some stand in the configuration, others in the database of accounts, where they are made, rotated and revoked while
routers run. A router has all of them in memory, so that no request waits for a database.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
import time
from collections.abc import Iterable, Sequence

import msgspec

from enginehouse.config import KeyConfig, Limits
from enginehouse_plugin.errors import EnginehouseError, RequestError

from .limits import Limiter

ANONYMOUS = "anonymous"
"""The name of all clients where no keys are configured."""
DEFAULT_PREFIX = "eh-"

_HINT = "Send it as 'Authorization: Bearer <key>'."
_NOBODY = (b"\0" * 32, "")  # what a key that is not known is compared with: as long as with one that is


class Unauthorized(EnginehouseError):
    """The request carries no key that is known; `code` tells a missing one from a wrong one."""

    code = "invalid_api_key"


class KeyNotAllowed(RequestError):
    """The key is known, and not for this."""

    code = "key_not_allowed"


def new_secret(prefix: str = DEFAULT_PREFIX) -> str:
    """A new secret of 256 random bits behind *prefix*, to be shown once and never stored."""
    return prefix + secrets.token_urlsafe(32)


def hash_secret(secret: str) -> str:
    """What is kept of *secret*: SHA-256 in hexadecimal.

    A plain hash is enough: a secret of 256 random bits cannot be guessed, unlike a password.
    """
    return hashlib.sha256(secret.encode()).hexdigest()


class Scope(msgspec.Struct, frozen=True, kw_only=True):
    """What a key may be used for; None: for all there are. `admin`: also for the routes under `/admin`."""

    models: tuple[str, ...] | None = None
    endpoints: tuple[str, ...] | None = None
    profiles: tuple[str, ...] | None = None
    admin: bool = False

    @property
    def is_bounded(self) -> bool:
        """Whether there is a request to an endpoint that it does not allow."""
        return not (self.models is None and self.endpoints is None and self.profiles is None)

    def allows_model(self, name: str, agent: str = "") -> bool:
        """Whether the key may use the model called *name*, led by the agent of that name, if one leads it.

        Who may use a model may use its agents, and who may use an agent has the model by that alone.
        """
        return self.models is None or name in self.models or agent in self.models

    def check(self, *, endpoint: str, model: str, profile: str, agent: str = "") -> None:
        """Let a request pass.

        Raises:
            KeyNotAllowed: the key is not for this.
        """
        if (
            self.allows_model(model, agent)
            and (self.endpoints is None or endpoint in self.endpoints)
            and (self.profiles is None or profile in self.profiles)
        ):
            return
        for kind, name, allowed, param in (
            ("endpoint", endpoint, self.endpoints, None),
            ("profile", profile, self.profiles, None),
            ("agent" if agent else "model", agent or model, self.models, "model"),
        ):
            if allowed is not None and name not in allowed:
                said = ", ".join(allowed) or "none"
                raise KeyNotAllowed(f"This API key is not for the {kind} '{name}', but for: {said}.", param=param)


_ALL = Scope()


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """A key of the database, without its secret. Times are Unix times.

    After a rotation `old_sha256` is good until `old_until`. `changed` counts the changes of all keys together.
    """

    name: str
    sha256: str
    old_sha256: str | None = None
    old_until: float | None = None
    scope: Scope = _ALL
    limits: Limits = Limits()
    created_at: float
    expires_at: float | None = None
    revoked_at: float | None = None
    changed: int = 0

    @property
    def hashes(self) -> tuple[str, ...]:
        """The hashes of its secrets, whether or not they let somebody in."""
        return (self.sha256,) if self.old_sha256 is None else (self.sha256, self.old_sha256)

    def digests(self, now: float) -> list[tuple[str, float | None]]:
        """The hashes that let somebody in at *now*, each with the time at which that ends."""
        if self.revoked_at is not None or (self.expires_at is not None and self.expires_at <= now):
            return []
        found = [(self.sha256, self.expires_at)]
        if self.old_sha256 is not None and self.old_until is not None and self.old_until > now:
            found.append((self.old_sha256, min(self.old_until, self.expires_at or self.old_until)))
        return found


class KeyRing:
    """The keys that are known. Without any, and if it is not said to be closed, everybody is let in as `anonymous`.

    What was found of a key holds as long as `generation` is the same object. `is_lenient_by` has the names of keys that
    say of themselves whether what a model lacks is left out of their requests, `bounded` those that are not for all.
    The *limiter* is told of their limits.
    """

    def __init__(
        self, keys: Sequence[KeyConfig] = (), *, is_closed: bool = False, limiter: Limiter | None = None
    ) -> None:
        self._is_closed = is_closed
        self._limiter = limiter
        self._lock = threading.Lock()
        self._configured: tuple[KeyConfig, ...] = ()
        self._stored: dict[str, Key] = {}
        self._known: dict[bytes, tuple[bytes, str]] = {}
        self._ends_at: float | None = None
        self.changed = 0
        self.replace(keys)

    def replace(self, keys: Sequence[KeyConfig]) -> None:
        """Know *keys* of a configuration from now on, and no others of it."""
        with self._lock:
            if self._limiter is not None:
                kept = {key.name for key in keys}
                self._limiter.forget_keys(key.name for key in self._configured if key.name not in kept)
            self._configured = tuple(keys)
            self.is_lenient_by: dict[str | None, bool] = {
                key.name: key.unsupported == "report" for key in keys if key.unsupported is not None
            }
            self._sort()

    def follow(self, keys: Sequence[Key]) -> None:
        """Know all *keys* that have changed in the database since the change number `changed`."""
        self.learn(keys)
        self.changed = max((self.changed, *(key.changed for key in keys)))

    def learn(self, keys: Iterable[Key]) -> None:
        """Know *keys* of the database as they are now, beside the others of it. Any thread may say so."""
        with self._lock:
            newer = {key.name: key for key in keys if key.changed > self._changed_at(key.name)}
            if newer:
                known = dict(self._known)
                for name in newer.keys() & self._stored.keys():
                    for sha256 in self._stored[name].hashes:
                        known.pop(bytes.fromhex(sha256), None)
                self._stored = {**self._stored, **newer}
                self._take(newer.values(), known, dict(self._scopes), self._ends_at)
            elif self._ends_at is not None and time.time() >= self._ends_at:
                self._sort()

    def _changed_at(self, name: str) -> int:
        known = self._stored.get(name)
        return 0 if known is None else known.changed

    def _sort(self) -> None:
        self._take(self._stored.values(), {}, {}, None)

    def _take(
        self,
        stored: Iterable[Key],
        known: dict[bytes, tuple[bytes, str]],
        scopes: dict[str | None, Scope],
        ends_at: float | None,
    ) -> None:
        """Let in by *stored* keys and those of the configuration, beside what is *known*."""
        now = time.time()
        limits: dict[str | None, Limits] = {}
        for key in stored:
            scopes[key.name] = key.scope
            limits[key.name] = key.limits
            for sha256, until in key.digests(now):
                digest = bytes.fromhex(sha256)
                known[digest] = (digest, key.name)
                if until is not None and (ends_at is None or until < ends_at):
                    ends_at = until
        for given in self._configured:  # last: what the owner has written stands
            scopes[given.name] = Scope(
                models=given.models, endpoints=given.endpoints, profiles=given.profiles, admin=given.admin
            )
            limits[given.name] = given.limits
            digest = bytes.fromhex(given.sha256)
            known[digest] = (digest, given.name)
        if self._limiter is not None:
            self._limiter.set_keys(limits)
        self._known, self._scopes, self._ends_at = known, scopes, ends_at
        self.bounded = {name: scope for name, scope in scopes.items() if scope is not _ALL and scope.is_bounded}
        """The scopes of keys that are not for everything."""
        self.generation = object()

    @property
    def is_open(self) -> bool:
        """Whether no key is asked for."""
        return not (self._is_closed or self._known)

    @property
    def of_file(self) -> list[bytes]:
        """The hashes of the keys of the configuration."""
        return [bytes.fromhex(key.sha256) for key in self._configured]

    def scope(self, name: str | None) -> Scope:
        """What the key called *name* may be used for."""
        return self._scopes.get(name, _ALL)

    def check(self, authorization: str | None) -> str:
        """The name of the key in *authorization*, the value of that header.

        Raises:
            Unauthorized: there is none, it is not a bearer's, or the key is not known.
        """
        if self.is_open:
            return ANONYMOUS
        if not authorization:
            raise Unauthorized(f"An API key is needed. {_HINT}", code="missing_api_key")
        scheme, _, secret = authorization.partition(" ")
        secret = secret.strip()
        if scheme.lower() != "bearer" or not secret:
            raise Unauthorized(f"The Authorization header holds no bearer key. {_HINT}")
        given = hashlib.sha256(secret.encode("utf-8", "surrogateescape")).digest()
        # Whoever guesses cannot choose the hash: how long the look-up takes tells nothing of a key.
        known, name = self._known.get(given, _NOBODY)
        if not hmac.compare_digest(given, known):
            raise Unauthorized("The API key is not known here.")
        return name
