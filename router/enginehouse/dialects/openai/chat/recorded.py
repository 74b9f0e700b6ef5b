"""The fields of a request that are recorded: they cannot change the answer, and are noted in the request's log line."""

from __future__ import annotations

from typing import Any

import msgspec

from enginehouse.dialects.openai.chat.request import ChatRequest


def recorded(chat: ChatRequest) -> dict[str, Any]:
    """Return what the request's log line holds of *chat*: the recorded fields that were given, as plain data.

    Of a prediction only that there was one: its content is as private as a prompt.
    """
    noted: dict[str, Any] = {}
    if chat.user is not None:
        noted["user"] = chat.user
    if chat.safety_identifier is not None:
        noted["safety_identifier"] = chat.safety_identifier
    if chat.metadata is not None:
        noted["metadata"] = chat.metadata
    if chat.prompt_cache_key is not None:
        noted["prompt_cache_key"] = chat.prompt_cache_key
    if chat.prompt_cache_options is not None:
        noted["prompt_cache_options"] = msgspec.to_builtins(chat.prompt_cache_options)
    if chat.prompt_cache_retention is not None:
        noted["prompt_cache_retention"] = chat.prompt_cache_retention
    if chat.prediction is not None:
        noted["prediction"] = True
    return noted
