"""Ten faults chosen with fresh eyes: from reports of users of other servers, by one who had not read the rules.

They measure the suite: whatever it missed of them has become a rule. Each is a fault that somebody met.

- streaming: LiteLLM#10686, a stream with logprobs never tells why it finished
- messages: CommandCodeAI/command-code#820, parts of an assistant's message are dropped with status 200
- errors: llama.cpp#25510, a broken call in the history is a failure of the server
- structured output: llama.cpp#8073, an enum behind a reference becomes an object
- logprobs, Unicode: vLLM#19177, bytes in the tokenizer's own alphabet
- concurrency, tools: waybarrios/vllm-mlx#649, streams share the state of a parser
- n, streaming: SGLang#8417, only the last choice tells why it finished
- usage: SGLang#10501, chunks are counted where tokens are meant
- stop: sourcegraph/cody#3549, stop strings of blanks are filtered out
- seed: numpy#4676 and openai-python#3922, a seed of 64 bits loses its upper half
"""

from __future__ import annotations

import json

import msgspec

from enginehouse_conformance.stub import Behaviour, Rejected
from enginehouse_plugin import JsonSchema, ReasoningDelta, TextDelta, ToolCallDelta, UsageReport


class LosesTheFinishBesideLogprobs(Behaviour):
    """A stream with logprobs never tells why it finished."""

    def chunks(self, chunks, body):
        if body.get("logprobs"):
            for chunk in chunks:
                for choice in chunk["choices"]:
                    choice["finish_reason"] = None
        return chunks


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


class BytesOfTheTokenizersAlphabet(Behaviour):
    """The bytes of a token that is no ASCII are those of its letters in the tokenizer's own alphabet."""

    def entries(self, logprobs):
        entries = super().entries(logprobs)
        for entry in entries:
            for told in (entry, *entry["top_logprobs"]):
                if any(byte > 127 for byte in told["bytes"]):
                    told["bytes"] = list(bytes(told["bytes"]).decode("latin-1").encode())
        return entries


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


class OnlyTheLastChoiceFinishes(Behaviour):
    """In a stream of several choices only the last one tells why it finished."""

    def chunks(self, chunks, body):
        last = (body.get("n") or 1) - 1
        return [
            chunk
            for chunk in chunks
            if all(choice["finish_reason"] is None or choice["index"] == last for choice in chunk["choices"])
        ]


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


class DropsBlankStops(Behaviour):
    """Stop strings of nothing but blanks and line ends are filtered out."""

    def accept(self, request):
        return msgspec.structs.replace(request, stop=tuple(stop for stop in request.stop if stop.strip()))


class SeedsLoseTheirUpperHalf(Behaviour):
    """Of a seed only the lower 32 bits count."""

    def rng(self, request, choice, entropy):
        if request.seed is not None:
            request = msgspec.structs.replace(request, seed=request.seed & 0xFFFFFFFF)
        return super().rng(request, choice, entropy)
