"""The stub's Messages."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from conformance_stub import fields
from conformance_stub.fields import Body, Problem

from .base import Dialect, Made, Said, set_where

_REASONS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}
_TYPES = {401: "authentication_error", 404: "not_found_error"}
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")


def _turns(value: Any, body: Body) -> Problem:
    if not isinstance(value, list) or not value:
        return "must be an array with at least one message"
    waiting: set[str] = set()
    for at, turn in enumerate(value):
        if not isinstance(turn, dict) or turn.get("role") not in ("user", "assistant"):
            return f"[{at}].role must be user or assistant"
        problem = _blocks(turn.get("content"))
        if problem:
            return f"[{at}].content{problem}"
        blocks = turn["content"] if isinstance(turn["content"], list) else []
        results = {block["tool_use_id"] for block in blocks if block["type"] == "tool_result"}
        if results != waiting:
            return f"[{at}].content must have a tool_result for each tool_use before it, and for no other"
        waiting = {block["id"] for block in blocks if block["type"] == "tool_use"}
    if waiting:
        return "must have a tool_result for each tool_use"
    return fields.messages(_messages(value), body)


def _blocks(content: Any) -> Problem:
    if isinstance(content, str):
        return None
    if not isinstance(content, list):
        return " must be a text or an array of blocks"
    needed = {"text": ("text",), "tool_use": ("id", "name", "input"), "tool_result": ("tool_use_id",)}
    for at, block in enumerate(content):
        names = needed.get(str(block.get("type"))) if isinstance(block, dict) else None
        if names is None:
            return f"[{at}].type is not known"
        missing = [name for name in names if block.get(name) is None]
        if missing:
            return f"[{at}].{missing[0]} is required"
    return None


def _messages(turns: list[Body]) -> list[Body]:
    made: list[Body] = []
    for turn in turns:
        content = turn["content"]
        if isinstance(content, str):
            made.append({"role": turn["role"], "content": content})
            continue
        texts = [{"type": "text", "text": block["text"]} for block in content if block["type"] == "text"]
        calls = [_call(block) for block in content if block["type"] == "tool_use"]
        for block in content:
            if block["type"] == "tool_result":
                given = block.get("content") or ""
                made.append({"role": "tool", "tool_call_id": block["tool_use_id"], "content": _text(given)})
        if calls:
            made.append({"role": "assistant", "content": _text(texts) or None, "tool_calls": calls})
        elif texts:
            made.append({"role": turn["role"], "content": texts})
    return made


def _call(block: Body) -> Body:
    function = {"name": block["name"], "arguments": msgspec.json.encode(block["input"]).decode()}
    return {"id": block["id"], "type": "function", "function": function}


def _text(content: Any) -> str:
    return content if isinstance(content, str) else "".join(block["text"] for block in content)


def _system(value: Any, body: Body) -> Problem:
    del body
    is_blocks = isinstance(value, list) and all(isinstance(each, dict) and "text" in each for each in value)
    return None if isinstance(value, str) or is_blocks else "must be a text or an array of blocks of text"


def _tools(value: Any, body: Body) -> Problem:
    del body
    if not isinstance(value, list):
        return "must be an array"
    names: set[str] = set()
    for at, tool in enumerate(value):
        name = tool.get("name") if isinstance(tool, dict) else None
        if not isinstance(name, str) or not _NAME.fullmatch(name) or name in names:
            return f"[{at}].name must match {_NAME.pattern}, once"
        if not isinstance(tool.get("input_schema"), dict):
            return f"[{at}].input_schema is required"
        names.add(name)
    return None


def _tool_choice(value: Any, body: Body) -> Problem:
    kind = value.get("type") if isinstance(value, dict) else None
    if kind not in ("auto", "any", "tool", "none"):
        return ".type must be auto, any, tool or none"
    names = [tool["name"] for tool in body.get("tools") or []]
    if kind in ("any", "tool") and not names:
        return "needs tools"
    return "names none of the tools" if kind == "tool" and value.get("name") not in names else None


def _stops(value: Any, body: Body) -> Problem:
    del body
    is_good = isinstance(value, list) and all(isinstance(each, str) and each for each in value)
    return None if is_good else "must be an array of texts that are not empty"


def _thinking(value: Any, body: Body) -> Problem:
    kind = value.get("type") if isinstance(value, dict) else None
    if kind not in ("enabled", "disabled", "adaptive"):
        return ".type must be enabled, disabled or adaptive"
    budget = value.get("budget_tokens")
    if kind != "enabled":
        return None
    problem = fields.integer(1024)(budget, body)
    if isinstance(budget, int) and problem is None and budget >= (body.get("max_tokens") or 0):
        problem = "must be less than max_tokens"
    return problem and f".budget_tokens {problem}"


def _metadata(value: Any, body: Body) -> Problem:
    del body
    is_good = isinstance(value, dict) and isinstance(value.get("user_id", ""), str)
    return None if is_good else ".user_id must be a text"


def _output(value: Any, body: Body) -> Problem:
    del body
    form = value.get("format") if isinstance(value, dict) else None
    is_schema = isinstance(form, dict) and form.get("type") == "json_schema" and isinstance(form.get("schema"), dict)
    return None if is_schema else ".format must be a json_schema with its schema"


def _tier(value: Any, body: Body) -> Problem:
    del body
    return None if value in ("auto", "standard_only") else "must be auto or standard_only"


_COUNTED = {
    "model": fields.text, "messages": _turns, "system": _system, "tools": _tools, "tool_choice": _tool_choice,
    "thinking": _thinking, "output_config": _output,
}  # fmt: skip


class Messages(Dialect):
    """`POST /messages`."""

    name = "messages"
    path = "/messages"
    required = ("model", "messages", "max_tokens")
    places = {"response_format": "output_config.format"}  # never changed
    fields = {  # never changed
        **_COUNTED, "max_tokens": fields.integer(1), "temperature": fields.number(0, 1), "top_p": fields.number(0, 1),
        "top_k": fields.integer(0), "stop_sequences": _stops, "stream": fields.boolean, "metadata": _metadata,
        "service_tier": _tier,
    }  # fmt: skip

    def chat(self, body: Body) -> Body:
        """The chat request."""
        messages = _messages(body["messages"])
        if body.get("system"):
            messages = [{"role": "system", "content": _text(body["system"])}, *messages]
        made: Body = {"messages": messages}
        for name in ("temperature", "top_p", "top_k", "max_tokens"):
            set_where(made, **{name: body.get(name)})
        set_where(made, stop=body.get("stop_sequences"))
        choice = body.get("tool_choice") or {}
        if body.get("tools"):
            made["tools"] = [_tool(tool) for tool in body["tools"]]
            named = {"type": "function", "function": {"name": choice.get("name")}}
            made["tool_choice"] = {"any": "required", "tool": named, "none": "none"}.get(choice.get("type", ""), "auto")
            if choice.get("disable_parallel_tool_use") is not None:
                made["parallel_tool_calls"] = not choice["disable_parallel_tool_use"]
        form = (body.get("output_config") or {}).get("format")
        if form is not None:
            schema = {"name": "output", "schema": form["schema"], "strict": True}
            made["response_format"] = {"type": "json_schema", "json_schema": schema}
        return made

    def events(self, body: Body, said: Said, model: str, created: int) -> Iterator[Made]:
        """The events, each named by its type."""
        del body, created
        for event in _events(said, model):
            yield event["type"], event

    def whole(self, events: Sequence[Made]) -> Body:
        """The message that *events* make up."""
        message: Body = {}
        blocks: list[Body] = []
        for kind, data in events:
            match kind:
                case "message_start":
                    message = dict(data["message"])
                case "content_block_start":
                    blocks.append({**data["content_block"], "json": ""})
                case "content_block_delta":
                    delta = data["delta"]
                    for name in ("text", "thinking"):
                        if name in delta:
                            blocks[-1][name] += delta[name]
                    blocks[-1]["json"] += delta.get("partial_json", "")
                case "message_delta":
                    message |= {**data["delta"], "usage": data["usage"]}
        return {**message, "content": [_block(block) for block in blocks]}

    def error(self, error: Body, status: int) -> Body:
        """An error in this dialect's form."""
        kind = _TYPES.get(status, "invalid_request_error" if status < 500 else "api_error")
        return {"type": "error", "error": {"type": kind, "message": error["error"]["message"]}, "request_id": "req_1"}


