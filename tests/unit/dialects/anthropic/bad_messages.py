"""Requests to Messages that must be refused, as data: what differs from a good one, and the field that is named."""

from __future__ import annotations

from typing import Any

USER = {"role": "user", "content": "Hi"}
TOOL = {"name": "look", "input_schema": {"type": "object"}}
CALL = {"type": "tool_use", "id": "c1", "name": "look", "input": {}}
RESULT = {"type": "tool_result", "tool_use_id": "c1", "content": "1"}
CALLED = [USER, {"role": "assistant", "content": [CALL]}]
GOOD: dict[str, Any] = {"model": "m", "max_tokens": 8, "messages": [USER]}


def _said(*blocks: Any, role: str = "user") -> list[Any]:
    return [{"role": role, "content": list(blocks)}, USER]


BAD: list[tuple[dict[str, Any], str]] = [
    ({"model": ...}, "model"),
    ({"model": 5}, "model"),
    ({"model": ""}, "model"),
    ({"max_tokens": ...}, "max_tokens"),
    ({"max_tokens": 0}, "max_tokens"),
    ({"max_tokens": -1}, "max_tokens"),
    ({"max_tokens": 1.5}, "max_tokens"),
    ({"max_tokens": "8"}, "max_tokens"),
    ({"max_tokens": True}, "max_tokens"),
    ({"max_tokens": 2**40}, "max_tokens"),
    ({"messages": ...}, "messages"),
    ({"messages": []}, "messages"),
    ({"messages": "Hi"}, "messages"),
    ({"messages": [5]}, "messages[0]"),
    ({"messages": [{"role": "user"}]}, "messages[0].content"),
    ({"messages": [{"content": "Hi"}]}, "messages[0].role"),
    ({"messages": [{"role": "tool", "content": "Hi"}]}, "messages[0].role"),
    ({"messages": [{"role": "user", "content": ""}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": []}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": None}]}, "messages[0].content"),
    ({"messages": [USER, {"role": "assistant", "content": "Yes, it"}]}, "messages[1].role"),
    ({"messages": _said({"type": "text", "text": ""})}, "messages[0].content[0].text"),
    ({"messages": _said({"type": "text"})}, "messages[0].content[0].text"),
    ({"messages": _said({"type": "text", "text": 5})}, "messages[0].content[0].text"),
    ({"messages": _said({"text": "Hi"})}, "messages[0].content[0].type"),
    ({"messages": _said({"type": "video", "text": "Hi"})}, "messages[0].content[0].type"),
    ({"messages": _said({"type": "thinking", "thinking": "", "signature": ""})}, "messages[0].content[0].type"),
    ({"messages": _said(CALL)}, "messages[0].content[0].type"),
    ({"messages": _said(RESULT)}, "messages[0].content[0].tool_use_id"),
    ({"messages": _said(RESULT, role="assistant")}, "messages[0].content[0].type"),
    ({"messages": [*CALLED, USER]}, "messages[1].content[0].id"),
    ({"messages": [*CALLED, {"role": "user", "content": [RESULT, RESULT]}]}, "messages[2].content[1].tool_use_id"),
    ({"messages": [USER, {"role": "assistant", "content": [CALL, CALL]}]}, "messages[1].content[1].id"),
    ({"messages": _said({**CALL, "input": "{}"}, role="assistant")}, "messages[0].content[0].input"),
    ({"messages": _said({**RESULT, "is_error": "no"})}, "messages[0].content[0].is_error"),
    ({"messages": _said({**RESULT, "content": [CALL]})}, "messages[0].content[0].content[0].type"),
    ({"messages": _said({"type": "thinking", "thinking": "x"}, role="assistant")}, "messages[0].content[0].signature"),
    ({"messages": _said({"type": "image", "source": {"type": "base64", "data": "AA=="}})}, "source.media_type"),
    (
        {"messages": _said({"type": "image", "source": {"type": "base64", "media_type": "image/bmp", "data": "AA=="}})},
        "messages[0].content[0].source.media_type",
    ),
    ({"messages": _said({"type": "image", "source": {"type": "file", "file_id": "f"}})}, "source.type"),
    ({"messages": _said({"type": "document", "source": {"type": "url", "url": "https://x.org"}})}, "source.type"),
    ({"messages": _said({"type": "text", "text": "x", "cache_control": {"type": "for ever"}})}, "cache_control.type"),
    ({"cache_control": {"type": "ephemeral", "ttl": "2h"}}, "cache_control.ttl"),
    ({"system": 5}, "system"),
    ({"system": [{"type": "text", "text": ""}]}, "system[0].text"),
    ({"system": [{"type": "image"}]}, "system[0].type"),
    ({"temperature": 1.1}, "temperature"),
    ({"temperature": -0.1}, "temperature"),
    ({"temperature": "0"}, "temperature"),
    ({"top_p": 2}, "top_p"),
    ({"top_k": -1}, "top_k"),
    ({"top_k": 0.5}, "top_k"),
    ({"stream": "yes"}, "stream"),
    ({"stop_sequences": "stop"}, "stop_sequences"),
    ({"stop_sequences": [""]}, "stop_sequences[0]"),
    ({"stop_sequences": [5]}, "stop_sequences[0]"),
    ({"metadata": "u"}, "metadata"),
    ({"metadata": {"user_id": 5}}, "metadata.user_id"),
    ({"metadata": {"user_id": "u" * 600}}, "metadata.user_id"),
    ({"service_tier": "fast"}, "service_tier"),
    ({"tools": {}}, "tools"),
    ({"tools": [{"name": "look"}]}, "tools[0].input_schema"),
    ({"tools": [{**TOOL, "name": "two words"}]}, "tools[0].name"),
    ({"tools": [{**TOOL, "name": "x" * 129}]}, "tools[0].name"),
    ({"tools": [{"input_schema": {"type": "object"}}]}, "tools[0].name"),
    ({"tools": [TOOL, TOOL]}, "tools[1].name"),
    ({"tools": [{**TOOL, "input_schema": {"type": "string"}}]}, "tools[0].input_schema.type"),
    ({"tools": [{**TOOL, "input_schema": {"type": "object", "properties": 5}}]}, "tools[0].input_schema"),
    ({"tools": [{**TOOL, "input_schema": {"type": "object", "$ref": "#/nowhere"}}]}, "tools[0].input_schema"),
    ({"tools": [{**TOOL, "description": 5}]}, "tools[0].description"),
    ({"tool_choice": "auto"}, "tool_choice"),
    ({"tool_choice": {"type": "any"}}, "tool_choice"),
    ({"tool_choice": {"type": "must"}, "tools": [TOOL]}, "tool_choice.type"),
    ({"tool_choice": {"type": "tool"}, "tools": [TOOL]}, "tool_choice.name"),
    ({"tool_choice": {"type": "tool", "name": "other"}, "tools": [TOOL]}, "tool_choice.name"),
    ({"tool_choice": {"type": "auto", "disable_parallel_tool_use": 1}, "tools": [TOOL]}, "disable_parallel_tool_use"),
    ({"thinking": {"type": "enabled"}}, "thinking.budget_tokens"),
    ({"thinking": {"type": "enabled", "budget_tokens": 10}}, "thinking.budget_tokens"),
    ({"thinking": {"type": "enabled", "budget_tokens": 1024}, "max_tokens": 1024}, "thinking.budget_tokens"),
    ({"thinking": {"type": "sometimes"}}, "thinking.type"),
    ({"thinking": {"type": "adaptive", "display": "loud"}}, "thinking.display"),
    ({"output_config": {"effort": "none"}}, "output_config.effort"),
    ({"output_config": {"format": {"type": "xml"}}}, "output_config.format.type"),
    ({"output_config": {"format": {"type": "json_schema"}}}, "output_config.format.schema"),
    (
        {"output_config": {"format": {"type": "json_schema", "schema": {"type": "x"}}}},
        "output_config.format.schema",
    ),
    ({"speed": "slow"}, "speed"),
]
"""What differs from `GOOD` (`...`: the field is left out), and what the message must name."""
