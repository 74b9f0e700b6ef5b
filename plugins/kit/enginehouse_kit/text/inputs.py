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


async def prepared(request: EmbeddingRequest, limit: int, tokenize: Tokenize) -> list[str | Sequence[int]]:
    """What an engine is sent for each input: text that cannot be too long as it is, else its tokens, cut if asked for.

    Raises:
        InputTooLong: an input has more than *limit* tokens, and is not to be cut.
    """
    return [await _prepared(at, one, limit, request, tokenize) for at, one in enumerate(request.inputs)]


async def _prepared(
    at: int, given: Text | Tokens, limit: int, request: EmbeddingRequest, tokenize: Tokenize
) -> str | Sequence[int]:
    is_cut = request.truncate_tokens is not None
    if isinstance(given, Text) and len(given.text.encode()) + SPARE <= limit:
        return given.text
    tokens = given.token_ids if isinstance(given, Tokens) else await tokenize(given.text, True)
    if len(tokens) <= limit:
        return tokens
    if not is_cut:
        raise InputTooLong(at, tokens=len(tokens), limit_tokens=limit)
    return tokens[:limit] if isinstance(given, Tokens) else cut(tokens, await tokenize(given.text, False), limit)


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
    request: RerankRequest, limit: int, frame_tokens: int, tokenize: Tokenize, detokenize: Detokenize
) -> list[str]:
    """The documents of *request* such that each fits into *limit* tokens with the query and the model's *frame_tokens*.

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
            query = len(await tokenize(request.query, False)) + frame_tokens
            if query >= limit:
                raise InvalidRequest(
                    f"Invalid 'query': it has {query - frame_tokens} tokens, and leaves no room for a document in the "
                    f"{limit} that this request may use, {frame_tokens} of which are the model's own.",
                    param="query",
                )
        tokens = await tokenize(document, False)
        if query + len(tokens) <= limit:
            found.append(document)
        elif request.truncate_tokens is None:
            raise InputTooLong(at, tokens=query + len(tokens), limit_tokens=limit)
        else:
            found.append(await _first(tokens, limit - query, tokenize, detokenize))
    return found


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
