"""Texts that become vectors or scores: how they are cut, and what their weights say of them."""

from __future__ import annotations

import math
from array import array
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from enginehouse_kit.files import read_file
from enginehouse_plugin.embedding import EmbeddingRequest, RerankRequest
from enginehouse_plugin.errors import InputTooLong, InvalidRequest
from enginehouse_plugin.request import Text, Tokens

SPARE: Final = 16
"""Tokens that a text may have beyond its bytes: the model's own, and what its tokenizer writes before it."""

_MODES = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls", "pooling_mode_lasttoken": "last"}


Tokenize = Callable[[str, bool], Awaitable[Sequence[int]]]
"""Returns the tokens of a text, with the model's own ones around them or without."""
Detokenize = Callable[[Sequence[int]], Awaitable[str]]
"""Returns the text of tokens."""
_REPLACED = "\ufffd"  # stands for what is left of a character that was cut


async def prepared(
    request: EmbeddingRequest, limit: int, tokenize: Tokenize, longest_token_bytes: int | None = None
) -> list[str | Sequence[int]]:
    """What an engine is sent for each input: text that cannot be too long as it is, else its tokens, cut if asked for.

    No token has more than *longest_token_bytes*, where that is known: what is too long by far is not tokenized whole.

    Raises:
        InputTooLong: an input has more than *limit* tokens, and is not to be cut.
    """
    return [
        await _prepared(at, one, limit, request, tokenize, longest_token_bytes) for at, one in enumerate(request.inputs)
    ]


async def _prepared(
    at: int, given: Text | Tokens, limit: int, request: EmbeddingRequest, tokenize: Tokenize, longest: int | None
) -> str | Sequence[int]:
    is_cut = request.truncate_tokens is not None
    if isinstance(given, Tokens):
        if len(given.token_ids) > limit and not is_cut:
            raise InputTooLong(at, tokens=len(given.token_ids), limit_tokens=limit)
        return given.token_ids[:limit]
    if len(given.text.encode()) + SPARE <= limit:
        return given.text
    text = _bounded(at, given.text, limit, longest, is_cut=is_cut)
    tokens = await tokenize(text, True)
    if len(tokens) <= limit:
        return tokens
    if not is_cut:
        raise InputTooLong(at, tokens=len(tokens), limit_tokens=limit)
    return cut(tokens, await tokenize(text, False), limit)


def _bounded(at: int, text: str, limit: int, longest: int | None, *, is_cut: bool, before: int = 0) -> str:
    """As much of *text* as *limit* tokens behind *before* others can need, and as much again.

    Raises:
        InputTooLong: it has more, and is not to be cut.
    """
    least = before + _least(text, longest)
    if longest is None or least <= limit:
        return text
    if not is_cut:
        raise InputTooLong(at, tokens=least, limit_tokens=limit, is_lower_bound=True)
    return text[: 2 * limit * longest]


def _least(text: str, longest: int | None) -> int:
    """The least tokens that *text* can have."""
    return 0 if longest is None else -(-len(text.encode()) // longest)


def cut(tokens: Sequence[int], without: Sequence[int], limit: int) -> Sequence[int]:
    """The first *limit* of *tokens*, which are those of *without* and the model's own around them, which stay.

    Raises:
        InvalidRequest: nothing but these would be left.
    """
    size = len(without)
    before = next((at for at in range(len(tokens) - size + 1) if tokens[at : at + size] == without), 0)
    behind = tokens[before + size :]
    room = limit - before - len(behind)
    if room < 1:
        raise InvalidRequest(
            f"A text of {limit} tokens would have none of its own: the model puts {before + len(behind)} around it.",
            param="truncate_prompt_tokens",
        )
    return [*tokens[: before + room], *behind]


async def fitting(
    request: RerankRequest,
    limit: int,
    frame_tokens: int,
    tokenize: Tokenize,
    detokenize: Detokenize,
    longest_token_bytes: int | None = None,
) -> list[str]:
    """The documents of *request* such that each fits into *limit* tokens with the query and the model's *frame_tokens*.

    No token has more than *longest_token_bytes*, see `prepared`.

    Raises:
        InputTooLong: a document does not, and is not to be cut.
        InvalidRequest: the query leaves no room for a document.
    """
    query_bytes = len(request.query.encode())
    query: int | None = None
    found: list[str] = []
    for at, document in enumerate(request.documents):
        if query_bytes + len(document.encode()) + frame_tokens + SPARE <= limit:
            found.append(document)
            continue
        if query is None:
            query = frame_tokens + _least(request.query, longest_token_bytes)
            if query >= limit:
                raise _no_room(f"at least {query - frame_tokens}", limit, frame_tokens)
            query = frame_tokens + len(await tokenize(request.query, False))
            if query >= limit:
                raise _no_room(str(query - frame_tokens), limit, frame_tokens)
        is_cut = request.truncate_tokens is not None
        document = _bounded(at, document, limit, longest_token_bytes, is_cut=is_cut, before=query)
        tokens = await tokenize(document, False)
        if query + len(tokens) <= limit:
            found.append(document)
        elif not is_cut:
            raise InputTooLong(at, tokens=query + len(tokens), limit_tokens=limit)
        else:
            found.append(await _first(tokens, limit - query, tokenize, detokenize))
    return found


def _no_room(query: str, limit: int, frame_tokens: int) -> InvalidRequest:
    return InvalidRequest(
        f"Invalid 'query': it has {query} tokens, and leaves no room for a document in the {limit} that this request "
        f"may use, {frame_tokens} of which are the model's own.",
        param="query",
    )


async def _first(tokens: Sequence[int], room: int, tokenize: Tokenize, detokenize: Detokenize) -> str:
    """The text of the first of *tokens* that is not more than *room* of them when it is read again."""
    for size in range(room, 0, -1):
        text = (await detokenize(tokens[:size])).rstrip(_REPLACED)
        if len(await tokenize(text, False)) <= room:
            return text
    return ""


def pooling_in(folder: Path) -> str | None:
    """How the tokens of a text become one vector (`mean`, `cls`, `last`), as the weights in *folder* say, if they do.

    Source: `1_Pooling/config.json` of sentence-transformers.
    """
    try:
        found = msgspec.json.decode(read_file(folder / "1_Pooling" / "config.json"), type=dict[str, object])
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    if found.get("pooling_mode") in _MODES.values():  # since sentence-transformers 5.3
        return str(found["pooling_mode"])
    return next((mode for name, mode in _MODES.items() if found.get(name) is True), None)


def unit_vector(numbers: Sequence[float]) -> bytes:
    """The vector of *numbers* as the contract has it: of length one, in 32 bits each."""
    length = math.sqrt(math.fsum(number * number for number in numbers))
    return array("f", [number / length for number in numbers] if length else numbers).tobytes()
