"""Models in Anthropic's form: `GET …/models` by pages, and one model, for clients of that dialect.

Both dialects have these routes. Which one a client speaks, its headers tell.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Literal
from urllib.parse import parse_qsl

import msgspec

from enginehouse.dialects.openai.models import ModelCard
from enginehouse_plugin.errors import InvalidRequest

_LIFECYCLES = ("active", "deprecated", "retired")
_MOST_PARTS = 64
_PAGE, _MOST = 20, 1000


class ModelInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One model. `max_input_tokens` counts prompt and answer together, and is null until the model has been loaded."""

    id: str
    type: Literal["model"] = "model"
    display_name: str
    created_at: str
    lifecycle: Literal["active"] = "active"
    max_input_tokens: int | None = None
    max_tokens: int | None = None


class ModelPage(msgspec.Struct, frozen=True, kw_only=True):
    """Some of the models; `has_more` tells whether others follow in the direction that was asked for."""

    data: list[ModelInfo]
    has_more: bool
    first_id: str | None
    last_id: str | None


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """Which models are asked for: at most *limit*, behind *after_id* or before *before_id*."""

    limit: int = _PAGE
    after_id: str | None = None
    before_id: str | None = None
    has_active: bool = True


_encode = msgspec.json.Encoder().encode


def speaks_anthropic(named: Mapping[bytes, bytes]) -> bool:
    """Whether a request with the headers *named* is one of this dialect: by its version, or by where its key stands."""
    return b"anthropic-version" in named or (b"x-api-key" in named and b"authorization" not in named)


def page_in(query: bytes) -> Page:
    """Read what *query* asks for.

    Raises:
        InvalidRequest: naming what is wrong in it.
    """
    try:
        given = parse_qsl(query.decode("latin-1"), keep_blank_values=True, max_num_fields=_MOST_PARTS)
    except ValueError:
        raise InvalidRequest(f"The query has more than {_MOST_PARTS} parts.", param=None) from None
    fields: dict[str, str] = {}
    lifecycles: list[str] = []
    for name, value in given:
        if name in ("lifecycle", "lifecycle[]"):
            lifecycles.append(value)
        elif name in ("beta", "limit", "after_id", "before_id"):
            if name in fields:
                raise _invalid(name, "it is given twice")
            fields[name] = value
        else:
            raise _invalid(name[:64], "it is not known. Known are 'limit', 'after_id', 'before_id' and 'lifecycle'")
    if fields.get("after_id") is not None and fields.get("before_id") is not None:
        raise _invalid("before_id", "it does not go with 'after_id'")
    for lifecycle in lifecycles:
        if lifecycle not in _LIFECYCLES:
            raise _invalid("lifecycle", f"'{lifecycle[:64]}' is none of {', '.join(_LIFECYCLES)}")
    return Page(
        limit=_limit(fields.get("limit", str(_PAGE))),
        after_id=fields.get("after_id"),
        before_id=fields.get("before_id"),
        has_active=not lifecycles or "active" in lifecycles,
    )


def model_page(cards: Sequence[ModelCard], page: Page) -> bytes:
    """Encode the body of `GET …/models`: what *page* asks for of *cards*.

    Raises:
        InvalidRequest: no model has the id that the page begins or ends at.
    """
    shown = list(cards) if page.has_active else []
    has_more = False
    if page.before_id is not None:
        before = shown[: _at(cards, "before_id", page.before_id)]
        shown, has_more = before[-page.limit :], len(before) > page.limit
    else:
        if page.after_id is not None:
            shown = shown[_at(cards, "after_id", page.after_id) + 1 :]
        shown, has_more = shown[: page.limit], len(shown) > page.limit
    infos = [_info(card) for card in shown]
    return _encode(
        ModelPage(
            data=infos,
            has_more=has_more,
            first_id=infos[0].id if infos else None,
            last_id=infos[-1].id if infos else None,
        )
    )


def model_info(card: ModelCard) -> bytes:
    """Encode the body of `GET …/models/{id}`."""
    return _encode(_info(card))


def _info(card: ModelCard) -> ModelInfo:
    created = datetime.fromtimestamp(card.created, UTC)
    return ModelInfo(
        id=card.id,
        display_name=card.description or card.id,
        created_at=created.strftime("%Y-%m-%dT%H:%M:%SZ"),
        max_input_tokens=card.context_length,
        max_tokens=card.context_length,
    )


def _at(cards: Sequence[ModelCard], name: str, model_id: str) -> int:
    for at, card in enumerate(cards):
        if card.id == model_id:
            return at
    raise _invalid(name, f"there is no model '{model_id[:200]}'")


def _limit(given: str) -> int:
    limit = int(given) if given.isascii() and given.isdecimal() and len(given) <= len(str(_MOST)) else 0
    if not 1 <= limit <= _MOST:
        raise _invalid("limit", f"'{given[:64]}' is no integer from 1 to {_MOST}")
    return limit


def _invalid(name: str, problem: str) -> InvalidRequest:
    return InvalidRequest(f"Invalid query parameter '{name}': {problem}.", param=name)
