"""What the document of each profile says of requests: rows that the rules of the section PRF go through."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

import msgspec

from enginehouse_plugin import Profile
from enginehouse_plugin.profile import Field

_USER = {"role": "user", "content": "Say one word."}
_TOOL = {
    "type": "function",
    "function": {
        "name": "find_city",
        "description": "Finds a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
_CALL = {"id": "call_1", "type": "function", "function": {"name": "find_city", "arguments": '{"city": "Rome"}'}}
_FORMAT = {"name": "word", "schema": {"type": "object", "properties": {"word": {"type": "boolean"}}}}
_NO_CONTEXT = 10_000_000
"""Tokens: more than any context has."""
_PAIRS = {f"{number:02d}": "x" for number in range(16)}


class Row(NamedTuple):
    """A request with *field* in it as `fields` have it, which needs the target's features `needs`."""

    field: str
    fields: dict[str, Any]
    needs: tuple[str, ...] = ()


_TAKEN: dict[str, Sequence[Row]] = {
    "model": (Row("model", {}),),
    "messages": (Row("messages", {"messages": [_USER]}),),
    "stream": (Row("stream", {"stream": False}),),
    "stop": (
        Row("stop", {"stop": "zqx"}, ("stop",)),
        Row("stop", {"stop": ["zqx", "qxz", "xzq", "zxq"]}, ("stop",)),
    ),
    "n": (Row("n", {"n": 1}),),
    "max_tokens": (Row("max_tokens", {"max_tokens": 2}),),
    "max_completion_tokens": (Row("max_completion_tokens", {"max_completion_tokens": 2}),),
    "top_p": (Row("top_p", {"top_p": 1}), Row("top_p", {"top_p": 0.1})),
    "seed": (Row("seed", {"seed": 7}, ("seed",)),),
    "user": (Row("user", {"user": "a-user"}),),
    "metadata": (
        Row("metadata", {"metadata": {"k" * 64: "v" * 512}}),
        Row("metadata", {"metadata": _PAIRS}),
    ),
    "logit_bias": (Row("logit_bias", {"logit_bias": {"17": -100, "18": 100}}, ("logit_bias",)),),
    "logprobs": (Row("logprobs", {"logprobs": True}, ("logprobs",)),),
    "stream_options": (),  # goes with a stream, which the section SSE reads
    "response_format": (
        Row(
            "response_format",
            {"response_format": {"type": "json_schema", "json_schema": _FORMAT}},
            ("json_schema",),
        ),
    ),
    "tools": (Row("tools", {"tools": [_TOOL]}, ("tools",)),),
    "tool_choice": (
        Row("tool_choice", {"tools": [_TOOL], "tool_choice": "none"}, ("tools",)),
        Row("tool_choice", {"tools": [_TOOL], "tool_choice": "auto"}, ("tools",)),
        Row(
            "tool_choice",
            {"tools": [_TOOL], "tool_choice": {"type": "function", "function": {"name": "find_city"}}},
            ("tools", "tool_choice_named"),
        ),
    ),
    "messages[].name": (Row("messages[].name", {"messages": [{**_USER, "name": "ann"}]}),),
    "messages[].refusal": (
        Row("messages[].refusal", {"messages": [_USER, {"role": "assistant", "refusal": "No."}, _USER]}),
    ),
    "messages[].reasoning_content": (
        Row(
            "messages[].reasoning_content",
            {"messages": [_USER, {"role": "assistant", "content": "One.", "reasoning_content": "Hm."}, _USER]},
        ),
    ),
    "messages[].tool_calls": (
        Row(
            "messages[].tool_calls",
            {
                "messages": [
                    _USER,
                    {"role": "assistant", "content": None, "tool_calls": [_CALL]},
                    {"role": "tool", "tool_call_id": "call_1", "content": "Rome"},
                ],
                "tools": [_TOOL],
            },
            ("tools",),
        ),
    ),
}
"""How a field is taken. Those below another one are in its rows; numbers are tried at the ends of their range."""

_BESIDE = {"top_logprobs": {"logprobs": True}}
_NEEDS = {"top_logprobs": ("logprobs",), "frequency_penalty": ("frequency_penalty",),
          "presence_penalty": ("presence_penalty",), "reasoning_effort": ("reasoning_effort",)}  # fmt: skip


@cache
def documented(profile: str) -> Profile:
    """The document of *profile*, as data."""
    text = (files("enginehouse_conformance.rules") / "documented" / f"{profile}.toml").read_text(encoding="utf-8")
    return msgspec.convert({"name": profile, **tomllib.loads(text)}, Profile, str_keys=True)


