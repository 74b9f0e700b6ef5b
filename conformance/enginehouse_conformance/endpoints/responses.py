"""How Responses is asked, and how its answers are read."""

from __future__ import annotations

from collections.abc import Sequence

from enginehouse_conformance.answer import Answer, Call, Choice, Json, Usage
from enginehouse_conformance.reading import read_logprobs
from enginehouse_conformance.targets.base import Body
from enginehouse_conformance.wire.faults import BrokenAnswer

from .base import Endpoint, Event, entry

LAST = ("response.completed", "response.incomplete", "response.failed")
"""One of these ends a stream."""


class Responses(Endpoint):
    """`POST /responses`."""

    name = "responses"
    path = "/responses"

    def body(self, prompt: str, max_tokens: int) -> Body:
        """A greedy request."""
        return {"input": prompt, "max_output_tokens": max_tokens, "temperature": 0}

    def answer(self, raw: dict[str, Json]) -> Answer:
        """The response *raw*."""
        texts: list[str] = []
        reasoning: list[str] = []
        calls: list[Call] = []
        entries: list[Json] = []
        for item in entry(raw, "output", list):
            match entry(item, "type", str):
                case "message":
                    for part in entry(item, "content", list):
                        texts += [entry(part, "text", str)] if part.get("type") == "output_text" else []
                        entries += part.get("logprobs") or []
                case "reasoning":
                    parts = item.get("content") or entry(item, "summary", list)
                    reasoning += [entry(part, "text", str) for part in parts]
                case "function_call":
                    calls.append(_call(item))
        return _answer(raw, "".join(texts), "".join(reasoning), calls, entries)

    def streamed(self, events: Sequence[Event]) -> Answer:
        """What the deltas say; status and usage are those of the last event."""
        texts: list[str] = []
        reasoning: list[str] = []
        arguments: dict[Json, str] = {}
        called: dict[Json, Json] = {}
        entries: list[Json] = []
        for event in events:
            match event.type:
                case "response.output_text.delta":
                    texts.append(entry(event.data, "delta", str))
                    entries += event.data.get("logprobs") or []
                case "response.reasoning_text.delta" | "response.reasoning_summary_text.delta":
                    reasoning.append(entry(event.data, "delta", str))
                case "response.output_item.added" if (item := entry(event.data, "item", dict)).get("type") == (
                    "function_call"
                ):
                    called[event.data.get("output_index")] = item
                case "response.function_call_arguments.delta":
                    at = event.data.get("output_index")
                    arguments[at] = arguments.get(at, "") + entry(event.data, "delta", str)
        calls = [_call({**item, "arguments": arguments.get(at, "")}) for at, item in called.items()]
        return _answer(last(events), "".join(texts), "".join(reasoning), calls, entries)


def last(events: Sequence[Event]) -> dict[str, Json]:
    """The response that ends a stream; raises BrokenAnswer where none does."""
    if not events or events[-1].type not in LAST:
        raise BrokenAnswer(f"the stream ends with {events[-1].type if events else 'nothing'!r}, not with a response")
    found: dict[str, Json] = entry(events[-1].data, "response", dict)
    return found


def _call(item: Json) -> Call:
    name, arguments = entry(item, "name", str), entry(item, "arguments", str)
    return Call(id=item.get("call_id"), type="function", name=name, arguments=arguments)


def _answer(raw: dict[str, Json], text: str, reasoning: str, calls: list[Call], entries: list[Json]) -> Answer:
    finish = {"completed": "tool_calls" if calls else "stop", "incomplete": "length"}.get(entry(raw, "status", str))
    choice = Choice(
        index=0,
        text=text,
        reasoning=reasoning,
        calls=tuple(calls),
        finish=finish,
        logprobs=read_logprobs({"content": entries}) if entries else None,
    )
    return Answer(choices=(choice,), usage=_usage(raw.get("usage")), model=raw.get("model"), raw=raw)


def _usage(raw: Json) -> Usage | None:
    if raw is None:
        return None
    return Usage(
        prompt_tokens=entry(raw, "input_tokens", int),
        completion_tokens=entry(raw, "output_tokens", int),
        total_tokens=entry(raw, "total_tokens", int),
        cached_tokens=entry(raw.get("input_tokens_details"), "cached_tokens", int),
        reasoning_tokens=entry(raw.get("output_tokens_details"), "reasoning_tokens", int),
    )
