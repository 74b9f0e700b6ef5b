"""Faults that a stream alone has, of the kinds that each field of the API can have, and that no rule saw."""

from __future__ import annotations

import msgspec

from conformance_stub import Behaviour
from conformance_stub.mutants import mutant
from enginehouse_plugin import ToolCallDelta


def changed(request, **fields):
    return msgspec.structs.replace(request, **fields)


@mutant(kills=("LEN2",), may_kill=("LEN3",))
class StreamsHaveOneLimit(Behaviour):
    """In a stream max_completion_tokens is ignored."""

    def prepare(self, body):
        if body.get("stream"):
            body = {name: value for name, value in body.items() if name != "max_completion_tokens"}
        return super().prepare(body)


@mutant(kills=("SMP5",), in_process=True)
class StreamsHaveNoTopP(Behaviour):
    """In a stream top_p is ignored."""

    def accept(self, request):
        return changed(request, top_p=1.0) if request.stream else request


@mutant(kills=("STOP2",), may_kill=("STOP6",), in_process=True)
class StreamsTakeTheFirstStop(Behaviour):
    """In a stream the first of several stop strings counts alone."""

    def accept(self, request):
        return changed(request, stop=request.stop[:1]) if request.stream else request


@mutant(kills=("TOOL14",), origin="calls streamed without a piece of arguments", in_process=True)
class StreamsNoArguments(Behaviour):
    """In a stream a call of a tool without parameters has no arguments, not {}."""

    async def events(self, events, request):
        has_none = request.stream and any(not (tool.parameters or {}).get("properties") for tool in request.tools)
        async for event in super().events(events, request):
            yield changed(event, arguments_fragment="") if has_none and isinstance(event, ToolCallDelta) else event


@mutant(kills=("TOOL5",))
class StreamedCallsHaveNoType(Behaviour):
    """Streamed calls have no type."""

    def chunks(self, chunks, body):
        for choice in (choice for chunk in chunks for choice in chunk["choices"]):
            for piece in choice["delta"].get("tool_calls") or ():
                piece.pop("type", None)
        return chunks


@mutant(kills=("RF1",), may_kill=("RF*", "X*", "SSE*", "ISO*"))
class StreamsIgnoreJsonObject(Behaviour):
    """In a stream json_object is ignored."""

    def prepare(self, body):
        is_asked = body.get("stream") and (body.get("response_format") or {}).get("type") == "json_object"
        return super().prepare({**body, "response_format": None} if is_asked else body)


@mutant(kills=("RF13",), may_kill=("SSE*", "X*", "RF*"))
class CutStreamsOfJsonSayStop(Behaviour):
    """A streamed structured answer that max_tokens cut says stop."""

    def chunks(self, chunks, body):
        for choice in (choice for chunk in chunks for choice in chunk["choices"]):
            if body.get("response_format") and choice["finish_reason"] == "length":
                choice["finish_reason"] = "stop"
        return chunks


@mutant(kills=("SSE4",), may_kill=("N*", "X*"))
class OneChoiceHasTheRole(Behaviour):
    """The role comes with the first choice alone."""

    def chunks(self, chunks, body):
        for choice in (choice for chunk in chunks for choice in chunk["choices"]):
            if choice["index"]:
                choice["delta"].pop("role", None)
        return chunks


@mutant(kills=("ENV3",), may_kill=("SSE5",))
class StreamsShareAnId(Behaviour):
    """All streams have one id."""

    def chunks(self, chunks, body):
        return [{**chunk, "id": "chatcmpl-stream"} for chunk in chunks]


@mutant(kills=("ENV7",), may_kill=("SSE5",), origin="the upstream's name in streams")
class StreamsNameTheUpstream(Behaviour):
    """`model` of a stream is the path of the weights."""

    def chunks(self, chunks, body):
        return [{**chunk, "model": "/models/weights"} for chunk in chunks]
