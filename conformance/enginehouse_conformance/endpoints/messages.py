"""How Messages is asked, and how its answers are read."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from enginehouse_conformance.answer import Answer, Call, Choice, Json, Usage
from enginehouse_conformance.targets.base import Body
from enginehouse_conformance.wire.faults import BrokenAnswer

from .base import Endpoint, Event, entry

_REASONS = {"end_turn": "stop", "stop_sequence": "stop", "max_tokens": "length", "tool_use": "tool_calls"}


class Messages(Endpoint):
    """`POST /messages`."""

    name = "messages"
    path = "/messages"
    headers = (("anthropic-version", "2023-06-01"),)

    def body(self, prompt: str, max_tokens: int) -> Body:
        """A greedy request."""
        return {"messages": [{"role": "user", "content": prompt}], "max_tokens": max_tokens, "temperature": 0}

    def answer(self, raw: dict[str, Json]) -> Answer:
        """The message *raw*."""
        return _answer(raw, entry(raw, "content", list), entry(raw, "usage", dict))

    def streamed(self, events: Sequence[Event]) -> Answer:
        """What the deltas make up; the reason and the counts are those of message_delta."""
        return _answer(*folded(events))


def folded(events: Sequence[Event]) -> tuple[dict[str, Json], list[Json], dict[str, Json]]:
    """The message, its blocks and its usage, as *events* make them up; raises BrokenAnswer where they do not."""
    message: dict[str, Json] = {}
    blocks: dict[int, dict[str, Json]] = {}
    inputs: dict[int, str] = {}
    usage: dict[str, Json] = {}
    for event in events:
        data = event.data
        match event.type:
            case "message_start":
                message = dict(entry(data, "message", dict))
                usage = dict(entry(message, "usage", dict))
            case "content_block_start":
                blocks[entry(data, "index", int)] = dict(entry(data, "content_block", dict))
            case "content_block_delta":
                at, delta = entry(data, "index", int), entry(data, "delta", dict)
                if at not in blocks:
                    raise BrokenAnswer(f"a delta of block {at}, which has not begun")
                if delta.get("type") == "input_json_delta":
                    inputs[at] = inputs.get(at, "") + entry(delta, "partial_json", str)
                for name in ("text", "thinking", "signature"):
                    if name in delta:
                        blocks[at][name] = (blocks[at].get(name) or "") + delta[name]
            case "message_delta":
                message |= entry(data, "delta", dict)
                usage |= data.get("usage") or {}
    for at, text in inputs.items():
        blocks[at]["input"] = _decoded(text)
    if not message:
        raise BrokenAnswer("the stream has no message_start")
    return message, [blocks[at] for at in sorted(blocks)], usage


def _decoded(text: str) -> Json:
    try:
        return msgspec.json.decode(text) if text else {}
    except msgspec.DecodeError as exc:
        raise BrokenAnswer(f"the input of a tool_use is no JSON: {text[:200]!r}") from exc


def _answer(raw: dict[str, Json], blocks: list[Json], usage: dict[str, Json]) -> Answer:
    calls = [
        Call(
            id=block.get("id"),
            type="function",
            name=entry(block, "name", str),
            arguments=msgspec.json.encode(entry(block, "input", dict)).decode(),
        )
        for block in blocks
        if block.get("type") == "tool_use"
    ]
    choice = Choice(
        index=0,
        text="".join(entry(block, "text", str) for block in blocks if entry(block, "type", str) == "text"),
        reasoning="".join(block.get("thinking") or "" for block in blocks),
        calls=tuple(calls),
        finish=_REASONS.get(str(raw.get("stop_reason"))),
        role=raw.get("role"),
    )
    cached = (usage.get("cache_read_input_tokens") or 0) + (usage.get("cache_creation_input_tokens") or 0)
    prompt, completion = entry(usage, "input_tokens", int) + cached, entry(usage, "output_tokens", int)
    counts = Usage(
        prompt_tokens=prompt,
        completion_tokens=completion,
        total_tokens=prompt + completion,
        cached_tokens=usage.get("cache_read_input_tokens"),
    )
    return Answer(choices=(choice,), usage=counts, model=raw.get("model"), raw=raw)
