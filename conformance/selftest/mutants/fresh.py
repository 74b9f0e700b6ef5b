"""Ten faults chosen with fresh eyes: from reports of users of other servers, by one who had not read the rules.

They measured the suite, which caught three of the ten. The other seven have each become a rule. These are the
areas and the sources, as they were written down before the first run:

- streaming: LiteLLM#10686, a stream with logprobs never tells why it finished (missed; now X15)
- messages: CommandCodeAI/command-code#820, parts of an assistant's message are dropped with status 200 (now MSG16)
- errors: llama.cpp#25510, a broken call in the history is a failure of the server (now MSG17)
- structured output: llama.cpp#8073, an enum behind a reference becomes an object (now RF24)
- logprobs, Unicode: vLLM#19177, bytes in the tokenizer's own alphabet (caught)
- concurrency, tools: waybarrios/vllm-mlx#649, streams share the state of a parser (now ISO6)
- n, streaming: SGLang#8417, only the last choice tells why it finished (caught)
- usage: SGLang#10501, chunks are counted where tokens are meant (now SSE21)
- stop: sourcegraph/cody#3549, stop strings of blanks are filtered out (caught)
- seed: numpy#4676 and openai-python#3922, a seed of 64 bits loses its upper half (now SMP17)
"""

from __future__ import annotations

import json

import msgspec

from conformance_stub import Behaviour, Rejected
from conformance_stub.mutants import mutant
from enginehouse_plugin import JsonSchema, ReasoningDelta, TextDelta, ToolCallDelta, UsageReport


@mutant(kills=("X15",), origin="LiteLLM#10686")
class LosesTheFinishBesideLogprobs(Behaviour):
    """A stream with logprobs never tells why it finished."""

    def chunks(self, chunks, body):
        if body.get("logprobs"):
            for chunk in chunks:
                for choice in chunk["choices"]:
                    choice["finish_reason"] = None
        return chunks


@mutant(kills=("MSG16",), origin="CommandCodeAI/command-code#820")
class BlanksPartsOfTheAssistant(Behaviour):
    """An assistant's message in parts reaches the model empty."""

    def prepare(self, body):
        messages = [
            {**message, "content": ""}
            if message["role"] == "assistant" and isinstance(message.get("content"), list)
            else message
            for message in body["messages"]
        ]
        return super().prepare({**body, "messages": messages})


@mutant(kills=("MSG17",), origin="llama.cpp#25510")
class BrokenCallsOfTheHistoryAreFailures(Behaviour):
    """Arguments in the history that are no JSON are answered as a failure of the server."""

    def prepare(self, body):
        for message in body["messages"]:
            for call in message.get("tool_calls") or ():
                try:
                    json.loads(call["function"]["arguments"])
                except ValueError as exc:
                    raise Rejected(f"Failed to parse the arguments of a call: {exc}", status=500) from exc
        return super().prepare(body)


@mutant(kills=("RF24",), origin="llama.cpp#8073", in_process=True)
class EnumsBehindReferencesAreObjects(Behaviour):
    """An enum without a type, behind a reference, becomes any object."""

    def output_grammar(self, request):
        if isinstance(request.output, JsonSchema):
            schema = dict(request.output.schema)
            for name in ("$defs", "definitions"):
                if name in schema:
                    schema[name] = {key: self._loosened(value) for key, value in schema[name].items()}
            request = msgspec.structs.replace(request, output=msgspec.structs.replace(request.output, schema=schema))
        return super().output_grammar(request)

    def _loosened(self, definition):
        return {"type": "object"} if "enum" in definition and "type" not in definition else definition


@mutant(kills=("LP2",), origin="vLLM#19177")
class BytesOfTheTokenizersAlphabet(Behaviour):
    """The bytes of a token that is no ASCII are those of its letters in the tokenizer's own alphabet."""

    def entries(self, logprobs):
        entries = super().entries(logprobs)
        for entry in entries:
            for told in (entry, *entry["top_logprobs"]):
                if any(byte > 127 for byte in told["bytes"]):
                    told["bytes"] = list(bytes(told["bytes"]).decode("latin-1").encode())
        return entries


@mutant(kills=("ISO6",), may_kill=("TOOL8", "TOOL9", "TOOL16", "X2"), origin="waybarrios/vllm-mlx#649", in_process=True)
class ToolStreamsShareAParser(Behaviour):
    """What a parser of calls has seen is kept for all streams together."""

    def __init__(self):
        self.seen = {}

    async def events(self, events, request):
        text = {}
        async for event in super().events(events, request):
            if request.stream and isinstance(event, ToolCallDelta):
                if event.id is not None:
                    text[event.choice] = self.seen[event.choice] = ""
                text[event.choice] += event.arguments_fragment
                fragment = text[event.choice][len(self.seen[event.choice]) :]
                self.seen[event.choice] = text[event.choice]
                yield msgspec.structs.replace(event, arguments_fragment=fragment)
            else:
                yield event


@mutant(kills=("N5", "X4", "X13"), may_kill=("N10",), origin="SGLang#8417")
class OnlyTheLastChoiceFinishes(Behaviour):
    """In a stream of several choices only the last one tells why it finished."""

    def chunks(self, chunks, body):
        last = (body.get("n") or 1) - 1
        return [
            chunk
            for chunk in chunks
            if all(choice["finish_reason"] is None or choice["index"] == last for choice in chunk["choices"])
        ]


@mutant(kills=("SSE21",), origin="SGLang#10501", in_process=True)
class CountsChunksAsTokens(Behaviour):
    """The usage of a stream counts its chunks."""

    async def events(self, events, request):
        chunks = 0
        async for event in super().events(events, request):
            chunks += isinstance(event, TextDelta | ReasoningDelta | ToolCallDelta)
            if request.stream and isinstance(event, UsageReport):
                yield msgspec.structs.replace(event, completion_tokens=chunks)
            else:
                yield event


@mutant(kills=("STOP10",), origin="sourcegraph/cody#3549", in_process=True)
class DropsBlankStops(Behaviour):
    """Stop strings of nothing but blanks and line ends are filtered out."""

    def accept(self, request):
        return msgspec.structs.replace(request, stop=tuple(stop for stop in request.stop if stop.strip()))


@mutant(kills=("SMP17",), origin="numpy#4676", in_process=True)
class SeedsLoseTheirUpperHalf(Behaviour):
    """Of a seed only the lower 32 bits count."""

    def rng(self, request, choice, entropy):
        if request.seed is not None:
            request = msgspec.structs.replace(request, seed=request.seed & 0xFFFFFFFF)
        return super().rng(request, choice, entropy)
