"""Requests that the OpenAPI document shows; tests decode each of them."""

from __future__ import annotations

from typing import Any

MODEL = "smollm2-135m"

_WEATHER = {
    "type": "function",
    "name": "get_weather",
    "description": "Current weather of a city.",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    },
    "strict": True,
}

REQUESTS: dict[str, dict[str, Any]] = {
    "A question": {
        "model": MODEL,
        "instructions": "You answer in one sentence.",
        "input": "What is gravity?",
        "max_output_tokens": 64,
    },
    "A stream of a conversation that is not kept": {
        "model": MODEL,
        "input": [
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Tell me a story."}]},
        ],
        "store": False,
        "stream": True,
    },
    "An answer by a JSON Schema": {
        "model": MODEL,
        "input": "Name a colour.",
        "text": {
            "format": {
                "type": "json_schema",
                "name": "colour",
                "schema": {
                    "type": "object",
                    "properties": {"name": {"type": "string", "enum": ["red", "green", "blue"]}},
                    "required": ["name"],
                    "additionalProperties": False,
                },
            }
        },
    },
    "A forced tool call": {
        "model": MODEL,
        "input": "What is the weather in Lisbon?",
        "tools": [_WEATHER],
        "tool_choice": {"type": "function", "name": "get_weather"},
    },
    "A tool's result": {
        "model": MODEL,
        "input": [
            {"role": "user", "content": "What is the weather in Lisbon?"},
            {"type": "function_call", "call_id": "call_1", "name": "get_weather", "arguments": '{"city": "Lisbon"}'},
            {"type": "function_call_output", "call_id": "call_1", "output": "21 degrees, sunny"},
        ],
        "tools": [_WEATHER],
    },
}

STREAM = """\
event: response.output_text.delta
data: {"type":"response.output_text.delta","item_id":"msg_5f0c","output_index":0,"content_index":0,"delta":"Once",\
"logprobs":[],"sequence_number":4}

"""
