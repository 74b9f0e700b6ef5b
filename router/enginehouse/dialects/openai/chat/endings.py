"""Where an answer begins and ends other than by the model's own will: fields that servers of open models have."""

from __future__ import annotations

from typing import Any

from enginehouse.dialects.openai.chat.messages import AssistantMessage, RefusalPart
from enginehouse.dialects.openai.chat.request import ChatRequest, JsonObjectFormat, JsonSchemaFormat
from enginehouse_plugin.errors import InvalidRequest


def check_endings(chat: ChatRequest) -> None:
    """Refuse *chat* where what it says of its answer's beginning and end does not go with the rest.

    Raises:
        InvalidRequest: naming the field.
    """
    continues, begins = chat.continue_final_message, chat.add_generation_prompt
    if begins is not None and begins is bool(continues):
        wanted = "false where 'continue_final_message' is true" if continues else "true: the answer is the assistant's"
        raise _invalid("add_generation_prompt", f"it can only be {wanted}")
    if continues:
        _check_final_message(chat)
    most = [limit for limit in (chat.max_completion_tokens, chat.max_tokens) if limit is not None]
    check_min_tokens(chat.min_tokens, min(most, default=None))
    for name in ("continue_final_message", "min_tokens", "ignore_eos"):
        if getattr(chat, name):
            if chat.tools and chat.tool_choice != "none":
                raise _invalid(name, "it cannot be combined with 'tools', whose calls begin and end by themselves")
            if isinstance(chat.response_format, JsonObjectFormat | JsonSchemaFormat):
                raise _invalid(name, "it cannot be combined with 'response_format', which says where the answer ends")


def check_min_tokens(least: int | None, most: int | None) -> None:
    """Refuse to want at least *least* tokens of at most *most*.

    Raises:
        InvalidRequest: naming the field.
    """
    if least is not None and most is not None and least > most:
        raise _invalid("min_tokens", f"{least} tokens are more than the most that the answer may have, {most}")


def said_of_endings(asked: Any) -> dict[str, Any]:  # of either endpoint
    """The fields that *asked* has of these, as the contract has them."""
    names = ("min_tokens", "ignore_eos", "continue_final_message")
    return {name: value for name in names if (value := getattr(asked, name, None)) is not None}


def _check_final_message(chat: ChatRequest) -> None:
    at = len(chat.messages) - 1
    last = chat.messages[at]
    if type(last) is not AssistantMessage:
        raise _invalid("continue_final_message", f"'messages[{at}]', the last one, is not the assistant's")
    if not at:
        raise _invalid("continue_final_message", "there is no message before the one that is to be continued")
    parts = last.content if isinstance(last.content, tuple) else ()
    holds_other = last.tool_calls or last.refusal or last.reasoning or last.reasoning_content
    if holds_other or not last.content or any(isinstance(part, RefusalPart) for part in parts):
        told = f"only text can be continued, and 'messages[{at}]' holds something else, or nothing"
        raise _invalid("continue_final_message", told)


def _invalid(param: str, problem: str) -> InvalidRequest:
    return InvalidRequest(f"Invalid '{param}': {problem}.", param=param)
