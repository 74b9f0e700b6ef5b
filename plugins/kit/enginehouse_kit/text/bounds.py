"""Bounds that every engine keeps the same way: the context, the vocabulary, and the temperature."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, TypeVar

import msgspec

from enginehouse_plugin.errors import ContextTooLong, InvalidRequest, LoadFailed
from enginehouse_plugin.request import AssistantMessage, Chat, GenerationRequest, Message, TextPart, Tool

_Result = TypeVar("_Result")
_QUICK_BYTES: Final = 64 * 1024

GREEDY_BELOW = 1e-5
"""A temperature so small that only the likeliest token is left, to the precision of logits: it means 0. What is divided
by a much smaller one is no number any more."""


def room_for(request: GenerationRequest, prompt_tokens: int, context_tokens: int) -> int:
    """Tokens that the completion may have: as many as are asked for, at most what the prompt leaves.

    Raises:
        ContextTooLong: the prompt leaves no room, or less than what the request asks for and must fit.
    """
    room = context_tokens - prompt_tokens
    wanted = room if request.max_tokens is None else request.max_tokens
    if room < 1 or (request.max_tokens_must_fit and wanted > room):
        raise ContextTooLong(prompt_tokens=prompt_tokens, limit_tokens=context_tokens, max_tokens=request.max_tokens)
    return min(wanted, room)


def check_context(wanted: int | None, trained: int | None) -> None:
    """Check that a model was made for a context of *wanted* tokens, where both are known.

    Raises:
        LoadFailed: it was made for less.
    """
    if wanted is not None and trained and wanted > trained:
        raise LoadFailed(
            f"context_tokens = {wanted} is more than the {trained} tokens that this model was trained for.",
            retryable=False,
            code="context_too_long",
        )


def check_length(texts: Iterable[str], context_tokens: int, longest_token_bytes: int) -> None:
    """Check that *texts* can fit the context at all, before they are tokenized: tokenizers take seconds for megabytes.

    Raises:
        ContextTooLong: they have more bytes than *context_tokens* tokens of *longest_token_bytes* bytes.
    """
    least = -(-sum(len(text.encode()) for text in texts) // longest_token_bytes)
    if least > context_tokens:
        raise ContextTooLong(prompt_tokens=least, limit_tokens=context_tokens, is_lower_bound=True)


def check_chat(chat: Chat, context_tokens: int, longest_token_bytes: int | None, tools: Sequence[Tool] = ()) -> int:
    """Check that *chat* can fit the context at all, before a template is rendered with it.

    Returns the bytes to be worked on, those of *tools* among them. Each message takes a token at least, which opens
    it; templates trim contents, and write arguments of calls anew: what has six bytes there may be one.

    Raises:
        ContextTooLong: it has more messages than *context_tokens*, or more bytes than so many tokens hold.
    """
    messages = chat.messages
    if len(messages) > context_tokens:
        raise ContextTooLong(prompt_tokens=len(messages), limit_tokens=context_tokens, is_lower_bound=True)
    text_bytes = sum(len(text.strip().encode()) for message in messages for text in _texts(message))
    calls = [call for message in messages if isinstance(message, AssistantMessage) for call in message.tool_calls or ()]
    call_bytes = sum(len(call.function.arguments.strip().encode()) for call in calls)
    if longest_token_bytes:
        least = -(-(text_bytes + call_bytes // 6) // longest_token_bytes)
        if least > context_tokens:
            raise ContextTooLong(prompt_tokens=least, limit_tokens=context_tokens, is_lower_bound=True)
    return text_bytes + call_bytes + (len(msgspec.json.encode(tools)) if tools else 0)


async def apart(size_bytes: int, work: Callable[[], _Result]) -> _Result:
    """Do *work*, which takes time by *size_bytes*: here, or in a thread where the event loop would wait for it."""
    return work() if size_bytes <= _QUICK_BYTES else await asyncio.to_thread(work)


def _texts(message: Message) -> Iterator[str]:
    if isinstance(message.content, str):
        yield message.content
    else:
        yield from (part.text for part in message.content or () if isinstance(part, TextPart))


def check_bias(request: GenerationRequest, vocabulary_size: int) -> None:
    """Check that every biased token exists.

    Raises:
        InvalidRequest: one is not in the vocabulary.
    """
    for token_id in request.logit_bias:
        if not 0 <= token_id < vocabulary_size:
            raise InvalidRequest(
                f"'logit_bias' names token {token_id}, which is not in this model's vocabulary "
                f"(0 to {vocabulary_size - 1}).",
                param="logit_bias",
            )


def checked_ids(token_ids: Sequence[int], vocabulary_size: int) -> list[int]:
    """The ids of a prompt of tokens.

    Raises:
        InvalidRequest: one is not in the vocabulary.
    """
    for at, token_id in enumerate(token_ids):
        if not 0 <= token_id < vocabulary_size:
            raise InvalidRequest(
                f"Token id {token_id} is not in the vocabulary (0 to {vocabulary_size - 1}).",
                param=f"prompt[{at}]",
            )
    return list(token_ids)
