"""The routes under `/admin`: what their bodies hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import msgspec
from msgspec import Meta

from enginehouse.accounts import Key, Scope
from enginehouse.config import Limits, Name
from enginehouse.wire.decode import Decoder

_Seconds = Annotated[float, Meta(gt=0, le=10 * 365 * 86_400)]


class NewKey(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A key to make; the lists name what it is for, all there are without them.

    With `allow_unknown` they may name what is not served yet.
    """

    name: Name
    models: tuple[Name, ...] | None = None
    endpoints: tuple[Name, ...] | None = None
    profiles: tuple[Name, ...] | None = None
    allow_unknown: bool = False
    admin: bool = False
    expires_in_s: _Seconds | None = None
    limits: Limits = Limits()

    @property
    def scope(self) -> Scope:
        """What it is for."""
        return Scope(models=self.models, endpoints=self.endpoints, profiles=self.profiles, admin=self.admin)


class Rotation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A key that gets a new secret; the old one is good for `overlap_s` beside it."""

    name: Name
    overlap_s: Annotated[float, Meta(ge=0, le=365 * 86_400)] = 0.0


class Expiry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A key that is good for `expires_in_s` from now, or for ever (null)."""

    name: Name
    expires_in_s: _Seconds | None


class Revocation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A key that lets nobody in any more."""

    name: Name


class NewLimits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The limits of a key, in place of those it had."""

    name: Name
    limits: Limits


class ShownKey(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A key as it is told of; `secret` only where it has just been made. Times are Unix times."""

    name: str
    created_at: float
    expires_at: float | None = None
    revoked_at: float | None = None
    old_until: float | None = None
    models: tuple[str, ...] | None = None
    endpoints: tuple[str, ...] | None = None
    profiles: tuple[str, ...] | None = None
    admin: bool = False
    limits: dict[str, int] | None = None
    secret: str | None = None


class ShownKeys(msgspec.Struct, frozen=True):
    """All keys."""

    keys: Sequence[ShownKey]


decode_new_key = Decoder(NewKey).decode
decode_rotation = Decoder(Rotation).decode
decode_expiry = Decoder(Expiry).decode
decode_revocation = Decoder(Revocation).decode
decode_limits = Decoder(NewLimits).decode
encode = msgspec.json.Encoder().encode


def shown(key: Key, secret: str | None = None) -> ShownKey:
    """What is told of *key*."""
    scope = key.scope
    return ShownKey(
        name=key.name,
        created_at=key.created_at,
        expires_at=key.expires_at,
        revoked_at=key.revoked_at,
        old_until=key.old_until,
        models=scope.models,
        endpoints=scope.endpoints,
        profiles=scope.profiles,
        admin=scope.admin,
        limits={name: limit for name, limit in msgspec.structs.asdict(key.limits).items() if limit} or None,
        secret=secret,
    )
