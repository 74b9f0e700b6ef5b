"""The stub's Responses."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from typing import Any

from conformance_stub import fields
from conformance_stub.fields import Body, FieldCheck, Problem
from conformance_stub.wire_parts import entries

from .base import Dialect, Made, Said, set_where

_LOGPROBS = "message.output_text.logprobs"
_INCLUDES = (_LOGPROBS, "reasoning.encrypted_content", "file_search_call.results", "web_search_call.results",
             "computer_call_output.output.image_url", "message.input_image.image_url")  # fmt: skip


def _one_of(*values: str) -> FieldCheck:
    return lambda value, _body: None if value in values else f"must be one of {', '.join(values)}"


def _input(value: Any, body: Body) -> Problem:
    if isinstance(value, str):
        return None
    if not isinstance(value, list) or not value:
        return "must be a text, or an array of at least one item"
    for at, item in enumerate(value):
        if not isinstance(item, dict):
            return f"[{at}] must be an object"
        kind = item.get("type", "message")
        needed = {
            "message": ("role", "content"),
            "function_call": ("call_id", "name", "arguments"),
            "function_call_output": ("call_id", "output"),
            "reasoning": ("summary",),
        }.get(kind)
        if needed is None:
            return f"[{at}].type is not known"
        missing = [name for name in needed if item.get(name) is None]
        if missing:
            return f"[{at}].{missing[0]} is required"
    return fields.messages(_messages(value), body)


def _messages(items: list[Any]) -> list[Body]:
    made: list[Body] = []
    for item in items:
        match item.get("type", "message"):
            case "message":
                made.append({"role": item["role"], "content": _content(item["content"])})
            case "function_call":
                function = {"name": item["name"], "arguments": item["arguments"]}
                call = {"id": item["call_id"], "type": "function", "function": function}
                if made and made[-1].get("role") == "assistant":
                    made[-1].setdefault("tool_calls", []).append(call)
                else:
                    made.append({"role": "assistant", "content": None, "tool_calls": [call]})
            case "function_call_output":
                content = _content(item["output"])
                made.append({"role": "tool", "tool_call_id": item["call_id"], "content": content})
    return made


def _content(content: Any) -> Any:
    if not isinstance(content, list):
        return content
    kinds = {"input_text": "text", "output_text": "text"}
    return [{"type": kinds.get(part["type"], part["type"]), "text": part.get("text")} for part in content]


def _tools(value: Any, body: Body) -> Problem:
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        return "must be an array of objects"
    return fields.tools([_tool(each) for each in value], body)


def _tool(tool: Body) -> Body:
    return {"type": tool.get("type"), "function": {name: value for name, value in tool.items() if name != "type"}}


def _tool_choice(value: Any, body: Body) -> Problem:
    given = [_tool(each) for each in body.get("tools") or []]
    return fields.tool_choice(_choice(value), {**body, "tools": given})


def _choice(value: Any) -> Any:
    if isinstance(value, dict) and value.get("type") == "function":
        return {"type": "function", "function": {"name": value.get("name")}}
    return value


def _text(value: Any, body: Body) -> Problem:
    if not isinstance(value, dict):
        return "must be an object"
    problem = fields.response_format(_format(value.get("format") or {"type": "text"}), body)
    return problem and f".format{problem.replace('.json_schema', '')}"


def _format(value: Any) -> Any:
    if isinstance(value, dict) and value.get("type") == "json_schema":
        return {"type": "json_schema", "json_schema": {name: each for name, each in value.items() if name != "type"}}
    return value


def _include(value: Any, body: Body) -> Problem:
    del body
    is_known = isinstance(value, list) and all(each in _INCLUDES for each in value)
    return None if is_known else f"must be an array of {', '.join(_INCLUDES)}"


def _top_logprobs(value: Any, body: Body) -> Problem:
    if value and _LOGPROBS not in (body.get("include") or ()):
        return f"needs include with {_LOGPROBS}"
    return fields.integer(0, 20)(value, body)


def _reasoning(value: Any, body: Body) -> Problem:
    if not isinstance(value, dict):
        return "must be an object"
    effort = value.get("effort")
    problem = None if effort is None else fields.reasoning_effort(effort, body)
    return problem and f".effort {problem}"


def _stream_options(value: Any, body: Body) -> Problem:
    del value
    return None if body.get("stream") is True else "needs stream to be true"


class Responses(Dialect):
    """`POST /responses`."""

    name = "responses"
    path = "/responses"
    required = ("model", "input")
    places = {"response_format": "text.format", "messages": "input"}  # never changed
    fields = {  # never changed
        "model": fields.text, "input": _input, "instructions": fields.text, "temperature": fields.number(0, 2),
        "top_p": fields.number(0, 1), "max_output_tokens": fields.integer(1), "stream": fields.boolean,
        "stream_options": _stream_options, "tools": _tools, "tool_choice": _tool_choice,
        "parallel_tool_calls": fields.boolean, "text": _text, "include": _include, "top_logprobs": _top_logprobs,
        "reasoning": _reasoning, "truncation": _one_of("auto", "disabled"), "metadata": fields.metadata,
        "user": fields.text, "safety_identifier": fields.text, "prompt_cache_key": fields.text,
        "service_tier": _one_of("auto", "default", "flex", "priority"), "store": fields.boolean,
        "background": fields.boolean, "previous_response_id": fields.text,
    }  # fmt: skip

    def chat(self, body: Body) -> Body:
        """The chat request."""
        given = body["input"]
        messages = [{"role": "user", "content": given}] if isinstance(given, str) else _messages(given)
        if body.get("instructions") is not None:
            messages = [{"role": "system", "content": body["instructions"]}, *messages]
        made: Body = {"messages": messages}
        for name in ("temperature", "top_p", "parallel_tool_calls"):
            set_where(made, **{name: body.get(name)})
        set_where(made, max_tokens=body.get("max_output_tokens"), tool_choice=_choice(body.get("tool_choice")))
        if body.get("tools") is not None:
            made["tools"] = [_tool(tool) for tool in body["tools"]]
        if (form := (body.get("text") or {}).get("format")) is not None:
            made["response_format"] = _format(form)
        if _LOGPROBS in (body.get("include") or ()):
            made |= {"logprobs": True, "top_logprobs": body.get("top_logprobs") or 0}
        set_where(made, reasoning_effort=(body.get("reasoning") or {}).get("effort"))
        return made

    def events(self, body: Body, said: Said, model: str, created: int) -> Iterator[Made]:
        """The events, numbered."""
        for number, event in enumerate(_events(body, said, model, created)):
            yield event["type"], {"type": event.pop("type"), "sequence_number": number, **event}

    def whole(self, events: Sequence[Made]) -> Body:
        """The response of the last event."""
        response: Body = events[-1][1]["response"]
        return response


def _events(body: Body, said: Said, model: str, created: int) -> Iterator[Body]:
    state = _state(body, model, created)
    yield {"type": "response.created", "response": state}
    yield {"type": "response.in_progress", "response": state}
    output: list[Body] = []
    is_whole = said.reason != "length"
    makers = [_reasoning_item] if said.reasoning else []
    makers += [_message] if said.texts or not said.calls else []
    items = [*(maker(said) for maker in makers), *(_call(call.id, call.name, call.pieces) for call in said.calls)]
    for at, (begun, pieces, done) in enumerate(items):
        is_cut = at == len(items) - 1 and not is_whole
        yield {"type": "response.output_item.added", "output_index": at, "item": {**begun, "status": "in_progress"}}
        for piece in pieces:
            yield {**piece, "item_id": begun["id"], "output_index": at}
        item = {**done, "status": "incomplete" if is_cut else "completed"}
        yield {"type": "response.output_item.done", "output_index": at, "item": item}
        output.append(item)
    status = "completed" if is_whole else "incomplete"
    usage = said.usage
    ended = {
        **state,
        "status": status,
        "completed_at": created + 1 if is_whole else None,
        "incomplete_details": None if is_whole else {"reason": "max_output_tokens"},
        "output": output,
        "usage": {
            "input_tokens": usage.prompt_tokens,
            "input_tokens_details": {"cached_tokens": usage.cached_tokens},
            "output_tokens": usage.completion_tokens,
            "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
            "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        },
    }
    yield {"type": f"response.{status}", "response": ended}


_Item = tuple[Body, list[Body], Body]
"""An item as it begins, its events, and as it ends."""


def _message(said: Said) -> _Item:
    begun = {"type": "message", "id": f"msg_{secrets.token_hex(8)}", "role": "assistant", "content": []}
    logprobs = [entry for _, each in said.texts for entry in entries(each or ())]
    part = {"type": "output_text", "text": said.text, "annotations": [], "logprobs": logprobs}
    at = {"content_index": 0}
    pieces: list[Body] = [{"type": "response.content_part.added", **at, "part": {**part, "text": "", "logprobs": []}}]
    for text, each in said.texts:
        pieces.append({"type": "response.output_text.delta", **at, "delta": text, "logprobs": entries(each or ())})
    pieces.append({"type": "response.output_text.done", **at, "text": said.text, "logprobs": logprobs})
    pieces.append({"type": "response.content_part.done", **at, "part": part})
    return begun, pieces, {**begun, "content": [part]}


def _reasoning_item(said: Said) -> _Item:
    begun: Body = {"type": "reasoning", "id": f"rs_{secrets.token_hex(8)}", "summary": [], "content": []}
    text = "".join(said.reasoning)
    at = {"content_index": 0}
    pieces: list[Body] = [{"type": "response.reasoning_text.delta", **at, "delta": each} for each in said.reasoning]
    pieces.append({"type": "response.reasoning_text.done", **at, "text": text})
    return begun, pieces, {**begun, "content": [{"type": "reasoning_text", "text": text}]}


def _call(call_id: str, name: str, given: list[str]) -> _Item:
    begun = {
        "type": "function_call", "id": f"fc_{secrets.token_hex(8)}", "call_id": call_id, "name": name, "arguments": "",
    }  # fmt: skip
    arguments = "".join(given)
    pieces: list[Body] = [{"type": "response.function_call_arguments.delta", "delta": each} for each in given if each]
    pieces.append({"type": "response.function_call_arguments.done", "arguments": arguments})
    return begun, pieces, {**begun, "arguments": arguments}


def _state(body: Body, model: str, created: int) -> Body:
    defaults: Body = {
        "instructions": None, "max_output_tokens": None, "temperature": 1.0, "top_p": 1.0, "metadata": {}, "tools": [],
        "tool_choice": "auto", "parallel_tool_calls": True, "text": {"format": {"type": "text"}}, "user": None,
        "safety_identifier": None, "prompt_cache_key": None, "truncation": "disabled", "previous_response_id": None,
        "store": True, "background": False, "reasoning": {"effort": None, "summary": None}, "top_logprobs": 0,
        "service_tier": "default",
    }  # fmt: skip
    given = {name: body[name] for name in defaults if body.get(name) is not None}
    return {
        **defaults, **given, "id": f"resp_{secrets.token_hex(8)}", "object": "response", "created_at": created,
        "status": "in_progress", "completed_at": None, "error": None, "incomplete_details": None, "model": model,
        "output": [], "usage": None, "service_tier": "default",
    }  # fmt: skip
