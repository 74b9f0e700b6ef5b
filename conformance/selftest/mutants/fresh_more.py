"""Five more faults chosen with fresh eyes, before the rules were read. The suite caught three of them.

- Unicode, errors: JustVugg/colibri#1589 and Rapid-MLX#730, half a surrogate pair is a failure of the server (caught)
- limits, tools: vLLM#47963, a call cut by the limit finishes as a whole one, in streams (caught)
- tools: Ollama#6708, the ids that tie results to calls do not reach the model (missed; now TOOL21)
- penalties: llama.cpp's window of the last 64 tokens, llama.cpp#4675 (caught)
- structured output, tools: modelship#70, a request with tools loses its response_format (missed; now X16)
"""

from __future__ import annotations

import json

import msgspec

from conformance_stub import Behaviour, Rejected
from conformance_stub.mutants import mutant
from enginehouse_plugin import Chat, Finished, ToolCallDelta, ToolMessage

PENALTY_WINDOW = 64


@mutant(kills=("ERR4",), origin="JustVugg/colibri#1589")
class HalfASurrogatePairIsAFailure(Behaviour):
    """Text with half a surrogate pair is answered as a failure of the server."""

    def decode(self, data):
        try:
            return super().decode(data)
        except Rejected:
            try:
                json.dumps(json.loads(data), ensure_ascii=False).encode()
            except UnicodeEncodeError as exc:
                raise Rejected("The engine failed.", code="engine_error", status=500) from exc
            except (ValueError, RecursionError):
                pass
            raise


@mutant(kills=("TOOL9", "X2"), origin="vLLM#47963", in_process=True)
class CutCallsFinishAsCallsInStreams(Behaviour):
    """In a stream, a call that the limit cut finishes as tool_calls."""

    async def events(self, events, request):
        called = set()
        async for event in super().events(events, request):
            if isinstance(event, ToolCallDelta):
                called.add(event.choice)
            if request.stream and isinstance(event, Finished) and event.choice in called:
                yield msgspec.structs.replace(event, reason="tool_calls")
            else:
                yield event


@mutant(kills=("TOOL21",), origin="Ollama#6708", in_process=True)
class ResultsLoseTheirIds(Behaviour):
    """The model does not learn which call a tool's result belongs to."""

    def prompt_tokens(self, request):
        if isinstance(request.prompt, Chat):
            messages = tuple(
                msgspec.structs.replace(message, tool_call_id="") if isinstance(message, ToolMessage) else message
                for message in request.prompt.messages
            )
            request = msgspec.structs.replace(request, prompt=Chat(messages))
        return super().prompt_tokens(request)


@mutant(kills=("SMP16",), origin="llama.cpp#4675", in_process=True)
class PenaltiesForget(Behaviour):
    """Penalties count the last 64 tokens only."""

    def adjusted(self, logits, request, output):
        return super().adjusted(logits, request, output[-PENALTY_WINDOW:])


@mutant(kills=("X16",), origin="modelship#70", in_process=True)
class ToolsTakeTheFormatAway(Behaviour):
    """A request with tools loses its response_format, also where no tool is called."""

    def accept(self, request):
        return msgspec.structs.replace(request, output=None) if request.tools else request
