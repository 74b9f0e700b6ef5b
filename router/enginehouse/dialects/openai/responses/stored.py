"""What clients may do with responses that are kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from enginehouse.dialects.openai.responses.answers import DeletedResponse, ItemList
from enginehouse.dialects.openai.responses.items import InputItem, InputMessage
from enginehouse.dialects.openai.responses.kept import KeptResponses
from enginehouse.dialects.openai.responses.rules import invalid

_MOST_ITEMS = 100
_SHOWN_ITEMS = 20
_encode = msgspec.json.Encoder().encode
_items = msgspec.json.Decoder(tuple[InputItem, ...]).decode


def show(kept: KeptResponses, response_id: str, key: str, query: bytes) -> bytes:
    """Return the response as it is now.

    Raises:
        ResponseNotFound: none is kept for this key.
        InvalidRequest: something of *query* is not supported.
    """
    given = _query(query, {"stream": _flag, "include": str, "include_obfuscation": _flag, "starting_after": _count})
    if given.get("stream"):
        raise invalid("stream", "a kept response is given whole here; leave it out")
    if "starting_after" in given:
        raise invalid("starting_after", "it is for streams, and a kept response is given whole here")
    return kept.get(response_id, key).body


def list_items(kept: KeptResponses, response_id: str, key: str, query: bytes) -> bytes:
    """Return what the response was made of, earlier responses included: a page, by default the newest first.

    Raises:
        ResponseNotFound: none is kept for this key.
        InvalidRequest: something of *query* cannot be used.
    """
    given = _query(query, {"after": str, "include": str, "limit": _count, "order": str})
    limit, order = given.get("limit", _SHOWN_ITEMS), given.get("order", "desc")
    if not 1 <= limit <= _MOST_ITEMS:
        raise invalid("limit", f"expected a value from 1 to {_MOST_ITEMS}")
    if order not in ("asc", "desc"):
        raise invalid("order", "supported values are 'asc' and 'desc'")
    found = kept.get(response_id, key)
    items: list[Any] = [item for each in found.items[: len(found.items) - found.said] for item in _items(each)]
    if order == "desc":
        items.reverse()
    if (after := given.get("after")) is not None:
        at = next((at for at, item in enumerate(items) if item.id == after), None)
        if at is None:
            raise invalid("after", f"the response has no item '{after[:100]}'")
        items = items[at + 1 :]
    page = items[:limit]
    return _encode(
        ItemList(
            data=[_shown(item) for item in page],
            first_id=page[0].id if page else None,
            last_id=page[-1].id if page else None,
            has_more=len(items) > limit,
        )
    )


def cancel(kept: KeptResponses, response_id: str, key: str) -> bytes:
    """End the response, which runs in the background, and return it; one that has ended stays as it is.

    Raises:
        ResponseNotFound: none is kept for this key.
        InvalidRequest: it does not run in the background.
    """
    found = kept.get(response_id, key)
    if not found.is_background:
        raise invalid("response_id", "only a response with 'background' can be cancelled", code="not_cancellable")
    if found.cancel is not None:
        found.cancel()
    return kept.get(response_id, key).body


def delete(kept: KeptResponses, response_id: str, key: str) -> bytes:
    """Keep the response no more; what runs of it ends.

    Raises:
        ResponseNotFound: none is kept for this key.
    """
    kept.delete(response_id, key)
    return _encode(DeletedResponse(id=response_id))


def _shown(item: Any) -> Any:
    """*item* in full: what a message said as text is a part, and its status is told."""
    if type(item) is not InputMessage:
        return item
    content: Any = item.content
    if isinstance(content, str):
        kind = "output_text" if item.role == "assistant" else "input_text"
        content = [{"type": kind, "text": content}]
    return {
        "id": item.id,
        "type": "message",
        "status": item.status or "completed",
        "role": item.role,
        "content": content,
    }


def _query(query: bytes, known: Mapping[str, Callable[[str], Any]]) -> dict[str, Any]:
    """Read *query* by what is *known*; lists may be written `include[]=`."""
    given: dict[str, Any] = {}
    for name, value in parse_qsl(query.decode("latin-1"), keep_blank_values=True):
        own = name.removesuffix("[]")
        if own not in known:
            raise invalid(name[:64], f"this route does not have it. Known here: {', '.join(sorted(known))}")
        try:
            given[own] = known[own](value)
        except ValueError:
            raise invalid(own, f"'{value[:64]}' is no such value") from None
    return given


def _flag(value: str) -> bool:
    if value not in ("true", "false", "1", "0"):
        raise ValueError(value)
    return value in ("true", "1")


def _count(value: str) -> int:
    if not value.isascii() or not value.isdigit() or len(value) > 9:
        raise ValueError(value)
    return int(value)
