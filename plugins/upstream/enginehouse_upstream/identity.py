"""What shows which server and model answer at a URL, for a price of a few tokens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

from enginehouse_kit.http.openai import encode
from enginehouse_kit.http.openai_schema import Chunk
from enginehouse_plugin.errors import EngineError

from .options import UpstreamOptions
from .servers import Card, ServerKind

if TYPE_CHECKING:
    from .client import Client

_PROMPT = "Count from one to five."
_TOKENS = 4  # few: what runs beside a request may move the last bits of logits, and so a later token


class _List(msgspec.Struct, frozen=True):
    data: list[Card] = []


_decode_list = msgspec.json.Decoder(_List).decode
_decode_answer = msgspec.json.Decoder(Chunk).decode


class Listing(msgspec.Struct, frozen=True):
    """What the list of models says: the status, the cards, and the header `server`."""

    status: int
    cards: tuple[Card, ...]
    server: str


async def listing(client: Client, prefix: str) -> Listing:
    """Ask for the list of models.

    Raises:
        EngineError: the server does not answer.
    """
    reply = await client.request("GET", f"{prefix}/models")
    cards: tuple[Card, ...] = ()
    if reply.status == 200:
        try:
            cards = tuple(_decode_list(reply.body).data)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            cards = ()  # it has a list, in a form of its own
    return Listing(reply.status, cards, reply.headers.get("server", ""))


def card_of(found: Listing, model: str) -> Card | None:
    """The card of *model*."""
    # Ollama lists `name:latest` for what is asked for as `name`.
    return next((card for card in found.cards if card.id in (model, f"{model}:latest")), None)


async def shown(
    client: Client, path: str, found: Listing, card: Card | None, kind: ServerKind, model: str, options: UpstreamOptions
) -> Mapping[str, str | float]:
    """What tells one server with its model from another: its header, the model's card, the answer to a fixed request.

    Raises:
        EngineError: the server does not answer.
    """
    identity: dict[str, str | float] = {"server": found.server or kind.name}
    if card is not None:
        parts = [card.id, card.owned_by or "", str(card.context_tokens or ""), str((card.meta or {}).get("size", ""))]
        identity["model"] = " ".join(part for part in parts if part)
    if options.identity_request:
        identity |= await _answer(client, path, kind, model, options)
    return identity


async def _answer(
    client: Client, path: str, kind: ServerKind, model: str, options: UpstreamOptions
) -> dict[str, str | float]:
    """The answer to a fixed greedy request, and where it tells, the log probability of its first token."""
    body = {
        **kind.neutral,
        "model": model,
        "messages": [{"role": "user", "content": _PROMPT}],
        "temperature": 0,
        options.max_tokens_field: _TOKENS,
    }
    if kind.tells_logprobs:
        body |= {"logprobs": True, "top_logprobs": 1}
    reply = await client.request("POST", path, encode(body))
    if reply.status != 200:
        return {"answer": f"status {reply.status}"}
    try:
        answer = _decode_answer(reply.body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as problem:
        raise EngineError(f"The server's answer cannot be read: {problem}") from problem
    choice = answer.choices[0] if answer.choices else None
    message = choice.message if choice is not None else None
    said = "" if message is None else message.content or message.reasoning_content or message.reasoning or ""
    found: dict[str, str | float] = {"answer": said}
    if choice is not None and choice.logprobs is not None and choice.logprobs.content:
        found["logprob"] = round(choice.logprobs.content[0].logprob, 2)
    return found
