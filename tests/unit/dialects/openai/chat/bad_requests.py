"""Requests that must be refused, as data: what is sent, and the status, `param` and code that must come back.

Tests of the decoder use those of `stage` "body"; tests against a running server use all of them, with MODEL
replaced by a model it has. No request needs a feature of the model.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

MODEL = "smollm2-135m"
JSON = {"content-type": "application/json"}
LIMIT_BYTES = 16 * 1024 * 1024


class BadRequest(NamedTuple):
    name: str
    body: bytes
    status: int
    param: str | None
    code: str
    headers: dict[str, str] = JSON
    stage: str = "body"  # "http": refused before the body is decoded
    method: str = "POST"
    path: str = "/v1/chat/completions"


USER = {"role": "user", "content": "Hi"}


def _json(**fields: Any) -> bytes:
    body = {"model": MODEL, "messages": [USER], **fields}
    return json.dumps({name: value for name, value in body.items() if value is not ...}).encode()


def _field(name: str, value: Any, param: str | None, code: str, *, why: str = "", **others: Any) -> BadRequest:
    return BadRequest(f"{name}: {why or repr(value)[:150]}", _json(**{name: value}, **others), 400, param, code)


def _messages(why: str, messages: list[Any], param: str, code: str) -> BadRequest:
    return BadRequest(f"messages: {why}", _json(messages=messages), 400, param, code)


def _raw(why: str, body: bytes, code: str, param: str | None = None) -> BadRequest:
    return BadRequest(f"body: {why}", body, 400, param, code)


def _tool(name: Any = "get_weather", **fields: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, **fields}}


def _schema(schema: Any, **fields: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema, **fields}}


def _call(call_id: str = "call_1") -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": "get_weather", "arguments": "{}"}}


def _deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


_PLAIN = _json()
_OPEN = _PLAIN[:-1]  # without the last brace
_NO_SCHEMA = "invalid_json_schema"
_SCHEMA = "response_format.json_schema.schema"

BAD_REQUESTS: tuple[BadRequest, ...] = (
    # bodies that are not JSON
    _raw("empty", b"", "invalid_json"),
    _raw("blanks", b" \r\n\t ", "invalid_json"),
    _raw("truncated", _PLAIN[:-7], "invalid_json"),
    _raw("truncated in a string", _PLAIN[:30], "invalid_json"),
    _raw("text after the object", _PLAIN + b"x", "invalid_json"),
    _raw("two objects", _PLAIN + _PLAIN, "invalid_json"),
    _raw("single quotes", b"{'model': 'm'}", "invalid_json"),
    _raw("trailing comma", _OPEN + b",}", "invalid_json"),
    _raw("comment", b"/* hello */" + _PLAIN, "invalid_json"),
    _raw("form data", b"model=m&messages=hi", "invalid_json"),
    _raw("leading zero", _OPEN + b',"n":01}', "invalid_json"),
    _raw("NaN", _OPEN + b',"temperature":NaN}', "invalid_json"),
    _raw("Infinity", _OPEN + b',"temperature":Infinity}', "invalid_json"),
    _raw("raw line feed in a string", _OPEN + b',"user":"a\nb"}', "invalid_json"),
    _raw("raw NUL", _OPEN + b',"user":"a\x00b"}', "invalid_json"),
    _raw("bad escape", _OPEN + b',"user":"\\x41"}', "invalid_json"),
    _raw("byte-order mark", b"\xef\xbb\xbf" + _PLAIN, "invalid_json"),
    _raw("UTF-16", _PLAIN.decode().encode("utf-16"), "invalid_json"),
    _raw("UTF-8 that ends early", _OPEN + b',"user":"\xc3"}', "invalid_utf8"),
    _raw("a byte that UTF-8 never has", _OPEN + b',"user":"\xff"}', "invalid_utf8"),
    _raw("half a surrogate pair in UTF-8", _OPEN + b',"user":"\xed\xa0\x80"}', "invalid_utf8"),
    _raw("overlong UTF-8", _OPEN + b',"user":"\xc0\xaf"}', "invalid_utf8"),
    _raw("Latin-1", _OPEN + ',"user":"café"}'.encode("latin-1"), "invalid_utf8"),
    _raw("escaped high surrogate alone", _OPEN + b',"user":"\\ud800"}', "invalid_unicode"),
    _raw("escaped low surrogate alone", _OPEN + b',"user":"\\udc00 and more text"}', "invalid_unicode"),
    _raw("two high surrogates", _OPEN + b',"user":"\\ud83d\\ud83d"}', "invalid_unicode"),
    # bodies that are JSON but no object, or nested too deeply
    _raw("null", b"null", "invalid_type"),
    _raw("array", b"[]", "invalid_type"),
    _raw("string", b'"hi"', "invalid_type"),
    _raw("number", b"1", "invalid_type"),
    _raw("10,000 open arrays", b"[" * 10_000, "too_deep"),
    _raw("10,000 levels in a field", _OPEN + b',"chat_template_kwargs":{"a":' + b"[" * 10_000 + b"]" * 10_000 + b"}}",
         "too_deep"),
    _raw("10,000 levels in an unknown field", _OPEN + b',"foo":' + b'{"a":' * 10_000 + b"1" + b"}" * 10_000 + b"}",
         "too_deep"),
    _field("foo", _deep(128), None, "too_deep", why="129 levels in an unknown field"),
    _field("chat_template_kwargs", {"a": _deep(127)}, None, "too_deep", why="129 levels"),
    _field("response_format", _schema({"const": _deep(125)}), None, "too_deep", why="130 levels in a schema"),
    # keys given twice
    _raw("model twice", _OPEN + b',"model":"x"}', "duplicate_key", "model"),
    _raw("model twice, once escaped", _OPEN + b',"mod\\u0065l":"x"}', "duplicate_key", "model"),
    _raw("content twice", b'{"model":"m","messages":[{"role":"user","content":"a","content":"b"}]}', "duplicate_key",
         "messages[0].content"),
    _raw("a key twice in a schema", _OPEN + b',"response_format":{"type":"json_schema","json_schema":{"name":"a",'
         b'"schema":{"type":"object","type":"string"}}}}', "duplicate_key", f"{_SCHEMA}.type"),
    # unknown and refused fields
    _field("foo", 1, "foo", "unknown_parameter"),
    _field("temprature", 1, "temprature", "unknown_parameter"),
    _field("", 1, "", "unknown_parameter"),
    _messages(
        "two reasonings",
        [USER, {"role": "assistant", "content": "a", "reasoning": "b", "reasoning_content": "c"}],
        "messages[1].reasoning",
        "invalid_value",
    ),
    _messages("a number", [{"role": "assistant", "reasoning": 1}], "messages[0].reasoning", "invalid_type"),
    _messages("unknown field", [{**USER, "foo": None}], "messages[0].foo", "unknown_parameter"),
    _field("stream_options", {"foo": True}, "stream_options.foo", "unknown_parameter", stream=True),
    _field("tools", [{**_tool(), "foo": 1}], "tools[0].foo", "unknown_parameter"),
    _field("audio", {"voice": "alloy", "format": "mp3"}, "audio", "unsupported_parameter"),
    _field("functions", [{"name": "f"}], "functions", "unsupported_parameter"),
    _field("function_call", "auto", "function_call", "unsupported_parameter"),
    _field("moderation", {"model": "m"}, "moderation", "unsupported_parameter"),
    _field("web_search_options", {}, "web_search_options", "unsupported_parameter"),
    _field("modalities", ["text", "audio"], "modalities[1]", "unsupported_value"),
    _field("modalities", [], "modalities", "empty_array"),
    _field("store", True, "store", "unsupported_value"),
    _field("service_tier", "flex", "service_tier", "unsupported_value"),
    _field("service_tier", "gold", "service_tier", "invalid_value"),
    _field("verbosity", "high", "verbosity", "unsupported_value"),
    # model
    _field("model", ..., "model", "missing_required_parameter", why="missing"),
    _field("model", None, "model", "invalid_type"),
    _field("model", 5, "model", "invalid_type"),
    _field("model", "", "model", "empty_string"),
    # messages
    _field("messages", ..., "messages", "missing_required_parameter", why="missing"),
    _field("messages", None, "messages", "invalid_type"),
    _field("messages", [], "messages", "empty_array"),
    _field("messages", "Hi", "messages", "invalid_type"),
    _field("messages", {"role": "user", "content": "Hi"}, "messages", "invalid_type"),
    _messages("a string in the list", ["Hi"], "messages[0]", "invalid_type"),
    _messages("no role", [{"content": "Hi"}], "messages[0].role", "missing_required_parameter"),
    _messages("unknown role", [{"role": "bot", "content": "Hi"}], "messages[0].role", "invalid_value"),
    _messages("role function", [{"role": "function", "name": "f", "content": "1"}], "messages[0].role",
              "invalid_value"),
    _messages("role a number", [{"role": 1, "content": "Hi"}], "messages[0].role", "invalid_type"),
    _messages("no content", [{"role": "user"}], "messages[0].content", "missing_required_parameter"),
    _messages("null content", [{"role": "user", "content": None}], "messages[0].content", "invalid_type"),
    _messages("null content of system", [{"role": "system", "content": None}, USER], "messages[0].content",
              "invalid_type"),
    _messages("numeric content", [{"role": "user", "content": 5}], "messages[0].content", "invalid_type"),
    _messages("object as content", [{"role": "user", "content": {"type": "text", "text": "Hi"}}],
              "messages[0].content", "invalid_type"),
    _messages("no parts", [{"role": "user", "content": []}], "messages[0].content", "empty_array"),
    _messages("part without type", [{"role": "user", "content": [{"text": "Hi"}]}], "messages[0].content[0].type",
              "missing_required_parameter"),
    _messages("part without text", [{"role": "user", "content": [{"type": "text"}]}], "messages[0].content[0].text",
              "missing_required_parameter"),
    _messages("unknown part", [{"role": "user", "content": [{"type": "video"}]}], "messages[0].content[0].type",
              "invalid_value"),
    _messages("part with a number", [{"role": "user", "content": [{"type": "text", "text": 1}]}],
              "messages[0].content[0].text", "invalid_type"),
    _messages("image in a system message",
              [{"role": "system", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]}],
              "messages[0].content[0].type", "invalid_value"),
    _messages("name a number", [{**USER, "name": 5}], "messages[0].name", "invalid_type"),
    _messages("the index of a call below 0",
              [USER, {"role": "assistant", "tool_calls": [{**_call(), "index": -1}]}],
              "messages[1].tool_calls[0].index", "integer_below_min_value"),
    _messages("audio of an assistant", [USER, {"role": "assistant", "audio": {"id": "a"}}], "messages[1].audio",
              "unsupported_parameter"),
    _messages("deprecated call", [USER, {"role": "assistant", "function_call": {"name": "f", "arguments": "{}"}}],
              "messages[1].function_call", "unsupported_parameter"),
    _messages("custom tool call",
              [USER, {"role": "assistant", "tool_calls": [
                  {"id": "c", "type": "custom", "custom": {"name": "f", "input": ""}}]}],
              "messages[1].tool_calls[0].type", "unsupported_value"),
    _messages("tool call without id",
              [USER, {"role": "assistant", "tool_calls": [
                  {"type": "function", "function": {"name": "f", "arguments": "{}"}}]}],
              "messages[1].tool_calls[0].id", "missing_required_parameter"),
    _messages("arguments as an object",
              [USER, {"role": "assistant", "tool_calls": [
                  {"id": "c", "type": "function", "function": {"name": "f", "arguments": {}}}]}],
              "messages[1].tool_calls[0].function.arguments", "invalid_type"),
    _messages("tool message without id", [USER, {"role": "tool", "content": "1"}], "messages[1].tool_call_id",
              "missing_required_parameter"),
    _messages("tool message that answers no call", [USER, {"role": "tool", "content": "1", "tool_call_id": "x"}],
              "messages[1].tool_call_id", "invalid_value"),
    _messages("tool message before its call",
              [{"role": "tool", "content": "1", "tool_call_id": "call_1"},
               {"role": "assistant", "tool_calls": [_call()]}], "messages[0].tool_call_id", "invalid_value"),
    _messages("tool message with another id",
              [USER, {"role": "assistant", "tool_calls": [_call()]},
               {"role": "tool", "content": "1", "tool_call_id": "call_2"}], "messages[2].tool_call_id",
              "invalid_value"),
    # sampling
    _field("temperature", 2.1, "temperature", "decimal_above_max_value"),
    _field("temperature", -0.1, "temperature", "decimal_below_min_value"),
    _field("temperature", "0.5", "temperature", "invalid_type"),
    _field("temperature", True, "temperature", "invalid_type"),
    _raw("temperature 1e999", _OPEN + b',"temperature":1e999}', "invalid_value", "temperature"),
    _field("top_p", 1.1, "top_p", "decimal_above_max_value"),
    _field("top_p", -0.1, "top_p", "decimal_below_min_value"),
    _field("top_k", -2, "top_k", "integer_below_min_value"),
    _field("min_p", 1.5, "min_p", "decimal_above_max_value"),
    _field("presence_penalty", 2.1, "presence_penalty", "decimal_above_max_value"),
    _field("frequency_penalty", -2.1, "frequency_penalty", "decimal_below_min_value"),
    _field("repetition_penalty", 0, "repetition_penalty", "decimal_below_min_value"),
    _field("seed", 1.5, "seed", "invalid_type"),
    _field("seed", "1", "seed", "invalid_type"),
    _field("seed", 2**63, "seed", "integer_above_max_value"),
    _field("seed", -(2**63) - 1, "seed", "integer_below_min_value"),
    _raw("seed of 5,000 digits", _OPEN + b',"seed":' + b"9" * 5000 + b"}", "invalid_value", "seed"),
    _field("logit_bias", [], "logit_bias", "invalid_type"),
    _field("logit_bias", {"5": 101}, "logit_bias.5", "decimal_above_max_value"),
    _field("logit_bias", {"4": 1, "5": -100.5}, "logit_bias.5", "decimal_below_min_value"),
    _field("logit_bias", {"5": "1"}, "logit_bias.5", "invalid_type"),
    _field("logit_bias", {"abc": 1}, "logit_bias.abc", "invalid_value"),
    _field("logit_bias", {"-1": 1}, "logit_bias.-1", "invalid_value"),
    _field("logit_bias", {"05": 1}, "logit_bias.05", "invalid_value"),
    _field("logit_bias", {"0": 1, "-0": 2}, "logit_bias.-0", "invalid_value"),
    # length and number
    _field("max_tokens", 0, "max_tokens", "integer_below_min_value"),
    _field("max_tokens", -1, "max_tokens", "integer_below_min_value"),
    _field("max_tokens", "5", "max_tokens", "invalid_type"),
    _field("max_tokens", 1.5, "max_tokens", "invalid_type"),
    _field("max_tokens", 2**31, "max_tokens", "integer_above_max_value"),
    _field("max_completion_tokens", 0, "max_completion_tokens", "integer_below_min_value"),
    _field("n", 0, "n", "integer_below_min_value"),
    _field("n", 1_000_000, "n", "integer_above_max_value"),
    _field("n", "2", "n", "invalid_type"),
    _field("n", True, "n", "invalid_type"),
    _field("stop", "", "stop", "empty_string"),
    _field("stop", ["a", ""], "stop[1]", "empty_string"),
    _field("stop", ["a", "b", "c", "d", "e"], "stop", "array_above_max_length"),
    _field("stop", 5, "stop", "invalid_type"),
    _field("stop", ["a", 5], "stop[1]", "invalid_type"),
    # form of the answer
    _field("stream", "true", "stream", "invalid_type"),
    _field("stream", 1, "stream", "invalid_type"),
    _field("stream_options", {}, "stream_options", "invalid_value", why="without stream"),
    _field(
        "stream_options",
        {"continuous_usage_stats": True},
        "stream_options.continuous_usage_stats",
        "invalid_value",
        stream=True,
        why="without include_usage",
    ),
    _field("stream_options", {"include_usage": 1}, "stream_options.include_usage", "invalid_type", stream=True),
    _field("logprobs", 5, "logprobs", "invalid_type"),
    _field("top_logprobs", 2, "top_logprobs", "invalid_value", why="without logprobs"),
    _field("top_logprobs", 21, "top_logprobs", "integer_above_max_value", logprobs=True),
    _field("top_logprobs", -1, "top_logprobs", "integer_below_min_value", logprobs=True),
    _field("response_format", "json_object", "response_format", "invalid_type"),
    _field("response_format", {}, "response_format.type", "missing_required_parameter"),
    _field("response_format", {"type": "xml"}, "response_format.type", "invalid_value"),
    _field("response_format", {"type": "json_schema"}, "response_format.json_schema", "missing_required_parameter"),
    _field("response_format", {"type": "json_schema", "json_schema": {"schema": {}}},
           "response_format.json_schema.name", "missing_required_parameter"),
    _field("response_format", {"type": "json_schema", "json_schema": {"name": "a"}}, _SCHEMA,
           "missing_required_parameter"),
    _field("response_format", {"type": "json_schema", "json_schema": {"name": "a b", "schema": {}}},
           "response_format.json_schema.name", "invalid_value"),
    _field("response_format", {"type": "json_schema", "json_schema": {"name": "a\n", "schema": {}}},
           "response_format.json_schema.name", "invalid_value"),
    _field("response_format", _schema({}, strict="yes"), "response_format.json_schema.strict", "invalid_type"),
    _field("response_format", _schema("object"), _SCHEMA, "invalid_type"),
    _field("response_format", _schema({"type": "banana"}), _SCHEMA, _NO_SCHEMA),
    _field("response_format", _schema({"type": 5}), _SCHEMA, _NO_SCHEMA),
    _field("response_format", _schema({"properties": []}), _SCHEMA, _NO_SCHEMA),
    _field("response_format", _schema({"properties": {"a": 5}}), _SCHEMA, _NO_SCHEMA),
    _field("response_format", _schema({"required": "a"}), _SCHEMA, _NO_SCHEMA),
    _field("response_format", _schema({"minLength": -1}), _SCHEMA, _NO_SCHEMA),
    _field("response_format", _schema({"enum": []}), _SCHEMA, _NO_SCHEMA),
    _field("response_format", _schema({"anyOf": {}}), _SCHEMA, _NO_SCHEMA),
    _field("response_format", _schema({"$ref": "#/$defs/nothing"}), _SCHEMA, _NO_SCHEMA),
    _field("response_format", _schema({"$ref": "https://example.com/schema"}), _SCHEMA, _NO_SCHEMA),
    # tools
    _field("tools", "get_weather", "tools", "invalid_type"),
    _field("tools", [{"function": {"name": "f"}}], "tools[0].type", "missing_required_parameter"),
    _field("tools", [{"type": "retrieval"}], "tools[0].type", "invalid_value"),
    _field("tools", [{"type": "function"}], "tools[0].function", "missing_required_parameter"),
    _field("tools", [{"type": "function", "function": {}}], "tools[0].function.name", "missing_required_parameter"),
    _field("tools", [{"type": "custom", "custom": {"name": "f"}}], "tools[0].type", "unsupported_value"),
    _field("tools", [_tool("a b")], "tools[0].function.name", "invalid_value"),
    _field("tools", [_tool("")], "tools[0].function.name", "invalid_value"),
    _field("tools", [_tool("a" * 65)], "tools[0].function.name", "invalid_value"),
    _field("tools", [_tool(), _tool()], "tools[1].function.name", "invalid_value", why="same name twice"),
    _field("tools", [_tool(parameters="{}")], "tools[0].function.parameters", "invalid_type"),
    _field("tools", [_tool(parameters={"type": "thing"})], "tools[0].function.parameters", _NO_SCHEMA),
    _field("tool_choice", "required", "tool_choice", "invalid_value", why="required without tools"),
    _field("tool_choice", _tool(), "tool_choice", "invalid_value", why="named without tools"),
    _field("tool_choice", "some", "tool_choice", "invalid_value", tools=[_tool()]),
    _field("tool_choice", "any", "tool_choice", "invalid_value", why="any without tools"),
    _field("tool_choice", 5, "tool_choice", "invalid_type", tools=[_tool()]),
    _field("tool_choice", {"function": {"name": "get_weather"}}, "tool_choice.type", "missing_required_parameter",
           tools=[_tool()]),
    _field("tool_choice", _tool("other"), "tool_choice.function.name", "invalid_value", tools=[_tool()]),
    _field("tool_choice", {"type": "custom", "custom": {"name": "get_weather"}}, "tool_choice.type",
           "unsupported_value", tools=[_tool()]),
    _field("tool_choice", {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [_tool("other")]}},
           "tool_choice.allowed_tools.tools[0].function.name", "invalid_value", tools=[_tool()]),
    _field("tool_choice", {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": []}},
           "tool_choice.allowed_tools.tools", "empty_array", tools=[_tool()]),
    _field("parallel_tool_calls", "no", "parallel_tool_calls", "invalid_type"),
    # the rest
    _field("reasoning_effort", "huge", "reasoning_effort", "invalid_value"),
    _field("reasoning_effort", 1, "reasoning_effort", "invalid_type"),
    _field("thinking", {"type": "enabled"}, "thinking.type", "unsupported_value"),
    _field("thinking", {"type": "off"}, "thinking.type", "invalid_value"),
    _field("thinking", {"type": "disabled"}, "thinking", "invalid_value", why="disabled with an effort",
           reasoning_effort="high"),
    _field("thinking", {"type": "disabled"}, "thinking", "invalid_value", why="disabled and enabled",
           chat_template_kwargs={"enable_thinking": True}),
    _messages("a cache that lasts for ever",
              [{"role": "user", "content": [{"type": "text", "text": "Hi", "cache_control": {"type": "durable"}}]}],
              "messages[0].content[0].cache_control.type", "invalid_value"),
    _field("chat_template_kwargs", [], "chat_template_kwargs", "invalid_type"),
    _field("chat_template_kwargs", {"a": list(range(100_001))}, "chat_template_kwargs", "too_large",
           why="100,001 values"),
    _field("user", 5, "user", "invalid_type"),
    _field("safety_identifier", "x" * 129, "safety_identifier", "string_above_max_length", why="129 characters"),
    _field("metadata", {f"key{at}": "v" for at in range(17)}, "metadata", "object_above_max_length", why="17 pairs"),
    _field("metadata", {"k" * 65: "v"}, f"metadata.{'k' * 64}…", "string_above_max_length", why="key too long"),
    _field("metadata", {"a": "v", "b": "v" * 513}, "metadata.b", "string_above_max_length", why="value too long"),
    _field("metadata", {"a": 5}, "metadata.a", "invalid_type"),
    _field("metadata", "a=b", "metadata", "invalid_type"),
    _field("prompt_cache_key", 5, "prompt_cache_key", "invalid_type"),
    _field("prompt_cache_options", {"mode": "never"}, "prompt_cache_options.mode", "invalid_value"),
    _field("prompt_cache_retention", "1h", "prompt_cache_retention", "invalid_value"),
    _field("prediction", {"type": "content"}, "prediction.content", "missing_required_parameter"),
    _field("prediction", {"content": "Hi"}, "prediction.type", "missing_required_parameter"),
    # before the body is decoded
    BadRequest("type: none", _PLAIN, 415, None, "unsupported_media_type", {}, "http"),
    BadRequest("type: text", _PLAIN, 415, None, "unsupported_media_type", {"content-type": "text/plain"}, "http"),
    BadRequest("type: form", b"model=m", 415, None, "unsupported_media_type",
               {"content-type": "application/x-www-form-urlencoded"}, "http"),
    BadRequest("encoding: gzip", _PLAIN, 415, None, "unsupported_content_encoding",
               {**JSON, "content-encoding": "gzip"}, "http"),
    BadRequest("size: above the limit", b" " * (LIMIT_BYTES + 1), 413, None, "request_too_large", JSON, "http"),
    BadRequest("method: GET", b"", 405, None, "method_not_allowed", {}, "http", "GET"),
    BadRequest("method: DELETE", b"", 405, None, "method_not_allowed", {}, "http", "DELETE"),
    BadRequest("path: unknown", _PLAIN, 404, None, "not_found", JSON, "http", "POST", "/v1/completion"),
)  # fmt: skip