def _tool(tool: Body) -> Body:
    function = {"name": tool["name"], "parameters": tool["input_schema"]}
    set_where(function, description=tool.get("description"), strict=tool.get("strict"))
    return {"type": "function", "function": function}


def _block(block: Body) -> Body:
    text = block.pop("json")
    if block["type"] != "tool_use":
        return block
    try:
        given = msgspec.json.decode(text or "{}")
    except msgspec.DecodeError:
        given = {"INVALID_JSON": text}
    return {**block, "input": given}


def _events(said: Said, model: str) -> Iterator[Body]:
    usage = said.usage
    counts: Body = {
        "input_tokens": usage.prompt_tokens - usage.cached_tokens,
        "cache_read_input_tokens": usage.cached_tokens,
        "cache_creation_input_tokens": 0,
        "output_tokens": usage.completion_tokens,
    }
    message: Body = {
        "id": f"msg_{secrets.token_hex(8)}", "type": "message", "role": "assistant", "model": model, "content": [],
        "stop_reason": None, "stop_sequence": None, "usage": {**counts, "output_tokens": 1},
    }  # fmt: skip
    yield {"type": "message_start", "message": message}
    yield {"type": "ping"}
    blocks: list[tuple[Body, list[Body]]] = []
    if said.texts or not said.calls:
        deltas = [{"type": "text_delta", "text": text} for text, _ in said.texts]
        blocks.append(({"type": "text", "text": ""}, deltas))
    for call in said.calls:
        begun = {"type": "tool_use", "id": call.id, "name": call.name, "input": {}}
        blocks.append((begun, [{"type": "input_json_delta", "partial_json": piece} for piece in call.pieces]))
    for at, (begun, deltas) in enumerate(blocks):
        yield {"type": "content_block_start", "index": at, "content_block": begun}
        for delta in deltas:
            yield {"type": "content_block_delta", "index": at, "delta": delta}
        yield {"type": "content_block_stop", "index": at}
    reason = "stop_sequence" if said.stop is not None else _REASONS[said.reason]
    if said.calls and said.reason == "stop":
        reason = "tool_use"
    yield {"type": "message_delta", "delta": {"stop_reason": reason, "stop_sequence": said.stop}, "usage": counts}
    yield {"type": "message_stop"}
