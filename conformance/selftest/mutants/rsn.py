"""Faults of reasoning."""

from __future__ import annotations

import msgspec

from conformance_stub import Behaviour
from conformance_stub.mutants import mutant
from enginehouse_plugin import ReasoningDelta, TextDelta, UsageReport


@mutant(kills=("RSN1",), may_kill=("RSN6", "RSN3", "RSN4", "RSN5"))
class RefusesItsHighestEffort(Behaviour):
    """An effort that it declares is refused."""

    def problem(self, name, value, body, profile):
        if name == "reasoning_effort" and value == "xhigh":
            return "must be one of low, medium, high"
        return super().problem(name, value, body, profile)


@mutant(kills=("RSN2",))
class TakesAnyEffort(Behaviour):
    """An unknown effort counts as none."""

    def problem(self, name, value, body, profile):
        return None if name == "reasoning_effort" else super().problem(name, value, body, profile)


@mutant(kills=("RSN3",), may_kill=("RSN4", "RSN5"), origin="servers without a reasoning parser", in_process=True)
class LeavesReasoningInTheContent(Behaviour):
    """Reasoning stands in the content, with the template's marks."""

    async def events(self, events, request):
        is_first = True
        async for event in super().events(events, request):
            if isinstance(event, ReasoningDelta):
                mark, is_first = "<think>" if is_first else "", False
                event = TextDelta(event.choice, mark + event.text, event.completion_tokens)
            yield event


@mutant(kills=("RSN3",), in_process=True)
class LeavesTheClosingMark(Behaviour):
    """The mark that ends the reasoning opens the content."""

    async def events(self, events, request):
        has_reasoned = False
        async for event in super().events(events, request):
            if isinstance(event, TextDelta) and has_reasoned:
                has_reasoned = False
                event = msgspec.structs.replace(event, text="</think>\n\n" + event.text)
            has_reasoned = has_reasoned or isinstance(event, ReasoningDelta)
            yield event


@mutant(kills=("RSN4",), origin="vLLM#33402, #50624: another name in streams")
class StreamsReasoningUnderAnotherName(Behaviour):
    """Reasoning is `reasoning` in a stream and `reasoning_content` in an answer."""

    def chunks(self, chunks, body):
        for chunk in chunks:
            for choice in chunk["choices"]:
                if "reasoning_content" in choice["delta"]:
                    choice["delta"]["reasoning"] = choice["delta"].pop("reasoning_content")
        return chunks


@mutant(kills=("RSN4",), may_kill=("RSN8",), origin="LiteLLM#26501: reasoning is stripped from streams")
class StreamsNoReasoning(Behaviour):
    """A stream lacks the reasoning."""

    def chunks(self, chunks, body):
        for chunk in chunks:
            for choice in chunk["choices"]:
                choice["delta"].pop("reasoning_content", None)
        return chunks


@mutant(kills=("RSN5",), in_process=True)
class DoesNotCountReasoning(Behaviour):
    """Usage tells no tokens of reasoning."""

    async def events(self, events, request):
        async for event in super().events(events, request):
            yield msgspec.structs.replace(event, reasoning_tokens=0) if isinstance(event, UsageReport) else event


@mutant(kills=("RSN5", "RSN7"), may_kill=("LEN*", "N4", "X13", "S2"), in_process=True)
class CountsReasoningBesideTheCompletion(Behaviour):
    """The tokens of reasoning are not among those of the completion."""

    async def events(self, events, request):
        async for event in super().events(events, request):
            if isinstance(event, UsageReport) and event.reasoning_tokens:
                event = msgspec.structs.replace(event, completion_tokens=event.reasoning_tokens - 1)
            yield event
