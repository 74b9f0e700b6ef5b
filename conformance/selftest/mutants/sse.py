"""Faults of streams."""

from __future__ import annotations

import asyncio
import time

import msgspec

from conformance_stub import Behaviour, Rejected
from conformance_stub.mutants import mutant
from enginehouse_plugin import TextDelta, UsageReport
from enginehouse_plugin.errors import EnginehouseError


@mutant(kills=("SSE1",))
class StreamsAsJson(Behaviour):
    """The content type of a stream is application/json."""

    def stream_headers(self):
        return [("content-type", "application/json")]


@mutant(kills=("SSE2",), may_kill=("SSE*", "@stream", "ISO1", "TOOL9", "TOOL16", "RSN3", "RF1"))
class PythonDictsInData(Behaviour):
    """Data lines are no JSON."""

    def event(self, data):
        return super().event(data.replace(b'"', b"'"))


@mutant(kills=("SSE2",), may_kill=("SSE*", "@stream", "ISO1", "TOOL9", "TOOL16", "RSN3", "RF1"))
class EndsEventsWithOneNewline(Behaviour):
    """Events are not told apart by an empty line."""

    def event(self, data):
        return b"data: " + data + b"\n"


@mutant(kills=("SSE3",), may_kill=("SSE*", "@stream", "ISO1", "TOOL9", "TOOL16", "RSN3", "RF1"))
class NeverDone(Behaviour):
    """There is no [DONE]."""

    def stream_end(self):
        return b""


@mutant(kills=("SSE3",), may_kill=("SSE12", "SSE19"))
class DoneTwice(Behaviour):
    """[DONE] comes twice."""

    def stream_end(self):
        return super().stream_end() * 2


@mutant(kills=("SSE4",), origin="mlx_lm.server: no chunk with the role")
class NoRoleInStreams(Behaviour):
    """No delta has a role."""

    def chunks(self, chunks, body):
        for chunk in chunks:
            for choice in chunk["choices"]:
                choice["delta"].pop("role", None)
        return chunks


@mutant(kills=("SSE5",))
class AnIdPerChunk(Behaviour):
    """Each chunk has an id of its own."""

    def chunks(self, chunks, body):
        return [{**chunk, "id": f"chatcmpl-{time.perf_counter_ns()}"} for chunk in chunks]


@mutant(kills=("SSE5",), origin="mlx_lm.server: the usage chunk's object is chat.completion")
class ChunksAreCompletions(Behaviour):
    """The object of chunks is chat.completion."""

    def chunks(self, chunks, body):
        return [{**chunk, "object": "chat.completion"} for chunk in chunks]


@mutant(kills=("SSE6",), may_kill=("SSE11", "SSE14", "SSE15", "@stream", "ISO1", "RF1"), in_process=True)
class LosesTheFirstPiece(Behaviour):
    """A stream lacks its first piece of text."""

    async def events(self, events, request):
        lost = not request.stream
        async for event in super().events(events, request):
            if isinstance(event, TextDelta) and not lost:
                lost = True
                continue
            yield event


@mutant(kills=("SSE7",), may_kill=("SSE*", "@stream", "TOOL9"))
class FinishesInEveryChunk(Behaviour):
    """Every chunk has a finish_reason."""

    def chunks(self, chunks, body):
        for chunk in chunks:
            for choice in chunk["choices"]:
                choice["finish_reason"] = choice["finish_reason"] or "stop"
        return chunks


@mutant(kills=("SSE7",), may_kill=("N5", "X13"))
class SpeaksAfterTheFinish(Behaviour):
    """An empty delta follows the finish_reason."""

    def chunks(self, chunks, body):
        after = []
        for chunk in chunks:
            after.append(chunk)
            if any(choice["finish_reason"] for choice in chunk["choices"]):
                choices = [{**choice, "finish_reason": None} for choice in chunk["choices"]]
                after.append({**chunk, "choices": choices})
        return after


@mutant(
    kills=("SSE8", "SSE9"),
    may_kill=("SSE7", "X13", "SSE11", "SSE27"),
    origin="LiteLLM#28735: choices of the usage chunk",
)
class UsageChunkHasChoices(Behaviour):
    """The usage chunk repeats a choice, and earlier chunks have no usage."""

    def chunks(self, chunks, body):
        made = []
        for chunk in chunks:
            if chunk.get("usage") is None:
                chunk = {key: value for key, value in chunk.items() if key != "usage"}
            elif not chunk["choices"]:
                chunk["choices"] = [{"index": 0, "delta": {}, "finish_reason": None}]
            made.append(chunk)
        return made


