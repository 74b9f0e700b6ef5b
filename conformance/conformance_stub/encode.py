"""The stub's events in the API's JSON form, whole or in chunks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from enginehouse_plugin import (
    AnyEvent,
    Finished,
    ReasoningDelta,
    Started,
    TextDelta,
    ToolCallDelta,
    UsageReport,
)

from .fields import Body
from .wire_parts import WireParts


class Encoder:
    """Turns the events of one request into chunks, or into one JSON answer."""

    def __init__(self, parts: WireParts, body: Body, request_id: str, *, usage_on_last: bool) -> None:
        self._parts = parts
        self._body = body
        self._base = {"id": request_id, "created": parts.created(), "model": parts.model}
        self._has_role: set[int] = set()
        self._wants_usage = bool((body.get("stream_options") or {}).get("include_usage"))
        self._usage_on_last = usage_on_last and not self._wants_usage
        self._held: Body | None = None

    # ---- chunks ----

    def chunks(self, event: AnyEvent) -> list[Body]:
        """The chunks that *event* gives, already through the seam."""
        made = self._held_back(event) if self._usage_on_last else list(self._chunks(event))
        return self._parts.chunks(made, self._body)

    def _held_back(self, event: AnyEvent) -> list[Body]:
        # A profile whose last chunk carries usage: keep the newest finish until usage or another one comes.
        if isinstance(event, UsageReport) and self._held is not None:
            return [{**self._held, "usage": self._usage(event)}]
        made = list(self._chunks(event))
        if isinstance(event, Finished):
            made, self._held = [*([self._held] if self._held else []), *made[:-1]], made[-1]
        return made

    def _chunks(self, event: AnyEvent) -> Iterable[Body]:
        match event:
            case UsageReport() if self._wants_usage:
                yield {**self._chunk(), "choices": [], "usage": self._usage(event)}
            case TextDelta():
                delta = {"content": event.text}
                yield from self._role(event.choice)
                yield self._delta(event.choice, delta, logprobs=event)
            case ReasoningDelta():
                yield from self._role(event.choice)
                yield self._delta(event.choice, {"reasoning_content": event.text})
            case ToolCallDelta():
                yield from self._role(event.choice)
                yield self._delta(event.choice, {"tool_calls": [_call_piece(event)]})
            case Finished():
                yield from self._role(event.choice)
                yield self._delta(event.choice, {}, finish=event.reason)

    def _role(self, choice: int) -> Iterable[Body]:
        if choice not in self._has_role:
            self._has_role.add(choice)
            yield self._delta(choice, {"role": "assistant", "content": ""})

    def _delta(self, choice: int, delta: Body, *, finish: str | None = None, logprobs: TextDelta | None = None) -> Body:
        entry: Body = {"index": choice, "delta": delta, "finish_reason": finish, "logprobs": None}
        if logprobs is not None and logprobs.logprobs is not None:
            entry["logprobs"] = {"content": self._parts.entries(logprobs.logprobs)}
        return {**self._chunk(), "choices": [entry]}

    def _chunk(self) -> Body:
        chunk: Body = {**self._base, "object": "chat.completion.chunk"}
        return {**chunk, "usage": None} if self._wants_usage else chunk

    # ---- the whole ----

    def answer(self, events: Iterable[AnyEvent]) -> Body:
        """The JSON answer that *events* make up, already through the seam."""
        choices: dict[int, Body] = {}
        usage: Body = {}
        for event in events:
            if isinstance(event, Started):
                continue
            if isinstance(event, UsageReport):
                usage = self._usage(event)
                continue
            choice = choices.setdefault(event.choice, _new_choice(event.choice))
            self._add(choice, event)
        answer = {
            **self._base,
            "object": "chat.completion",
            "choices": [choices[index] for index in sorted(choices)],
            "usage": usage,
            "system_fingerprint": "fp_stub",
        }
        return self._parts.answer(answer, self._body)

    def _add(self, choice: Body, event: AnyEvent) -> None:
        message = choice["message"]
        match event:
            case TextDelta():
                message["content"] = (message["content"] or "") + event.text
                if event.logprobs is not None:
                    choice["logprobs"] = choice["logprobs"] or {"content": []}
                    choice["logprobs"]["content"] += self._parts.entries(event.logprobs)
            case ReasoningDelta():
                message["reasoning_content"] = message.get("reasoning_content", "") + event.text
            case ToolCallDelta():
                _add_call(message.setdefault("tool_calls", []), event)
            case Finished():
                choice["finish_reason"] = event.reason
                if message["content"] is None and not message.get("tool_calls"):
                    message["content"] = ""
                if self._body.get("logprobs") and choice["logprobs"] is None:
                    choice["logprobs"] = {"content": []}

    def _usage(self, event: UsageReport) -> Body:
        usage = {
            "prompt_tokens": event.prompt_tokens,
            "completion_tokens": event.completion_tokens,
            "total_tokens": event.prompt_tokens + event.completion_tokens,
            "prompt_tokens_details": {"cached_tokens": event.cached_tokens},
            "completion_tokens_details": {"reasoning_tokens": event.reasoning_tokens},
        }
        return self._parts.usage(usage, self._body)


def _new_choice(index: int) -> Body:
    return {
        "index": index,
        "message": {"role": "assistant", "content": None},
        "finish_reason": None,
        "logprobs": None,
    }


def _call_piece(event: ToolCallDelta) -> Body:
    function: dict[str, Any] = {"arguments": event.arguments_fragment}
    if event.name is not None:
        function["name"] = event.name
    piece: Body = {"index": event.call_index, "function": function}
    return {**piece, "id": event.id, "type": "function"} if event.id is not None else piece


def _add_call(calls: list[Any], event: ToolCallDelta) -> None:
    if event.call_index == len(calls):
        calls.append({"id": event.id, "type": "function", "function": {"name": event.name, "arguments": ""}})
    calls[event.call_index]["function"]["arguments"] += event.arguments_fragment
