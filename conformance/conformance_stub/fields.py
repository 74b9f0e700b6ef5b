"""What the stub allows in each field of a request: a function per field that returns the problem, or None."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

Body = dict[str, Any]  # JSON
Problem = str | None
FieldCheck = Callable[[Any, Body], Problem]

EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh")
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_ROLES = ("system", "developer", "user", "assistant", "tool")
_PARTS: dict[str, type] = {"text": str, "image_url": dict, "input_audio": dict, "file": dict}
_INT64 = 2**63


def number(low: float, high: float) -> FieldCheck:
    """A number from *low* to *high*."""

    def problem(value: Any, body: Body) -> Problem:
        del body
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            return f"must be a number from {low:g} to {high:g}"
        return None

    return problem


def integer(low: int, high: int | None = None) -> FieldCheck:
    """A whole number from *low* to *high*."""

    def problem(value: Any, body: Body) -> Problem:
        del body
        if isinstance(value, bool) or not isinstance(value, int) or value < low or (high is not None and value > high):
            return f"must be a whole number from {low}" + ("" if high is None else f" to {high}")
        return None

    return problem


def boolean(value: Any, body: Body) -> Problem:
    """True or false."""
    del body
    return None if isinstance(value, bool) else "must be true or false"


def text(value: Any, body: Body) -> Problem:
    """A string."""
    del body
    return None if isinstance(value, str) else "must be a string"


def messages(value: Any, body: Body) -> Problem:
    """At least one message, each of a known role with the content it needs, tool replies matched."""
    del body
    if not isinstance(value, list) or not value:
        return "must be an array with at least one message"
    calls: set[str] = set()
    for at, message in enumerate(value):
        if not isinstance(message, dict):
            return f"[{at}] must be an object"
        problem = _message(message)
        if problem:
            return f"[{at}]{problem}"
        calls |= {call["id"] for call in message.get("tool_calls") or ()}
        if message["role"] == "tool" and message.get("tool_call_id") not in calls:
            return f"[{at}].tool_call_id matches no earlier call"
    return None


def _message(message: Body) -> Problem:
    role = message.get("role")
    if role not in _ROLES:
        return f".role must be one of {', '.join(_ROLES)}"
    for name in ("name", "tool_call_id", "refusal", "reasoning_content"):
        if message.get(name) is not None and not isinstance(message[name], str):
            return f".{name} must be a string"
    for call in message.get("tool_calls") or ():
        function = call.get("function") if call.get("type") == "function" else None
        told = [call.get("id"), *([function.get("name"), function.get("arguments")] if function else [None])]
        if not all(isinstance(each, str) for each in told):
            return ".tool_calls must have id, type, function.name and function.arguments"
    content = message.get("content")
    if content is None:
        return None if role == "assistant" else ".content is required"
    if isinstance(content, str):
        return None
    if not isinstance(content, list):
        return ".content must be a string or an array of parts"
    for at, part in enumerate(content):
        kind = part.get("type") if isinstance(part, dict) else None
        if kind not in _PARTS or not isinstance(part.get(kind), _PARTS[kind]):
            return f".content[{at}] must be a part of type {', '.join(_PARTS)}"
    return None


def stop(value: Any, body: Body) -> Problem:
    """A string, or up to four; not empty."""
    del body
    items = [value] if isinstance(value, str) else value
    if not isinstance(items, list) or not 1 <= len(items) <= 4:
        return "must be a string or an array of 1 to 4 strings"
    if not all(isinstance(item, str) and item for item in items):
        return "must hold strings that are not empty"
    return None


def logit_bias(value: Any, body: Body) -> Problem:
    """An object from token ids to -100..100."""
    del body
    if not isinstance(value, dict):
        return "must be an object"
    for key, bias in value.items():
        if not key.isdecimal():
            return f"key {key!r} is no token id"
        if isinstance(bias, bool) or not isinstance(bias, int | float) or not -100 <= bias <= 100:
            return f"[{key}] must be a number from -100 to 100"
    return None


def top_logprobs(value: Any, body: Body) -> Problem:
    """0 to 20, and only with logprobs."""
    if body.get("logprobs") is not True:
        return "needs logprobs to be true"
    return integer(0, 20)(value, body)


def response_format(value: Any, body: Body) -> Problem:
    """A known type; json_schema with name and schema."""
    del body
    kind = value.get("type") if isinstance(value, dict) else None
    if kind not in ("text", "json_object", "json_schema"):
        return ".type must be text, json_object or json_schema"
    if kind == "json_schema":
        inner = value.get("json_schema")
        if not isinstance(inner, dict) or not isinstance(inner.get("name"), str):
            return ".json_schema.name is required"
        if not isinstance(inner.get("schema"), dict):
            return ".json_schema.schema is required, an object"
    return None


def tools(value: Any, body: Body) -> Problem:
    """Functions with distinct, well-formed names."""
    del body
    if not isinstance(value, list):
        return "must be an array"
    names: set[str] = set()
    for at, entry in enumerate(value):
        function = entry.get("function") if isinstance(entry, dict) else None
        if not isinstance(function, dict) or entry.get("type") != "function":
            return f"[{at}] must be of type function"
        name = function.get("name")
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            return f"[{at}].function.name must match {_NAME.pattern}"
        if name in names:
            return f"[{at}].function.name {name!r} is given twice"
        names.add(name)
    return None


def tool_choice(value: Any, body: Body) -> Problem:
    """None, auto, required, or a tool that is given."""
    given = body.get("tools") or []
    if value in ("none", "auto"):
        return None
    if not given:
        return "needs tools"
    if value == "required":
        return None
    name = value.get("function", {}).get("name") if isinstance(value, dict) else None
    if not isinstance(value, dict) or value.get("type") != "function" or not isinstance(name, str):
        return "must be none, auto, required, or a function by name"
    if name not in [tool["function"]["name"] for tool in given]:
        return f"names {name!r}, which is none of the tools"
    return None


def stream_options(value: Any, body: Body) -> Problem:
    """Only with stream; include_usage a boolean."""
    if body.get("stream") is not True:
        return "needs stream to be true"
    if not isinstance(value, dict) or not isinstance(value.get("include_usage", False), bool):
        return ".include_usage must be true or false"
    return None


def metadata(value: Any, body: Body) -> Problem:
    """Up to 16 pairs; keys up to 64 characters, values strings of up to 512."""
    del body
    if not isinstance(value, dict) or len(value) > 16:
        return "must be an object of up to 16 pairs"
    for key, entry in value.items():
        if len(key) > 64:
            return f"key {key[:20]!r}… is over 64 characters"
        if not isinstance(entry, str) or len(entry) > 512:
            return f"[{key}] must be a string of up to 512 characters"
    return None


def template_variables(value: Any, body: Body) -> Problem:
    """An object."""
    del body
    return None if isinstance(value, dict) else "must be an object"


def min_tokens(value: Any, body: Body) -> Problem:
    """From 0 to the most that the answer may have."""
    most = [body[name] for name in ("max_tokens", "max_completion_tokens") if isinstance(body.get(name), int)]
    return integer(0, min(most, default=None))(value, body)


def continue_final_message(value: Any, body: Body) -> Problem:
    """True only behind a message of the assistant that is text."""
    given = body.get("messages")
    last = given[-1] if isinstance(given, list) and given and isinstance(given[-1], dict) else {}
    if value is True and not (last.get("role") == "assistant" and last.get("content")):
        return "needs a last message of the assistant, with text"
    return boolean(value, body)


def add_generation_prompt(value: Any, body: Body) -> Problem:
    """The opposite of continue_final_message."""
    if value is bool(body.get("continue_final_message")):
        return "must be the opposite of continue_final_message"
    return boolean(value, body)


def reasoning_effort(value: Any, body: Body) -> Problem:
    """One of the documented efforts."""
    del body
    return None if value in EFFORTS else f"must be one of {', '.join(EFFORTS)}"


FIELDS: dict[str, FieldCheck] = {
    "model": text,
    "messages": messages,
    "stream": boolean,
    "stream_options": stream_options,
    "max_tokens": integer(1),
    "max_completion_tokens": integer(1),
    "n": integer(1, 8),
    "min_tokens": min_tokens,
    "ignore_eos": boolean,
    "continue_final_message": continue_final_message,
    "add_generation_prompt": add_generation_prompt,
    "temperature": number(0, 2),
    "top_p": number(0, 1),
    "top_k": integer(-1),
    "min_p": number(0, 1),
    "repetition_penalty": number(0.01, 10),
    "frequency_penalty": number(-2, 2),
    "presence_penalty": number(-2, 2),
    "seed": integer(-_INT64, _INT64 - 1),
    "stop": stop,
    "logit_bias": logit_bias,
    "logprobs": boolean,
    "top_logprobs": top_logprobs,
    "response_format": response_format,
    "tools": tools,
    "tool_choice": tool_choice,
    "parallel_tool_calls": boolean,
    "reasoning_effort": reasoning_effort,
    "chat_template_kwargs": template_variables,
    "user": text,
    "metadata": metadata,
}
