"""What a dialect of the stub is: its fields, the chat request that it stands for, and the events of its streams.

The whole answer is folded from the events, so that both say the same; mutants change one of them afterwards.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from conformance_stub.fields import Body, FieldCheck
from enginehouse_plugin import AnyEvent, Finished, ReasoningDelta, TextDelta, TokenLogprob, ToolCallDelta, UsageReport

Made = tuple[str, Body]
"""An event: its name, and its data."""


class Route(ABC):
    """One endpoint of the stub, whatever it answers."""

    name: str
    path: str
    """Below the root of the API; with `is_at_host` below that of the host."""
    is_at_host = False
    required: tuple[str, ...]
    fields: Mapping[str, FieldCheck]
    places: Mapping[str, str] = {}
    """Where fields of chat are here: the engine names those."""

    def error(self, error: Body, status: int) -> Body:
        """*error*, which is as on chat, in this dialect's form."""
        del status
        return error


class Dialect(Route):
    """One endpoint that generates."""

    content_type = "text/event-stream; charset=utf-8"

    @abstractmethod
    def chat(self, body: Body) -> Body:
        """The chat request that *body* stands for."""

    @abstractmethod
    def events(self, body: Body, said: Said, model: str, created: int) -> Iterator[Made]:
        """The events of the answer."""

    @abstractmethod
    def whole(self, events: Sequence[Made]) -> Body:
        """The answer that *events* make up."""

    def is_streamed(self, body: Body) -> bool:
        """Whether *body* asks for a stream."""
        return bool(body.get("stream"))

    def streamed(self, events: list[Made], body: Body) -> list[Made]:
        """Those of *events* that a stream has."""
        del body
        return events

    def ending(self) -> bytes:
        """What ends a stream."""
        return b""

    def piece(self, event: Made) -> bytes:
        """*event* as bytes of a stream."""
        return b"event: %b\ndata: %b\n\n" % (event[0].encode(), msgspec.json.encode(event[1]))


class Call(msgspec.Struct):
    """A call as it was made, in pieces."""

    id: str
    name: str
    pieces: list[str]

    @property
    def arguments(self) -> str:
        """All pieces."""
        return "".join(self.pieces)


class Said:
    """What the engine said: pieces of reasoning and text, calls, the reason of the end, and usage."""

    def __init__(self, events: Sequence[AnyEvent]) -> None:
        self._events = events
        self.reasoning: list[str] = []
        self.texts: list[tuple[str, tuple[TokenLogprob, ...] | None]] = []
        self.calls: list[Call] = []
        self.reason: str = "stop"
        self.stop: str | None = None
        self.usage = UsageReport(prompt_tokens=0, completion_tokens=0)
        for event in events:
            match event:
                case TextDelta():
                    self.texts.append((event.text, event.logprobs))
                case ReasoningDelta():
                    self.reasoning.append(event.text)
                case ToolCallDelta() if event.name is not None:
                    self.calls.append(Call(event.id or "", event.name, [event.arguments_fragment]))
                case ToolCallDelta():
                    self.calls[event.call_index].pieces.append(event.arguments_fragment)
                case Finished():
                    self.reason, self.stop = event.reason, event.matched_stop
                case UsageReport():
                    self.usage = event

    def by_choice(self) -> list[Said]:
        """The same for each choice."""
        indices = sorted({index for each in self._events if (index := getattr(each, "choice", None)) is not None})
        return [Said([each for each in self._events if getattr(each, "choice", None) == at]) for at in indices]

    @property
    def text(self) -> str:
        """All of the text."""
        return "".join(text for text, _ in self.texts)


def set_where(kept: Body, **values: Any) -> None:
    """Set in *kept* those of *values* that are not None."""
    kept.update({name: value for name, value in values.items() if value is not None})
