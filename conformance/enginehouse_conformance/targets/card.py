"""What a target says of its model at `/models`, taken for its declaration where nobody gives one.

Enginehouse's own form, as far as it bears on rules:

    {"id": "m", "context_length": 8192, "features": ["n", …], "declared_features": ["n", …], "limits": {"n": 128}}

`features` are those that requests may use; `declared_features` are there as soon as the model has been loaded. Other
servers have no such fields, and nothing is taken from them.

A target that speaks for itself must gain nothing by a lie. What it has not is asked for and must be refused by name,
what it has must be honoured, as with any declaration. That it never reasons could not be seen so: no request asks for
that. Therefore nothing is declared of it unless it says that it does, and the rules about reasoning look. Nor is a
limit taken that leaves nothing to try: one choice, or none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from enginehouse_conformance.declared import NAMED, Declared
from enginehouse_conformance.wire.client import Request
from enginehouse_conformance.wire.faults import WireFault
from enginehouse_plugin import FEATURES

from .base import Recording

if TYPE_CHECKING:
    from .url import UrlTarget

_UNSEEN = frozenset({"reasoning"})
"""Features whose absence no request and no rule shows."""
_LEAST = {"n": 2, "top_logprobs": 1}
"""By limit, what leaves something to try."""


class _Card(msgspec.Struct, frozen=True):
    id: str
    declared_features: frozenset[str]
    features: frozenset[str]
    limits: dict[str, int] = {}
    context_length: int | None = None


class _Models(msgspec.Struct, frozen=True):
    data: list[msgspec.Raw]


async def declared_at_models(target: UrlTarget) -> Declared | None:
    """The declaration that *target* makes of its model, or None where it makes none that can be read."""
    request = Request(method="GET", url=target.url("/models"), headers=target.headers())
    try:
        reply = await target.exchange(request, Recording())
    except WireFault:
        return None
    return read_card(reply.body, target.model) if reply.status == 200 else None


def read_card(body: bytes, model: str) -> Declared | None:
    """What the list of models *body* declares of *model*, or None."""
    try:
        cards = msgspec.json.decode(body, type=_Models).data
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return next((_declared(card) for card in map(_read, cards) if card is not None and card.id == model), None)


def _read(entry: msgspec.Raw) -> _Card | None:
    try:
        return msgspec.json.decode(entry, type=_Card)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None  # another server's form, or another model's


def _declared(card: _Card) -> Declared | None:
    if not card.declared_features:
        return None
    has = card.features & FEATURES.keys()
    common = Declared(
        limits={name: most for name, most in card.limits.items() if most >= _LEAST.get(name, 1)},
        context_tokens=card.context_length if (card.context_length or 0) > 0 else None,
    )
    if has >= _UNSEEN:
        return msgspec.structs.replace(common, features=has)
    return msgspec.structs.replace(common, absent=frozenset(FEATURES) - has - _UNSEEN, also=has & NAMED)
