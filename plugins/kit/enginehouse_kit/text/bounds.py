"""Bounds that every engine keeps the same way: the context, the vocabulary, and the temperature."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from enginehouse_plugin.errors import ContextTooLong, InvalidRequest
from enginehouse_plugin.request import GenerationRequest

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


def check_length(texts: Iterable[str], context_tokens: int, longest_token_bytes: int) -> None:
    """Check that *texts* can fit the context at all, before they are tokenized: tokenizers take seconds for megabytes.

    Raises:
        ContextTooLong: they have more bytes than *context_tokens* tokens of *longest_token_bytes* bytes.
    """
    least = -(-sum(len(text.encode()) for text in texts) // longest_token_bytes)
    if least > context_tokens:
        raise ContextTooLong(prompt_tokens=least, limit_tokens=context_tokens, is_lower_bound=True)


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
