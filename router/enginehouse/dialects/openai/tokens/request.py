"""The structs of requests about tokens, and of their answers: names and forms are those of vLLM's server."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from enginehouse.dialects.openai.chat.messages import ChatMessage, Json, Refused, Strict
from enginehouse.dialects.openai.chat.request import CustomTool, FunctionTool, TokenID

MOST_TOKENS = 65_536
MOST_BYTES_PER_TOKEN = 64
"""Bytes that a text to tokenize may have for each token of the context: engines take seconds for megabytes."""
MOST_BYTES_OF_ANY = 1024 * 1024
"""Bytes that it may have for any context."""

_Model = Annotated[str, Meta(description="ID of a model in /v1/models.", min_length=1, examples=["smollm2-135m"])]


class TokenizeBody(Strict, frozen=True, kw_only=True):
    """A request to `POST /tokenize`: of a `prompt`, or of `messages`."""

    model: _Model
    prompt: Annotated[str, Meta(description="A text; not with 'messages'.")] | None = None
    messages: Annotated[tuple[ChatMessage, ...], Meta(description="A conversation.", min_length=1)] | None = None
    add_special_tokens: (
        Annotated[
            bool,
            Meta(
                description="Add the tokens that the model wants around a text, as completions do; of a conversation "
                "they are the template's own."
            ),
        ]
        | None
    ) = None
    return_token_strs: Annotated[bool, Meta(description="Tell the text of each token, too.")] | None = None
    tools: Annotated[tuple[FunctionTool | CustomTool, ...], Meta(description="Only with 'messages'.")] | None = None
    chat_template_kwargs: Annotated[Json, Meta(description="Only with 'messages'.")] | None = None
    chat_template: Annotated[Refused, Meta(description="Templates are the owner's.")] = None
    mm_processor_kwargs: Annotated[Refused, Meta(description="Engines read images in one way here.")] = None


class DetokenizeBody(Strict, frozen=True, kw_only=True):
    """A request to `POST /detokenize`."""

    model: _Model
    tokens: Annotated[tuple[TokenID, ...], Meta(max_length=MOST_TOKENS, description="Token ids of the model.")]


class TokenizeAnswer(msgspec.Struct, kw_only=True):
    """The tokens of a prompt. `max_model_len` is the context, of prompt and answer together."""

    count: int
    max_model_len: int
    tokens: tuple[int, ...]
    token_strs: tuple[str, ...] | None = None


class DetokenizeAnswer(msgspec.Struct, kw_only=True):
    """The text of tokens."""

    prompt: str
