"""Faults of tools."""

from __future__ import annotations

import msgspec

from conformance_stub import Behaviour, Rejected, grammar, schema
from conformance_stub.mutants import mutant
from enginehouse_plugin import Finished, NamedTool

NAMED = ("TOOL3", "TOOL4", "TOOL5", "TOOL8", "TOOL14", "TOOL15", "TOOL16")
AROUND = ("TOOL*", "X2", "X11", "X14", "LP15", "MSG6", "ISO1")


def leaves(entry, **fields):
    return msgspec.structs.replace(entry, **fields)


@mutant(
    kills=("TOOL1", "TOOL2", "TOOL7", *NAMED),
    may_kill=(*AROUND, "ISO6"),
    origin="Ollama#17921: tool_choice is ignored; mlx_lm.server: never read",
    in_process=True,
)
class IgnoresToolChoice(Behaviour):
    """Every tool_choice is auto."""

    def accept(self, request):
        return leaves(request, tool_choice="auto" if request.tools else "none")


@mutant(kills=("TOOL1",), in_process=True)
class NoneIsAuto(Behaviour):
    """tool_choice none is auto."""

    def accept(self, request):
        is_none = request.tools and request.tool_choice == "none"
        return leaves(request, tool_choice="auto") if is_none else request


@mutant(kills=("TOOL2", "TOOL7"), may_kill=AROUND, origin="llama.cpp#27217: required not forced", in_process=True)
class RequiredIsAuto(Behaviour):
    """tool_choice required is auto."""

    def accept(self, request):
        return leaves(request, tool_choice="auto") if request.tool_choice == "required" else request


@mutant(
    kills=NAMED,
    may_kill=(*AROUND, "ISO6"),
    origin="llama.cpp#26535: a named tool_choice is silently auto",
    in_process=True,
)
class NamedIsAuto(Behaviour):
    """A named tool_choice is auto."""

    def accept(self, request):
        return leaves(request, tool_choice="auto") if isinstance(request.tool_choice, NamedTool) else request


@mutant(kills=("TOOL3",), in_process=True)
class NamedCallsTheFirst(Behaviour):
    """A named tool_choice calls the first tool."""

    def accept(self, request):
        is_named = isinstance(request.tool_choice, NamedTool)
        return leaves(request, tool_choice=NamedTool(request.tools[0].name)) if is_named else request


@mutant(kills=("TOOL4", "TOOL8"), may_kill=("TOOL*", "X2", "X11", "X14", "ISO1", "ISO6"), in_process=True)
class ArgumentsAreFree(Behaviour):
    """Arguments are any object."""

    def arguments_grammar(self, tool):
        return schema.any_object()


@mutant(kills=("TOOL4",), may_kill=("TOOL*", "X11", "X14", "MSG6"), origin="Ollama's own API: arguments as an object")
class ArgumentsAreAnObject(Behaviour):
    """`arguments` is an object, not a string."""

    def answer(self, answer, body):
        for choice in answer["choices"]:
            for call in choice["message"].get("tool_calls", ()):
                if choice["finish_reason"] == "tool_calls":
                    call["function"]["arguments"] = msgspec.json.decode(call["function"]["arguments"])
        return answer


@mutant(kills=("TOOL5",), in_process=True)
class EveryCallHasOneId(Behaviour):
    """All calls have the same id."""

    def call_id(self, choice, index, entropy):
        return "call_0"


@mutant(kills=("TOOL5",), may_kill=("TOOL15",))
class CallsHaveNoType(Behaviour):
    """Calls have no type."""

    def answer(self, answer, body):
        for choice in answer["choices"]:
            for call in choice["message"].get("tool_calls", ()):
                del call["type"]
        return answer


class EndsOtherwise(Behaviour):
    """`reason` tells the finish_reason of a request."""

    def reason(self, reason, request):
        raise NotImplementedError

    async def events(self, events, request):
        async for event in super().events(events, request):
            if isinstance(event, Finished):
                event = leaves(event, reason=self.reason(event.reason, request))
            yield event


