"""What an endpoint is to the suite: where it is asked, how a request looks, and how its answers are read.

Whatever the endpoint, an answer is read into `Answer`, in the words of chat: `finish` is `stop`, `length` or
`tool_calls`, and counts are of all tokens of prompt and completion.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import msgspec

from enginehouse_conformance.answer import Answer, Json
from enginehouse_conformance.targets.base import Body
from enginehouse_conformance.targets.replies import Reply, decode_json
from enginehouse_conformance.wire.faults import BrokenAnswer
from enginehouse_conformance.wire.sse import SSEParser


class Event(msgspec.Struct, frozen=True):
    """An event of a stream: its name where it has one, and its data."""

    name: str | None
    data: dict[str, Json]

    @property
    def type(self) -> Json:
        """What its data says it is."""
        return self.data.get("type")


class Endpoint(ABC):
    """One endpoint; `path` is below the base URL, or with `is_at_host` below the host's."""

    name: str
    path: str
    is_at_host = False
    has_task = False
    """Models have it that are for it, and refuse it by their name where they are for something else."""
    content_type = "text/event-stream"
    headers: tuple[tuple[str, str], ...] = ()

    @abstractmethod
    def body(self, prompt: str, max_tokens: int) -> Body:
        """A greedy request with *prompt* as the user's only message."""

    @abstractmethod
    def answer(self, raw: dict[str, Json]) -> Answer:
        """The whole answer *raw*; raises BrokenAnswer where it cannot be one."""

    @abstractmethod
    def streamed(self, events: Sequence[Event]) -> Answer:
        """The answer that the deltas of *events* make up; raises BrokenAnswer where they make up none."""

    def asked(self, body: Body, *, stream: bool) -> Body:
        """*body* for an answer that is whole, or streamed."""
        return {**body, "stream": True} if stream else body

    def events(self, reply: Reply) -> list[Event]:
        """The events of the stream *reply*; raises BrokenAnswer where it is no stream of JSON."""
        parser = SSEParser()
        found = parser.feed(reply.body)
        parser.finish()
        if parser.problems:
            raise BrokenAnswer(f"the stream is no stream of events: {parser.problems[0]}")
        return [Event(event.event, data_of(event.data.encode())) for event in found]


def data_of(line: bytes) -> dict[str, Json]:
    """A piece of a stream as a JSON object."""
    data = decode_json(line, "a piece of the stream")
    if not isinstance(data, dict):
        raise BrokenAnswer(f"a piece of the stream is no object: {line[:80]!r}")
    return data


def entry(raw: Json, name: str, kind: type[Any]) -> Any:  # of that kind
    """The value of *name* in *raw*, which must be a *kind*; raises BrokenAnswer."""
    value = raw.get(name) if isinstance(raw, dict) else None
    if not isinstance(value, kind) or isinstance(value, bool) is not (kind is bool):
        raise BrokenAnswer(f"`{name}` is no {kind.__name__} but {str(value)[:80]!r}")
    return value
