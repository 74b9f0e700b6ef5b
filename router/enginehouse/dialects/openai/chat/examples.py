"""Requests that the OpenAPI document shows; tests decode each of them."""

from __future__ import annotations

from typing import Any

MODEL = "smollm2-135m"

_WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Current weather of a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}
_ASKED = {"role": "user", "content": "What is the weather in Lisbon?"}

REQUESTS: dict[str, dict[str, Any]] = {
    "A question": {
        "model": MODEL,
        "messages": [
            {"role": "system", "content": "You answer in one sentence."},
            {"role": "user", "content": "What is gravity?"},
        ],
        "max_completion_tokens": 64,
    },
    "A stream with usage": {
        "model": MODEL,
        "messages": [{"role": "user", "content": "Tell me a story."}],
        "temperature": 0.7,
        "stream": True,
        "stream_options": {"include_usage": True},
    },
    "An answer by a JSON Schema": {
        "model": MODEL,
        "messages": [{"role": "user", "content": "Name a colour."}],
        "response_format": {
            "type": "json_schema",
            "json_schema": {
                "name": "colour",
                "schema": {
                    "type": "object",
                    "properties": {"name": {"type": "string", "enum": ["red", "green", "blue"]}},
                    "required": ["name"],
                    "additionalProperties": False,
                },
            },
        },
    },
    "A forced tool call": {
        "model": MODEL,
        "messages": [_ASKED],
        "tools": [_WEATHER],
        "tool_choice": {"type": "function", "function": {"name": "get_weather"}},
    },
    "A tool's result": {
        "model": MODEL,
        "messages": [
            _ASKED,
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {
                        "id": "call_1",
                        "type": "function",
                        "function": {"name": "get_weather", "arguments": '{"city": "Lisbon"}'},
                    }
                ],
            },
            {"role": "tool", "tool_call_id": "call_1", "content": "21 degrees, sunny"},
        ],
        "tools": [_WEATHER],
    },
    "Log probabilities, reproducible": {
        "model": MODEL,
        "messages": [{"role": "user", "content": "Yes or no?"}],
        "temperature": 0,
        "seed": 7,
        "logprobs": True,
        "top_logprobs": 3,
        "max_completion_tokens": 1,
    },
}

STREAM = """\
data: {"id":"chatcmpl-5f0c","object":"chat.completion.chunk","created":1767225600,"model":"smollm2-135m",\
"system_fingerprint":null,"choices":[{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,\
"finish_reason":null}],"usage":null}

data: {"id":"chatcmpl-5f0c","object":"chat.completion.chunk","created":1767225600,"model":"smollm2-135m",\
"system_fingerprint":null,"choices":[{"index":0,"delta":{"content":"Once"},"logprobs":null,\
"finish_reason":null}],"usage":null}

data: {"id":"chatcmpl-5f0c","object":"chat.completion.chunk","created":1767225600,"model":"smollm2-135m",\
"system_fingerprint":null,"choices":[{"index":0,"delta":{},"logprobs":null,"finish_reason":"stop"}],"usage":null}

data: {"id":"chatcmpl-5f0c","object":"chat.completion.chunk","created":1767225600,"model":"smollm2-135m",\
"system_fingerprint":null,"choices":[],"usage":{"prompt_tokens":34,"completion_tokens":2,"total_tokens":36,\
"prompt_tokens_details":{"cached_tokens":0},"completion_tokens_details":{"reasoning_tokens":0}}}

data: [DONE]

"""
