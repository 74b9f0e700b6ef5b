"""How completions are asked, and how their answers are read."""

from __future__ import annotations

from collections.abc import Sequence

from enginehouse_conformance.answer import Answer, Choice, Json
from enginehouse_conformance.reading import read_usage
from enginehouse_conformance.targets.base import Body
from enginehouse_conformance.targets.replies import Reply
from enginehouse_conformance.wire.faults import BrokenAnswer
from enginehouse_conformance.wire.sse import SSEParser

from .base import Endpoint, Event, data_of, entry


class Completions(Endpoint):
    """`POST /completions`: no template, the prompt is the model's to go on with."""

    name = "completions"
    path = "/completions"

    def body(self, prompt: str, max_tokens: int) -> Body:
        """A greedy request."""
        return {"prompt": prompt, "max_tokens": max_tokens, "temperature": 0}

    def answer(self, raw: dict[str, Json]) -> Answer:
        """The completion *raw*."""
        return _answer(raw, [raw], raw.get("usage"))

    def asked(self, body: Body, *, stream: bool) -> Body:
        """*body*; streamed, the counts are asked for too."""
        return {**body, "stream": True, "stream_options": {"include_usage": True}} if stream else body

    def events(self, reply: Reply) -> list[Event]:
        """The chunks; the stream must end with [DONE], or with an error."""
        parser = SSEParser()
        found = parser.feed(reply.body)
        parser.finish()
        is_done = bool(found) and found[-1].data == "[DONE]"
        events = [Event(event.event, data_of(event.data.encode())) for event in (found[:-1] if is_done else found)]
        if parser.problems or not (is_done or (events and events[-1].data.get("error"))):
            raise BrokenAnswer(f"the stream has no [DONE] at its end: {reply.body[-80:]!r} {parser.problems}")
        return events

    def streamed(self, events: Sequence[Event]) -> Answer:
        """What the chunks make up."""
        chunks = [event.data for event in events]
        usage = next((chunk["usage"] for chunk in reversed(chunks) if chunk.get("usage")), None)
        return _answer(chunks[-1], chunks, usage)


def _answer(raw: dict[str, Json], parts: Sequence[Json], usage: Json) -> Answer:
    texts: dict[int, str] = {}
    reasons: dict[int, str | None] = {}
    for part in parts:
        for choice in entry(part, "choices", list):
            at = entry(choice, "index", int)
            texts[at] = texts.get(at, "") + entry(choice, "text", str)
            reasons[at] = choice.get("finish_reason") or reasons.get(at)
    choices = tuple(Choice(index=at, text=texts[at], finish=reasons[at]) for at in sorted(texts))
    return Answer(choices=choices, usage=read_usage(usage), model=raw.get("model"), raw=raw)