@mutant(kills=("SSE9",))
class UsageOnEveryChunk(Behaviour):
    """Chunks do not say usage null."""

    def chunks(self, chunks, body):
        return [{k: v for k, v in chunk.items() if k != "usage" or v is not None} for chunk in chunks]


@mutant(kills=("SSE10", "SSE12"), may_kill=("X13",), origin="vLLM with --enable-force-include-usage")
class UsageUnasked(Behaviour):
    """Usage comes without being asked for."""

    def prepare(self, body):
        prepared = super().prepare(body)
        return {**prepared, "stream_options": {"include_usage": True}} if prepared.get("stream") else prepared


@mutant(kills=("SSE10",), profile="dos-ai", may_kill=("SSE11", "SSE27"))
class NoUsageOnTheLastChunk(Behaviour):
    """The last chunk has no usage although the profile says so."""

    def chunks(self, chunks, body):
        return [{key: value for key, value in chunk.items() if key != "usage"} for chunk in chunks]


@mutant(kills=("SSE11",), may_kill=("N4", "X13"), in_process=True)
class StreamsCountOneMore(Behaviour):
    """Usage of a stream counts one token more."""

    async def events(self, events, request):
        async for event in super().events(events, request):
            if isinstance(event, UsageReport) and request.stream:
                event = msgspec.structs.replace(event, completion_tokens=event.completion_tokens + 1)
            yield event


@mutant(kills=("SSE12",), origin="mlx_lm.server: stream_options {} raises")
class EmptyOptionsRaise(Behaviour):
    """Empty stream_options are an error."""

    def check_fields(self, body, profile):
        if body.get("stream_options") == {}:
            raise Rejected("'include_usage'", status=500)
        super().check_fields(body, profile)


@mutant(kills=("SSE13",))
class OptionsWithoutAStream(Behaviour):
    """stream_options are taken without stream."""

    def problem(self, name, value, body, profile):
        return None if name == "stream_options" else super().problem(name, value, body, profile)


@mutant(kills=("SSE14",), may_kill=("SSE17", "SSE18"), in_process=True)
class BuffersTheStream(Behaviour):
    """The whole answer is made before its first piece is sent."""

    async def events(self, events, request):
        kept = [event async for event in super().events(events, request)]
        await asyncio.sleep(0.25 if request.stream and len(kept) > 64 else 0)
        for event in kept:
            yield event


@mutant(kills=("SSE15",), may_kill=("SSE6",))
class TearsCharacters(Behaviour):
    """Each byte of a character is decoded for itself."""

    def chunks(self, chunks, body):
        for chunk in chunks:
            for choice in chunk["choices"]:
                text = choice["delta"].get("content")
                if text and not text.isascii():
                    choice["delta"]["content"] = "".join(
                        char if char.isascii() else "\ufffd" * len(char.encode()) for char in text
                    )
        return chunks


@mutant(kills=("SSE16",), may_kill=("ERR*", "ENV*", "LEN5"))
class ErrorsInsideTheStream(Behaviour):
    """A bad streamed request is answered 200, with the error in the stream."""

    def check_fields(self, body, profile):
        try:
            super().check_fields(body, profile)
        except Rejected as exc:
            if body.get("stream"):
                exc.status = 200
            raise


@mutant(kills=("SSE17",))
class FailsAsIfDone(Behaviour):
    """A failure in mid-stream looks like a regular end."""

    def stream_error(self, error):
        chunk = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": self.model}
        ending = {**chunk, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
        return self.event(msgspec.json.encode(ending)) + self.stream_end()


RUNS_ON_S = 10
"""Long beside what the rule allows; a run to the end would keep the self-test a minute."""


@mutant(kills=("SSE18",), may_kill=("ISO3",), origin="mlx_lm.server: an abandoned request runs on")
class RunsOnWithoutAClient(Behaviour):
    """A request whose client has left runs on for ten seconds."""

    def __init__(self):
        self._left = set()

    async def events(self, events, request):
        queue = asyncio.Queue()
        task = asyncio.ensure_future(_exhaust(events, queue))
        self._left.add(task)
        task.add_done_callback(self._left.discard)
        try:
            while (event := await queue.get()) is not None:
                if isinstance(event, EnginehouseError):
                    raise event
                yield event
        finally:
            asyncio.get_running_loop().call_later(RUNS_ON_S, task.cancel)


async def _exhaust(events, queue):
    try:
        async for event in events:
            queue.put_nowait(event)
        queue.put_nowait(None)
    except EnginehouseError as exc:
        queue.put_nowait(exc)


@mutant(kills=("SSE20",), may_kill=("SSE2", "SSE12"))
class CommentsWithoutAColon(Behaviour):
    """Keep-alive lines are no comments."""

    def event(self, data):
        return b"keepalive\n\n" + super().event(data)
