"""The routes of credit and usage under `/admin`: what their bodies and queries hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, get_args

import msgspec
from msgspec import Meta

from enginehouse.accounts import By, UsageTotal
from enginehouse.accounts.credit_desk import Entry, Standing
from enginehouse.config import Name
from enginehouse.wire.decode import Decoder
from enginehouse_plugin.errors import InvalidRequest

_Amount = Annotated[str, Meta(min_length=1, max_length=40)]
_BY = get_args(By)


class Grant(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An amount to add to a key's credit, or to take from it: once for each `reference` that it is said with."""

    key: Name
    amount: _Amount
    reference: Name | None = None


class Budget(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The most that a key may spend in a calendar month; null: as much as it has."""

    key: Name
    monthly: _Amount | None


class Standings(msgspec.Struct, frozen=True):
    """All keys that pay."""

    keys: Sequence[Standing]


class History(msgspec.Struct, frozen=True):
    """What changed a key's credit."""

    entries: Sequence[Entry]


class Usage(msgspec.Struct, frozen=True):
    """What requests took."""

    usage: Sequence[UsageTotal]


decode_grant = Decoder(Grant).decode
decode_budget = Decoder(Budget).decode
encode = msgspec.json.Encoder().encode


def asked_history(query: Sequence[tuple[str, str]]) -> tuple[str, int]:
    """The key, and how many entries are asked for."""
    found = _known(query, ("key", "last"))
    if not found["key"]:
        raise InvalidRequest("The query must name a 'key'.", param="key")
    return found["key"][-1], _number(found, "last", Annotated[int, Meta(ge=1, le=1000)], 100)


def asked_usage(query: Sequence[tuple[str, str]]) -> tuple[tuple[By, ...], float | None]:
    """What usage is told apart by, and of how many days."""
    found = _known(query, ("by", "days"))
    names = dict.fromkeys(name for value in found["by"] for name in value.split(","))
    for name in names:
        if name not in _BY:
            raise InvalidRequest(f"Invalid 'by': '{name}'. Allowed: {', '.join(_BY)}.", param="by")
    days = _number(found, "days", Annotated[float, Meta(gt=0)], None)
    return tuple(name for name in _BY if name in names), days


def _known(query: Sequence[tuple[str, str]], names: Sequence[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {name: [] for name in names}
    for name, value in query:
        if name not in found:
            raise InvalidRequest(f"Unknown parameter '{name}'. Allowed: {', '.join(names)}.", param=name)
        found[name].append(value)
    return found


def _number(
    found: dict[str, list[str]], name: str, kind: Any, default: float | None
) -> Any:  # of the kind that is asked for
    if not found[name]:
        return default
    try:
        return msgspec.convert(found[name][-1], kind, strict=False)
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"Invalid '{name}': {error}.", param=name) from None
