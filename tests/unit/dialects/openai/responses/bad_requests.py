"""Requests to Responses that must be refused, as data: what is sent, and the `param` and code that must come back."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

MODEL = "smollm2-135m"


class BadRequest(NamedTuple):
    name: str
    body: bytes
    param: str | None
    code: str


def _field(name: str, value: Any, param: str | None, code: str = "invalid_value", **others: Any) -> BadRequest:
    body = {"model": MODEL, "input": "Hi", **others, name: value}
    text = json.dumps({key: given for key, given in body.items() if given is not ...})
    return BadRequest(f"{name}: {repr(value)[:120]}", text.encode(), param, code)


def _item(item: Any, param: str, code: str = "invalid_value") -> BadRequest:
    return _field("input", [item], f"input[0]{param}", code)


def _user(*parts: Any) -> dict[str, Any]:
    return {"type": "message", "role": "user", "content": list(parts)}


def _raw(body: bytes, code: str, param: str | None = None) -> BadRequest:
    return BadRequest(f"body: {body[:60]!r}", body, param, code)


def _function(name: str = "f", **fields: Any) -> dict[str, Any]:
    return {"type": "function", "name": name, "parameters": {"type": "object"}, **fields}


_PLAIN = json.dumps({"model": MODEL, "input": "Hi"}).encode()
_SCHEMA = {"type": "json_schema", "name": "answer", "schema": {"type": "object"}}

BAD_REQUESTS: tuple[BadRequest, ...] = (
    _raw(b"", "invalid_json"),
    _raw(b"{", "invalid_json"),
    _raw(b"[]", "invalid_type"),
    _raw(b"null", "invalid_type"),
    _raw(b'"x"', "invalid_type"),
    _raw(b"\xff\xfe{}", "invalid_json"),
    _raw(b'{"model": "\xff"}', "invalid_utf8"),
    _raw(_PLAIN[:-1] + b', "input": "Ho"}', "duplicate_key", "input"),
    _raw(
        b'{"model": "m", "input": [{"role": "user", "role": "user", "content": "x"}]}',
        "duplicate_key",
        "input[0].role",
    ),
    _raw(b'{"model": "m", "input": ' + b"[" * 200 + b"]" * 200 + b"}", "too_deep"),
    _field("model", ..., "model", "missing_required_parameter"),
    _field("model", "", "model", "empty_string"),
    _field("model", 5, "model", "invalid_type"),
    _field("input", ..., "input", "missing_required_parameter"),
    _field("input", None, "input", "invalid_type"),
    _field("input", 5, "input", "invalid_type"),
    _field("input", [], "input", "empty_array"),
    _field("input", {"role": "user"}, "input", "invalid_type"),
    _item("text", "", "invalid_type"),
    _item({}, ".type", "missing_required_parameter"),
    _item({"type": "no_such"}, ".type"),
    _item({"role": "user"}, ".content", "missing_required_parameter"),
    _item({"role": "nobody", "content": "x"}, ".role"),
    _item({"role": "user", "content": 5}, ".content", "invalid_type"),
    _item({"role": "user", "content": [{"type": "no_such"}]}, ".content[0].type"),
    _item(_user({"type": "input_text"}), ".content[0].text", "missing_required_parameter"),
    _item(_user({"type": "input_image", "file_id": "file_1"}), ".content[0].image_url"),
    _item(_user({"type": "input_file", "file_url": "http://x.example/a.pdf"}), ".content[0].file_url"),
    _item(_user({"type": "input_file"}), ".content[0].file_data"),
    _item(_user({"type": "refusal", "refusal": "no"}), ".content[0].type"),
    _item(
        {"role": "assistant", "content": [{"type": "input_image", "image_url": "data:,x"}]}, ".content[0].type"
    ),
    _item({**_user({"type": "input_image", "image_url": "data:,x"}), "role": "system"}, ".content[0].type"),
    _item({"type": "function_call", "name": "f", "arguments": "{}"}, ".call_id", "missing_required_parameter"),
    _item({"type": "function_call", "call_id": "c", "name": "f", "arguments": {}}, ".arguments", "invalid_type"),
    _item({"type": "function_call_output", "call_id": "c", "output": "x"}, ".call_id"),
    _item({"type": "function_call_output", "call_id": "c"}, ".output", "missing_required_parameter"),
    _item({"type": "custom_tool_call_output", "call_id": "c", "output": "x"}, ".call_id"),
    _item({"type": "item_reference", "id": "msg_nobody"}, ".id", "item_not_found"),
    _item({"type": "reasoning", "summary": [{"type": "x", "text": "y"}]}, ".summary[0].type"),
    _field("input", [{"type": "reasoning", "summary": []}], "input"),
    _field("instructions", 5, "instructions", "invalid_type"),
    _field("previous_response_id", "resp_nobody", "previous_response_id", "previous_response_not_found"),
    _field("previous_response_id", 5, "previous_response_id", "invalid_type"),
    _field("store", "yes", "store", "invalid_type"),
    _field("background", True, "background", store=False),
    _field("background", True, "background", stream=True),
    _field("temperature", 2.1, "temperature", "decimal_above_max_value"),
    _field("temperature", -0.1, "temperature", "decimal_below_min_value"),
    _field("temperature", "hot", "temperature", "invalid_type"),
    _field("top_p", 1.1, "top_p", "decimal_above_max_value"),
    _field("max_output_tokens", 0, "max_output_tokens", "integer_below_min_value"),
    _field("max_output_tokens", 1.5, "max_output_tokens", "invalid_type"),
    _field("max_output_tokens", 2**40, "max_output_tokens", "integer_above_max_value"),
    _field("top_logprobs", 21, "top_logprobs", "integer_above_max_value", include=["message.output_text.logprobs"]),
    _field("top_logprobs", 2, "top_logprobs"),
    _field("include", ["no.such"], "include[0]"),
    _field("stream", 1, "stream", "invalid_type"),
    _field("stream_options", {"include_obfuscation": True}, "stream_options"),
    _field("text", "json", "text", "invalid_type"),
    _field("text", {"format": {"type": "xml"}}, "text.format.type"),
    _field("text", {"format": {"type": "json_schema", "name": "x"}}, "text.format.schema",
           "missing_required_parameter"),
    _field("text", {"format": {**_SCHEMA, "name": "a b"}}, "text.format.name"),
    _field("text", {"format": {**_SCHEMA, "schema": {"type": 5}}}, "text.format.schema", "invalid_json_schema"),
    _field("text", {"verbosity": "loud"}, "text.verbosity"),
    _field("reasoning", {"effort": "extreme"}, "reasoning.effort"),
    _field("reasoning", "low", "reasoning", "invalid_type"),
    _field("tools", {}, "tools", "invalid_type"),
    _field("tools", [{"type": "no_such"}], "tools[0].type"),
    _field("tools", [{"type": "function"}], "tools[0].name", "missing_required_parameter"),
    _field("tools", [{"type": "function", "function": {"name": "f"}}], "tools[0].name", "missing_required_parameter"),
    _field("tools", [_function("a b")], "tools[0].name"),
    _field("tools", [_function(parameters={"type": "no"})], "tools[0].parameters", "invalid_json_schema"),
    _field("tools", [_function(), _function()], "tools[1].name"),
    _field("tools", [{"type": "custom", "name": "f", "format": {"type": "grammar"}}], "tools[0].format.syntax",
           "missing_required_parameter"),
    _field("tool_choice", "sometimes", "tool_choice"),
    _field("tool_choice", "required", "tool_choice"),
    _field("tool_choice", "required", "tool_choice", tools=[{"type": "web_search"}]),
    _field("tool_choice", {"type": "function", "name": "g"}, "tool_choice.name", tools=[_function()]),
    _field("tool_choice", {"type": "custom", "name": "f"}, "tool_choice.name", tools=[_function()]),
    _field("tool_choice", {"type": "file_search"}, "tool_choice.type", tools=[_function()]),
    _field("tool_choice", {"type": "allowed_tools", "mode": "auto", "tools": []}, "tool_choice.tools", "empty_array",
           tools=[_function()]),
    _field("tool_choice", {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "g"}]},
           "tool_choice.tools[0].name", tools=[_function()]),
    _field("parallel_tool_calls", "no", "parallel_tool_calls", "invalid_type"),
    _field("metadata", {"k": 5}, "metadata.k", "invalid_type"),
    _field("metadata", {str(at): "x" for at in range(17)}, "metadata", "object_above_max_length"),
    _field("truncation", "some", "truncation"),
    _field("service_tier", "gold", "service_tier"),
    _field("safety_identifier", "x" * 129, "safety_identifier", "string_above_max_length"),
    _field("conversation", "conv_1", "conversation", "unsupported_parameter"),
    _field("prompt", {"id": "pmpt_1"}, "prompt", "unsupported_parameter"),
)  # fmt: skip
