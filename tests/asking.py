"""Requests to an instance, and their events collected."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from enginehouse_plugin import (
    AnyEvent,
    Chat,
    Finished,
    GenerationRequest,
    Instance,
    Message,
    ReasoningDelta,
    Started,
    TextDelta,
    TokenLogprob,
    ToolCallDelta,
    UsageReport,
    UserMessage,
)


class Choice:
    """One choice of an answer."""

    def __init__(self) -> None:
        self.text = ""
        self.reasoning = ""
        self.deltas: list[TextDelta] = []
        self.logprobs: list[TokenLogprob] = []
        self.calls: list[tuple[str, str]] = []
        self.call_ids: list[str] = []
        self.counts: list[int] = []
        self.reason: str | None = None
        self.matched_stop: str | None = None


class Answer:
    """All events of one request, checked for their order as they come."""

    def __init__(self, n: int) -> None:
        self.choices = [Choice() for _ in range(n)]
        self.events: list[AnyEvent] = []
        self.started: Started | None = None
        self.usage: UsageReport | None = None

    @property
    def text(self) -> str:
        return self.choices[0].text

    @property
    def reason(self) -> str | None:
        return self.choices[0].reason

    @property
    def logprobs(self) -> list[TokenLogprob]:
        return self.choices[0].logprobs

    def take(self, event: AnyEvent) -> None:
        self.events.append(event)
        assert self.usage is None, "nothing follows the usage report"
        if isinstance(event, Started):
            assert len(self.events) == 1, "started comes first, and once"
            self.started = event
            return
        assert self.started is not None
        if isinstance(event, UsageReport):
            assert all(choice.reason for choice in self.choices)
            self.usage = event
            return
        choice = self.choices[event.choice]
        assert choice.reason is None, "nothing follows the end of a choice"
        if isinstance(event, Finished):
            choice.reason, choice.matched_stop = event.reason, event.matched_stop
            return
        choice.counts.append(event.completion_tokens)
        if isinstance(event, TextDelta):
            choice.text += event.text
            choice.deltas.append(event)
            choice.logprobs += event.logprobs or ()
        elif isinstance(event, ReasoningDelta):
            choice.reasoning += event.text
        elif isinstance(event, ToolCallDelta):
            if event.call_index == len(choice.calls):
                assert event.id
                assert event.name
                choice.call_ids.append(event.id)
                choice.calls.append((event.name, event.arguments_fragment))
            else:
                assert event.id is None
                assert event.name is None
                name, arguments = choice.calls[event.call_index]
                choice.calls[event.call_index] = (name, arguments + event.arguments_fragment)


def request(text: str = "What is the capital of France?", *messages: Message, **fields: Any) -> GenerationRequest:
    """A greedy request of at most 24 tokens, unless *fields* say otherwise."""
    prompt = Chat((*messages, *((UserMessage(text),) if text else ())))
    return GenerationRequest(**{"id": "r", "prompt": prompt, "max_tokens": 24, "temperature": 0.0, **fields})


async def ask(
    instance: Instance, text: str = "What is the capital of France?", *before: Message, **fields: Any
) -> Answer:
    """Ask, and collect the whole answer."""
    return await collected(instance, request(text, *before, **fields))


async def collected(instance: Instance, asked: GenerationRequest) -> Answer:
    """The whole answer to *asked*."""
    answer = Answer(asked.n)
    async for event in instance.generate(asked):
        answer.take(event)
    assert answer.usage is not None
    return answer


def joined(logprobs: Sequence[TokenLogprob]) -> str:
    """The text that the tokens make."""
    return b"".join(token.token_bytes for token in logprobs).decode()