@mutant(kills=("TOOL6",), origin="vLLM#53255: tool_calls without calls", in_process=True)
class AutoEndsWithToolCalls(EndsOtherwise):
    """With tools and auto the finish_reason is tool_calls, call or no call."""

    def reason(self, reason, request):
        return "tool_calls" if request.tools and request.tool_choice == "auto" else reason


@mutant(kills=("TOOL7",), origin="vllm#25054: required ends with stop", in_process=True)
class RequiredEndsWithStop(EndsOtherwise):
    """A required call ends with finish_reason stop."""

    def reason(self, reason, request):
        return "stop" if request.tool_choice == "required" else reason


@mutant(kills=("TOOL9",), may_kill=("X2", "X14"), in_process=True)
class CutCallsEndWithToolCalls(EndsOtherwise):
    """A cut call ends with finish_reason tool_calls."""

    def reason(self, reason, request):
        return "tool_calls" if isinstance(request.tool_choice, NamedTool) else reason


@mutant(kills=("TOOL9",), may_kill=("X2",), origin="vLLM#53269: a streamed cut is labelled tool_calls", in_process=True)
class CutStreamsEndWithToolCalls(EndsOtherwise):
    """A streamed call that was cut ends with finish_reason tool_calls."""

    def reason(self, reason, request):
        return "tool_calls" if isinstance(request.tool_choice, NamedTool) and request.stream else reason


class ChangesCallPieces(Behaviour):
    """`piece` changes each piece of a streamed call."""

    def __init__(self):
        self.first = {}
        self.said = {}

    def piece(self, key, piece):
        raise NotImplementedError

    def chunks(self, chunks, body):
        for chunk in chunks:
            for choice in chunk["choices"]:
                for piece in choice["delta"].get("tool_calls", ()):
                    key = (chunk["id"], choice["index"], piece["index"])
                    self.first.setdefault(key, dict(piece, function=dict(piece["function"])))
                    self.piece(key, piece)
        return chunks


@mutant(kills=("TOOL8",), may_kill=("X2",))
class RepeatsIdAndName(ChangesCallPieces):
    """Each piece of a streamed call has the id and the name."""

    def piece(self, key, piece):
        piece["id"] = self.first[key]["id"]
        piece["function"]["name"] = self.first[key]["function"]["name"]


@mutant(kills=("TOOL8",), may_kill=("X2", "ISO6", "TOOL23", "TOOL14", "TOOL25", "TOOL28"))
class RepeatsArguments(ChangesCallPieces):
    """Each piece of a streamed call repeats the arguments so far."""

    def piece(self, key, piece):
        self.said[key] = self.said.get(key, "") + piece["function"]["arguments"]
        piece["function"]["arguments"] = self.said[key]


@mutant(kills=("TOOL8",), may_kill=("LP15", "X2", "ISO6", "TOOL24", "TOOL25", "TOOL28"))
class StreamsNoNames(ChangesCallPieces):
    """Streamed calls have no name."""

    def piece(self, key, piece):
        piece["function"].pop("name", None)


@mutant(kills=("TOOL10",))
class RequiredWithoutTools(Behaviour):
    """tool_choice without tools is ignored."""

    def problem(self, name, value, body, profile):
        if name == "tool_choice" and not body.get("tools"):
            return None
        return super().problem(name, value, body, profile)

    def prepare(self, body):
        prepared = super().prepare(body)
        if not prepared.get("tools"):
            prepared.pop("tool_choice", None)
        return prepared


@mutant(kills=("TOOL11",))
class UnknownNamesAreAuto(Behaviour):
    """A tool_choice that names no tool is auto."""

    def decode(self, data):
        body = super().decode(data)
        choice = body.get("tool_choice")
        if isinstance(choice, dict) and isinstance(choice.get("function"), dict):
            names = [tool["function"]["name"] for tool in body.get("tools") or ()]
            if choice["function"].get("name") not in names:
                body["tool_choice"] = "auto"
        return body


