"""Faults that show only where two parameters meet."""

from __future__ import annotations

import msgspec

from conformance_stub import Behaviour
from conformance_stub.mutants import mutant
from conformance_stub.output import TextOutput
from conformance_stub.sampling import BANNED
from enginehouse_plugin import Finished, TextDelta, ToolCallDelta


@mutant(kills=("X1",), may_kill=("STOP11",), in_process=True)
class NoStopUnderASchema(Behaviour):
    """Stop strings are ignored where a schema is given."""

    def text_output(self, request):
        return TextOutput(()) if request.output is not None else super().text_output(request)


@mutant(kills=("X2",), may_kill=("TOOL9", "TOOL16"), in_process=True)
class CutCallsBecomeText(Behaviour):
    """The rest of a call that was cut comes as content of the stream."""

    async def events(self, events, request):
        calls = ""
        async for event in super().events(events, request):
            if isinstance(event, ToolCallDelta):
                calls += event.arguments_fragment
            if isinstance(event, Finished) and event.reason == "length" and calls and request.stream:
                yield TextDelta(event.choice, calls, request.max_tokens or 1)
            yield event


@mutant(kills=("X3",), may_kill=("LP14",), in_process=True)
class StopsLoseEntries(Behaviour):
    """With stop strings, a delta carries the last of its entries only."""

    async def events(self, events, request):
        async for event in super().events(events, request):
            if isinstance(event, TextDelta) and event.logprobs and request.stop:
                event = msgspec.structs.replace(event, logprobs=event.logprobs[1:])
            yield event


@mutant(kills=("X4",))
class FencesTheOtherChoices(Behaviour):
    """In a stream of several choices, those after the first are not held to the schema."""

    def __init__(self):
        self._begun = set()

    def chunks(self, chunks, body):
        for chunk in chunks:
            for choice in chunk["choices"]:
                key = (chunk["id"], choice["index"])
                if body.get("response_format") and choice["index"] and choice["delta"].get("content"):
                    if key not in self._begun:
                        choice["delta"]["content"] = "```json\n" + choice["delta"]["content"]
                    self._begun.add(key)
        return chunks


@mutant(kills=("X5",), in_process=True)
class StopsEndTheFirstChoiceOnly(Behaviour):
    """A stop string ends the choice that meets it first; the others run on."""

    def __init__(self):
        self._begun = set()

    def text_output(self, request):
        if request.n > 1 and request.id in self._begun:
            return TextOutput(())
        self._begun.add(request.id)
        return super().text_output(request)


@mutant(kills=("X6",), may_kill=("STOP6", "STOP12"), in_process=True)
class DropsHeldTextAtTheLimit(Behaviour):
    """What is held back in a stream when the limit comes is lost."""

    async def events(self, events, request):
        held = None
        async for event in super().events(events, request):
            if not (request.stream and request.stop and request.n == 1):
                yield event
                continue
            if held is not None and not (isinstance(event, Finished) and event.reason == "length"):
                yield held
            held = event if isinstance(event, TextDelta) else None
            if held is None:
                yield event


@mutant(kills=("X7",), may_kill=("BIAS*",), in_process=True)
class BiasAfterTheMask(Behaviour):
    """The bias is added after the grammar's mask, and lifts what it forbids."""

    def sampled(self, logits, request, rng):
        for token, bias in request.logit_bias.items():
            if bias >= 100 and logits[token] == BANNED:
                logits[token] = bias
        return super().sampled(logits, request, rng)


@mutant(kills=("X8",), may_kill=("N3",), in_process=True)
class ChoicesShareTheSeed(Behaviour):
    """Each choice begins with the same seed."""

    def rng(self, request, choice, entropy):
        return super().rng(request, 0 if request.seed is not None else choice, entropy)


@mutant(kills=("X9",))
class EntriesOfTheFirstChoice(Behaviour):
    """Each choice carries the entries of the first."""

    def answer(self, answer, body):
        for choice in answer["choices"]:
            choice["logprobs"] = answer["choices"][0]["logprobs"]
        return answer


@mutant(kills=("X10",), may_kill=("SMP*",), in_process=True)
class NoPenaltiesInStreams(Behaviour):
    """A stream with a bias leaves the penalties out."""

    def accept(self, request):
        is_hit = request.stream and request.logit_bias
        return msgspec.structs.replace(request, frequency_penalty=0.0) if is_hit else request


@mutant(kills=("X11",), in_process=True)
class TheSchemaBeatsTheTool(Behaviour):
    """With a response format no tool is called."""

    def tools_to_call(self, request, rng):
        return () if request.output is not None else super().tools_to_call(request, rng)


@mutant(kills=("X11",), in_process=True)
class TheSchemaShapesTheArguments(Behaviour):
    """The arguments of a call follow the response format in place of the tool's parameters."""

    def tools_to_call(self, request, rng):
        self._output = request.output
        return super().tools_to_call(request, rng)

    def arguments_grammar(self, tool):
        output = getattr(self, "_output", None)
        is_hit = tool.name.startswith("t_") and output is not None
        return super().arguments_grammar(msgspec.structs.replace(tool, parameters=output.schema) if is_hit else tool)


@mutant(kills=("X12",), may_kill=("LP*", "X4", "SSE21"), in_process=True)
class NoEntriesUnderASchema(Behaviour):
    """Log probabilities are empty where a schema is given."""

    async def events(self, events, request):
        async for event in super().events(events, request):
            if isinstance(event, TextDelta) and event.logprobs and request.output is not None:
                event = msgspec.structs.replace(event, logprobs=())
            yield event


@mutant(kills=("X13",), may_kill=("SSE8",))
class UsageOfOneChoiceInStreams(Behaviour):
    """Usage of a stream counts one of the choices."""

    def usage(self, usage, body):
        n = body.get("n", 1)
        completion = usage["completion_tokens"] // n if body.get("stream") else usage["completion_tokens"]
        return {**usage, "completion_tokens": completion, "total_tokens": usage["prompt_tokens"] + completion}


@mutant(kills=("X13",), may_kill=("N5",))
class UsageBeforeTheLastChoice(Behaviour):
    """The usage chunk comes before the last finish_reason of several choices."""

    def __init__(self):
        self._held = {}

    def chunks(self, chunks, body):
        made = []
        for chunk in chunks:
            is_late = any(choice["finish_reason"] and choice["index"] == 1 for choice in chunk["choices"])
            if is_late and (body.get("stream_options") or {}).get("include_usage"):
                self._held[chunk["id"]] = chunk
                continue
            made.append(chunk)
            if not chunk["choices"] and chunk["id"] in self._held:
                made.append(self._held.pop(chunk["id"]))
        return made


@mutant(kills=("X14",), in_process=True)
class StopsCutCalls(Behaviour):
    """A stop string cuts the arguments of a call, which ends with tool_calls all the same."""

    async def events(self, events, request):
        arguments = ""
        async for event in super().events(events, request):
            if isinstance(event, ToolCallDelta):
                arguments += event.arguments_fragment
                if any(stop in arguments for stop in request.stop):
                    continue
            yield event
