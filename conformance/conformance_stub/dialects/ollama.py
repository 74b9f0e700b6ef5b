"""The stub's routes of Ollama that generate."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from conformance_stub import fields
from conformance_stub.fields import Body, Problem

from .base import Call, Dialect, Made, Said, set_where

_RENAMED = {"num_predict": "max_tokens", "repeat_penalty": "repetition_penalty"}
_OPTIONS = {
    "temperature": fields.number(0, 2), "top_p": fields.number(0, 1), "top_k": fields.integer(-1),
    "min_p": fields.number(0, 1), "seed": fields.integer(-(2**63)), "num_predict": fields.integer(1),
    "stop": fields.stop, "presence_penalty": fields.number(-2, 2), "frequency_penalty": fields.number(-2, 2),
    "repeat_penalty": fields.number(0.01, 2),
}  # fmt: skip


def _options(value: Any, body: Body) -> Problem:
    if not isinstance(value, dict):
        return "must be an object"
    for name, each in value.items():
        if name not in _OPTIONS:
            return f".{name} is not known"
        problem = None if each is None else _OPTIONS[name](each, body)
        if problem:
            return f".{name} {problem}"
    return None


def _format(value: Any, body: Body) -> Problem:
    del body
    return None if value in ("", "json") or isinstance(value, dict) else "must be json or a schema"


def _keep_alive(value: Any, body: Body) -> Problem:
    del body
    return None if isinstance(value, str | int | float) else "must be a duration"


def _messages(value: Any, body: Body) -> Problem:
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        return "must be an array of messages"
    return fields.messages(_as_chat(value), body)


def _as_chat(messages: list[Body]) -> list[Body]:
    made: list[Body] = []
    for at, message in enumerate(messages):
        calls = message.get("tool_calls")
        if calls:
            made.append({**message, "tool_calls": [_call(call, f"{at}{index}") for index, call in enumerate(calls)]})
        elif message.get("role") == "tool":
            called = next((each for each in reversed(made) if each.get("tool_calls")), None)
            call_id = called["tool_calls"][0]["id"] if called else ""
            made.append({"role": "tool", "tool_call_id": call_id, "content": message.get("content", "")})
        else:
            made.append(message)
    return made


def _call(call: Body, number: str) -> Body:
    function = call["function"]
    arguments = msgspec.json.encode(function["arguments"]).decode()
    call_id = call.get("id") or f"call_{number}"
    return {"id": call_id, "type": "function", "function": {"name": function["name"], "arguments": arguments}}


class Ollama(Dialect):
    """`POST /api/chat`."""

    name = "ollama"
    path = "/api/chat"
    is_at_host = True
    content_type = "application/x-ndjson"
    required = ("model", "messages")
    places = {"response_format": "format"}  # never changed
    fields = {  # never changed
        "model": fields.text, "messages": _messages, "options": _options, "format": _format, "tools": fields.tools,
        "stream": fields.boolean, "keep_alive": _keep_alive,
    }  # fmt: skip

    def chat(self, body: Body) -> Body:
        """The chat request."""
        return {"messages": _as_chat(body["messages"]), **_asked(body)}

    def is_streamed(self, body: Body) -> bool:
        """It is, unless it is not to be."""
        return body.get("stream") is not False

    def said_as(self, text: str, calls: list[Call]) -> Body:
        """A piece of the answer."""
        message: Body = {"role": "assistant", "content": text}
        if calls:
            message["tool_calls"] = [_given(call) for call in calls]
        return {"message": message}

    def events(self, body: Body, said: Said, model: str, created: int) -> Iterator[Made]:
        """The lines."""
        del body
        base = {"model": model, "created_at": datetime.fromtimestamp(created, UTC).isoformat().replace("+00:00", "Z")}
        for text, _ in said.texts:
            yield "", {**base, **self.said_as(text, []), "done": False}
        usage = said.usage
        yield "", {
            **base, **self.said_as("", said.calls), "done": True,
            "done_reason": "length" if said.reason == "length" else "stop", "total_duration": 3000,
            "load_duration": 0, "prompt_eval_count": usage.prompt_tokens, "prompt_eval_duration": 1000,
            "eval_count": usage.completion_tokens, "eval_duration": 2000,
        }  # fmt: skip

    def whole(self, events: Sequence[Made]) -> Body:
        """The last line with all of the text."""
        last = events[-1][1]
        if "message" not in last:
            return {**last, "response": "".join(data["response"] for _, data in events)}
        text = "".join(data["message"]["content"] for _, data in events)
        return {**last, "message": {**last["message"], "content": text}}

    def piece(self, event: Made) -> bytes:
        """*event* as a line."""
        return msgspec.json.encode(event[1]) + b"\n"

    def error(self, error: Body, status: int) -> Body:
        """An error in this dialect's form."""
        del status
        return {"error": error["error"]["message"]}


class OllamaGenerate(Ollama):
    """`POST /api/generate`."""

    name = "ollama_generate"
    path = "/api/generate"
    required = ("model", "prompt")
    fields = {  # never changed
        "model": fields.text, "prompt": fields.text, "system": fields.text, "raw": fields.boolean,
        "options": _options, "format": _format, "stream": fields.boolean, "keep_alive": _keep_alive,
    }  # fmt: skip

    def chat(self, body: Body) -> Body:
        """The chat request, or a raw prompt."""
        system = [{"role": "system", "content": body["system"]}] if body.get("system") else []
        made = {"messages": [*system, {"role": "user", "content": body["prompt"]}], **_asked(body)}
        return {**made, "raw": body["prompt"]} if body.get("raw") else made

    def said_as(self, text: str, calls: list[Call]) -> Body:
        """A piece of the answer."""
        del calls
        return {"response": text}


def _asked(body: Body) -> Body:
    made: Body = {}
    for name, value in (body.get("options") or {}).items():
        set_where(made, **{_RENAMED.get(str(name), str(name)): value})
    form = body.get("format")
    if form == "json":
        made["response_format"] = {"type": "json_object"}
    elif isinstance(form, dict):
        schema = {"name": "format", "schema": form, "strict": True}
        made["response_format"] = {"type": "json_schema", "json_schema": schema}
    set_where(made, tools=body.get("tools"))
    return made


def _given(call: Call) -> Body:
    try:
        arguments = msgspec.json.decode(call.arguments)
    except msgspec.DecodeError:
        arguments = {}
    return {"id": call.id, "function": {"name": call.name, "arguments": arguments}}