@mutant(kills=("TOOL12",))
class UnknownChoicesAreAuto(Behaviour):
    """A tool_choice that no document lists is auto."""

    def decode(self, data):
        body = super().decode(data)
        choice = body.get("tool_choice")
        is_listed = choice in ("none", "auto", "required", None) or (
            isinstance(choice, dict) and choice.get("type") == "function"
        )
        return body if is_listed else {**body, "tool_choice": "auto"}


@mutant(
    kills=("TOOL13",),
    may_kill=("TOOL6", "TOOL15", "TOOL19", "LP15", "MSG6", "TOOL26"),
    origin="vLLM without a tool parser",
)
class RefusesAuto(Behaviour):
    """tool_choice auto is refused."""

    def check_fields(self, body, profile):
        super().check_fields(body, profile)
        if body.get("tools") and body.get("tool_choice", "auto") == "auto":
            raise Rejected('"auto" tool choice requires --enable-auto-tool-choice', param="tool_choice")


@mutant(kills=("TOOL14",), may_kill=("LP15",), in_process=True)
class NoParametersNoArguments(Behaviour):
    """A tool without parameters is called with no arguments at all."""

    def arguments_grammar(self, tool):
        return grammar.Lit(b"") if tool.parameters is None else super().arguments_grammar(tool)


@mutant(
    kills=("TOOL14",), may_kill=("TOOL24",), origin="llama.cpp#25923: an empty object breaks tools", in_process=True
)
class EmptyParametersAreRefused(Behaviour):
    """A tool whose parameters are an empty object is refused."""

    def arguments_grammar(self, tool):
        if tool.parameters is not None and not tool.parameters.get("properties"):
            raise schema.SchemaRefused("an object without properties")
        return super().arguments_grammar(tool)


@mutant(
    kills=("TOOL15",),
    may_kill=("LEN21", "MSG6", "MSG13", "X14", "MSG16", "MSG17", "TOOL21", "TOOL27", "MSG38", "MSG39"),
)
class CallsNeedContent(Behaviour):
    """A message with calls and no content is refused."""

    def check_fields(self, body, profile):
        super().check_fields(body, profile)
        if any(message.get("content") is None for message in body["messages"]):
            raise Rejected("content must be a string", param="messages")


@mutant(kills=("TOOL16",), may_kill=("X2",))
class LeavesMarkersInTheContent(Behaviour):
    """The raw text of a call stays in the content."""

    def answer(self, answer, body):
        for choice in answer["choices"]:
            if choice["message"].get("tool_calls"):
                choice["message"]["content"] = "<tool_call>\n"
        return answer


@mutant(kills=("TOOL16",), may_kill=("X2",))
class StreamsMarkersInTheContent(Behaviour):
    """The raw text of a streamed call stays in the content."""

    def chunks(self, chunks, body):
        for chunk in chunks:
            for choice in chunk["choices"]:
                if choice["delta"].get("tool_calls"):
                    choice["delta"]["content"] = choice["delta"]["tool_calls"][0]["function"].get("name", "")
        return chunks


@mutant(kills=("TOOL17",), in_process=True)
class IgnoresParallelFalse(Behaviour):
    """parallel_tool_calls is ignored."""

    def accept(self, request):
        return leaves(request, parallel_tool_calls=True)


class LenientWithTools(Behaviour):
    """`forgives` tells whether tools that are wrong are taken all the same."""

    def forgives(self, problem):
        raise NotImplementedError

    def problem(self, name, value, body, profile):
        problem = super().problem(name, value, body, profile)
        return None if name == "tools" and problem and self.forgives(problem) else problem


@mutant(kills=("TOOL18",))
class TakesANameTwice(LenientWithTools):
    """Two tools of one name are accepted."""

    def forgives(self, problem):
        return "twice" in problem


@mutant(kills=("TOOL20",))
class TakesAnyName(LenientWithTools):
    """Tools may have any name."""

    def forgives(self, problem):
        return "must match" in problem


@mutant(kills=("TOOL19",))
class TakesFewTools(Behaviour):
    """More than 32 tools are refused."""

    def check_fields(self, body, profile):
        super().check_fields(body, profile)
        if len(body.get("tools") or ()) > 32:
            raise Rejected("tools must be an array of up to 32", param="tools")
