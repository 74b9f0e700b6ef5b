"""A request without what a model lacks."""

from __future__ import annotations

from typing import Any

import msgspec

from enginehouse_plugin import Chat, DeveloperMessage, GenerationRequest, SystemMessage
from enginehouse_plugin.errors import UnsupportedFeature

_FIELDS: dict[str, tuple[str, ...]] = {
    "logprobs": ("logprobs", "top_logprobs"),
    "response_format": ("output",),
    "tools": ("tools", "tool_choice", "parallel_tool_calls"),
}
"""Fields of a request that a parameter stands for, where that is not the one of its name."""


def without(request: GenerationRequest, lack: UnsupportedFeature) -> GenerationRequest | None:
    """Return *request* as it would be without what *lack* is about; None where it would be no such request any more.

    The number of choices is the answer's form, and what messages hold is what is asked: these stay.
    """
    changed: dict[str, Any]
    if lack.feature == "developer_role" and isinstance(request.prompt, Chat):
        messages = request.prompt.messages
        changed = {"prompt": Chat(tuple(_of_the_system(m) if isinstance(m, DeveloperMessage) else m for m in messages))}
    elif lack.param is None or lack.param == "n" or "[" in lack.param:
        return None
    elif lack.param == "tool_choice":
        changed = {"tool_choice": "auto"}
    else:
        silent = GenerationRequest(id="", prompt=request.prompt)
        changed = {name: getattr(silent, name) for name in _FIELDS.get(lack.param, (lack.param,))}
    return msgspec.structs.replace(request, **changed)


def _of_the_system(message: DeveloperMessage) -> SystemMessage:
    return SystemMessage(message.content, message.name)