def taken(document: Profile) -> Iterator[Row]:
    """Requests that *document* allows, a field and a value of it at a time."""
    for place, field in document.fields.items():
        for value in (field.minimum, field.maximum):
            if value is not None:
                yield Row(place, {**_BESIDE.get(place, {}), place: value}, _NEEDS.get(place, ()))
        if place == "messages[].role":
            yield from (_with_role(role) for role in field.values)
        elif "." not in place and field.values and not field.is_open:
            yield from (Row(place, {place: value}, _needs_of(place, value)) for value in field.values)
        if "." not in place:
            yield from (Row(place, {place: value}) for value in _default(field))
        yield from _TAKEN.get(place, ())


def beyond(document: Profile) -> Iterator[Row]:
    """Requests with a value beyond a bound that *document* has."""
    for place, field in document.fields.items():
        step = 1 if _is_whole(field) else 0.1
        for bound, over in ((field.minimum, -step), (field.maximum, step)):
            if bound is not None:
                yield Row(place, {**_BESIDE.get(place, {}), place: bound + over}, _NEEDS.get(place, ()))
        if place == "stop" and field.max_items is not None:
            yield Row(place, {"stop": [f"zq{number}" for number in range(field.max_items + 1)]})
        if place == "max_tokens" and document.max_tokens_must_fit:
            yield Row(place, {"max_tokens": _NO_CONTEXT})
        if place == "metadata":
            yield Row(place, {"metadata": {**_PAIRS, "16": "x"}})
            yield Row(place, {"metadata": {"k" * 65: "v"}})
            yield Row(place, {"metadata": {"k": "v" * 513}})
        if place == "logit_bias":
            yield from (Row(place, {"logit_bias": {"17": bias}}, ("logit_bias",)) for bias in (-101, 101))
        if place == "tools[].function.name":
            for name in ("f" * 65, "two words", ""):
                function = {**_TOOL["function"], "name": name}  # type: ignore[dict-item]  # a dictionary
                yield Row("tools", {"tools": [{"type": "function", "function": function}]}, ("tools",))
        if place == "stream_options":
            yield Row(place, {"stream_options": {"include_usage": True}})
        if place == "top_logprobs":
            yield Row(place, {"top_logprobs": 2}, ("logprobs",))


def unlisted(document: Profile) -> Iterator[Row]:
    """Requests with a value that *document* does not list where it lists the valid ones."""
    for place, field in document.fields.items():
        if not field.values or field.is_open:
            continue
        if place == "messages[].role":
            others = {"developer", "tool", "function", "robot"} - set(field.values)
            yield from (Row("role", {"messages": _with_role(role).fields["messages"]}) for role in sorted(others))
        elif place == "tools[].type":
            yield Row("tools", {"tools": [{**_TOOL, "type": "custom"}]}, ("tools",))
        elif "." not in place:
            yield from (Row(place, {place: value}) for value in ("utmost", "max") if value not in field.values)


def incomplete(document: Profile) -> Iterator[Row]:
    """Requests that lack what *document* requires; None stands for a field that is left out."""
    for place, field in document.fields.items():
        if not field.required:
            continue
        *above, name = place.replace("[]", "").split(".")
        if not above:
            yield Row(name, {name: None})
        elif above == ["messages"]:
            yield Row(name, {"messages": [_without(_USER, [name])]})
        elif above[0] == "tools":
            yield Row(name, {"tools": [_without(_TOOL, [*above[1:], name])]}, ("tools",))
        elif above[:2] == ["messages", "tool_calls"]:
            message = {"role": "assistant", "content": None, "tool_calls": [_without(_CALL, [*above[2:], name])]}
            yield Row(name, {"messages": [_USER, message, _USER]}, ("tools",))


def _with_role(role: str) -> Row:
    if role == "assistant":
        messages: list[Any] = [_USER, {"role": role, "content": "One."}, _USER]
    elif role == "tool":
        return Row("messages[].role", {**_TAKEN["messages[].tool_calls"][0].fields}, ("tools",))
    elif role == "user":
        messages = [_USER]
    else:
        messages = [{"role": role, "content": "Be brief."}, _USER]
    return Row("messages[].role", {"messages": messages}, ("developer_role",) if role == "developer" else ())


def _default(field: Field) -> tuple[Any, ...]:
    """What a request may say that leaves a field at its default, where that is a value: also null."""
    if field.default is not None:
        return (field.default,)
    try:
        return (msgspec.json.decode(field.default_is.encode()),)
    except msgspec.DecodeError:  # words
        return ()


def _needs_of(place: str, value: str) -> tuple[str, ...]:
    return () if value == "none" else _NEEDS.get(place, ())


def _is_whole(field: Field) -> bool:
    return field.type.lower() == "integer"


def _without(part: dict[str, Any], steps: Sequence[str]) -> dict[str, Any]:
    first, *rest = steps
    if not rest:
        return {name: value for name, value in part.items() if name != first}
    return {**part, first: _without(part[first], rest)}
