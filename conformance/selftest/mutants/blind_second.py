"""Faults of the kinds that a second blind round put before a correct server, and that the rules of the time missed."""

from __future__ import annotations

import msgspec

from conformance_stub import Behaviour
from conformance_stub.mutants import mutant
from enginehouse_plugin import TextPart, ToolCallDelta
from enginehouse_plugin.request import AudioPart, FilePart, ImagePart


def changed(request, **fields):
    return msgspec.structs.replace(request, **fields)


def with_parts(request, keep):
    """*request* with what *keep* makes of the parts of each message."""
    messages = tuple(
        changed(message, content=keep(message.content)) if isinstance(message.content, tuple) else message
        for message in request.prompt.messages
    )
    return changed(request, prompt=changed(request.prompt, messages=messages))


@mutant(kills=("MSG3", "MSG16"), may_kill=("MSG20", "MSG21", "MSG22"), in_process=True)
class ReadsTheLastText(Behaviour):
    """Of several text parts of a message the last alone is read."""

    def accept(self, request):
        def keep(parts):
            texts = [part for part in parts if isinstance(part, TextPart)]
            return tuple(part for part in parts if part not in texts or part is texts[-1])

        return with_parts(request, keep)


@mutant(kills=("MSG20", "MSG21", "MSG22"), in_process=True)
class SeesTheFirstOfAKind(Behaviour):
    """Of several pictures, sounds or files the first alone is seen."""

    def accept(self, request):
        def keep(parts):
            firsts = [next((part for part in parts if isinstance(part, kind)), None) for kind in _MEDIA]
            return tuple(part for part in parts if isinstance(part, TextPart) or part in firsts)

        return with_parts(request, keep)


_MEDIA = (ImagePart, AudioPart, FilePart)


@mutant(kills=("RSN7",), may_kill=("LEN*", "SSE11", "SSE21"))
class CountsNoReasoning(Behaviour):
    """completion_tokens leaves the tokens of reasoning out."""

    def usage(self, usage, body):
        fewer = usage["completion_tokens_details"]["reasoning_tokens"]
        counts = {name: usage[name] - fewer for name in ("completion_tokens", "total_tokens")}
        return {**usage, **counts}


@mutant(kills=("LEN17",))
class CountsNoCalls(Behaviour):
    """completion_tokens of an answer that calls a tool is 1."""

    def usage(self, usage, body):
        if not isinstance(body.get("tool_choice"), dict):
            return usage
        return {**usage, "completion_tokens": 1, "total_tokens": usage["prompt_tokens"] + 1}


@mutant(kills=("TOOL17",), in_process=True)
class IgnoresParallelFalseInStreams(Behaviour):
    """parallel_tool_calls counts in JSON answers alone."""

    def accept(self, request):
        return changed(request, parallel_tool_calls=True) if request.stream else request


@mutant(kills=("TOOL22",), may_kill=("TOOL28",), in_process=True)
class EveryCallIsTheFirst(Behaviour):
    """In a stream every call has the index 0."""

    async def events(self, events, request):
        async for event in super().events(events, request):
            is_streamed = isinstance(event, ToolCallDelta) and request.stream
            yield changed(event, call_index=0) if is_streamed else event


@mutant(kills=("SMP26",), in_process=True)
class ClampsPresence(Behaviour):
    """A negative presence_penalty counts as 0."""

    def accept(self, request):
        return changed(request, presence_penalty=max(0.0, request.presence_penalty))


@mutant(kills=("SSE23",), origin="Ollama: the role comes with every delta")
class RepeatsTheRole(Behaviour):
    """Every delta has the role."""

    def chunks(self, chunks, body):
        for choice in (choice for chunk in chunks for choice in chunk["choices"]):
            choice["delta"] = {"role": "assistant", **choice["delta"]}
        return chunks


@mutant(kills=("SSE12",))
class FalseAsksForUsage(Behaviour):
    """Any stream_options that are not empty ask for usage."""

    def prepare(self, body):
        kept = super().prepare(body)
        return {**kept, "stream_options": {"include_usage": True}} if kept.get("stream_options") else kept


@mutant(kills=("ENV13",), may_kill=("LP*", "X*"), origin="a field's presence taken for its value")
class AnyLogprobsAreAskedFor(Behaviour):
    """`logprobs` asks for log probabilities, whatever it says."""

    def prepare(self, body):
        kept = super().prepare(body)
        return {**kept, "logprobs": True} if "logprobs" in kept else kept


@mutant(kills=("SSE22",), may_kill=("X10",), in_process=True)
class StreamsHaveNoPresence(Behaviour):
    """In a stream presence_penalty is ignored."""

    def accept(self, request):
        return changed(request, presence_penalty=0.0) if request.stream else request


@mutant(kills=("SMP18", "SMP20"), in_process=True)
class StreamsKeepEveryToken(Behaviour):
    """In a stream top_k and min_p are ignored."""

    def accept(self, request):
        return changed(request, top_k=0, min_p=0.0) if request.stream else request
