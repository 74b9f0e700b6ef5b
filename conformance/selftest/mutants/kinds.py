"""Faults of the kinds that each field of the API can have, and that no rule saw."""

from __future__ import annotations

import json
import re

import msgspec

from conformance_stub import Behaviour, Rejected
from conformance_stub.mutants import mutant
from conformance_stub.output import TextOutput
from enginehouse_conformance.rules import SECTIONS
from enginehouse_plugin import ReasoningDelta, TextDelta, ToolCallDelta


def changed(request, **fields):
    return msgspec.structs.replace(request, **fields)


def with_messages(request, messages):
    return changed(request, prompt=changed(request.prompt, messages=tuple(messages)))


@mutant(kills=("LP17",), origin="servers whose upstream gives five at most", in_process=True)
class CapsAlternativesAtFive(Behaviour):
    """top_logprobs above 5 counts as 5."""

    def accept(self, request):
        return changed(request, top_logprobs=min(request.top_logprobs, 5))


@mutant(kills=("LP17",), may_kill=("LP16", "X*", "MSG19", "MSG20", "MSG21", "MSG22", "TOOL21"), origin="SGLang#26778")
class StreamsHaveNoAlternatives(Behaviour):
    """In a stream entries have no alternatives."""

    def chunks(self, chunks, body):
        for choice in (choice for chunk in chunks for choice in chunk["choices"]):
            for entry in (choice.get("logprobs") or {}).get("content") or ():
                entry["top_logprobs"] = []
        return chunks


@mutant(kills=("LP18",), in_process=True)
class AlternativesAreTrimmed(Behaviour):
    """The tokens of alternatives lose their blanks."""

    def entry(self, logits, token, request):
        entry = super().entry(logits, token, request)
        return changed(
            entry,
            top=tuple(changed(one, token=one.token.strip(), token_bytes=one.token_bytes.strip()) for one in entry.top),
        )


@mutant(kills=("TOOL24",), may_kill=("TOOL*",), origin="upstreams that allow no dash in a name")
class NamesLoseTheirDashes(Behaviour):
    """A dash in a tool's name comes back as an underscore."""

    def answer(self, answer, body):
        for choice in answer["choices"]:
            for call in choice["message"].get("tool_calls") or ():
                call["function"]["name"] = call["function"]["name"].replace("-", "_")
        return answer


@mutant(kills=("TOOL24",), origin="upstreams that allow 40 characters", in_process=True)
class NamesAreCut(Behaviour):
    """A tool's name is cut to 40 characters."""

    async def events(self, events, request):
        async for event in super().events(events, request):
            is_named = isinstance(event, ToolCallDelta) and event.name
            yield changed(event, name=event.name[:40]) if is_named else event


@mutant(kills=("RSN8",), may_kill=("RSN*",), origin="parsers that seek the end of the reasoning", in_process=True)
class CutReasoningIsContent(Behaviour):
    """Reasoning that the limit cuts is told as content."""

    async def events(self, events, request):
        kept = [event async for event in super().events(events, request)]
        is_cut = not any(isinstance(event, TextDelta | ToolCallDelta) for event in kept)
        for event in kept:
            if is_cut and isinstance(event, ReasoningDelta):
                event = TextDelta(event.choice, event.text, event.completion_tokens)
            yield event


@mutant(kills=("RSN9",), may_kill=("RSN6",), in_process=True)
class AlwaysReasons(Behaviour):
    """The effort "none" reasons too."""

    def reasoning_tokens(self, request):
        return super().reasoning_tokens(request) if request.reasoning_effort != "none" else 4


@mutant(kills=("RSN5",), may_kill=("SSE11",))
class StreamsTellNoReasoningTokens(Behaviour):
    """Usage of a stream has no details."""

    def chunks(self, chunks, body):
        for chunk in chunks:
            if chunk.get("usage"):
                chunk["usage"] = {**chunk["usage"], "completion_tokens_details": None}
        return chunks


@mutant(kills=("MSG27",), may_kill=("MSG5",), origin="templates that want turns", in_process=True)
class ReadsTheLastInARow(Behaviour):
    """Of several messages of one role in a row the last alone is read."""

    def accept(self, request):
        messages = request.prompt.messages
        followed = zip(messages, (*messages[1:], None), strict=True)
        roles = ("user", "assistant")
        return with_messages(
            request,
            [one for one, after in followed if type(one) is not type(after) or _role(one) not in roles],
        )


def _role(message):
    return str(message.__struct_config__.tag)


@mutant(kills=("MSG28",), may_kill=("TOOL21",), in_process=True)
class ReadsTheLastResult(Behaviour):
    """Of several results of tools the last alone is read."""

    def accept(self, request):
        results = [message for message in request.prompt.messages if _role(message) == "tool"]
        return with_messages(
            request, [one for one in request.prompt.messages if one not in results or one is results[-1]]
        )


@mutant(kills=("MSG29",), may_kill=("TOOL*",), in_process=True)
class ForgetsItsCalls(Behaviour):
    """Calls of the history are dropped."""

    def accept(self, request):
        return with_messages(
            request,
            [
                changed(one, tool_calls=()) if getattr(one, "tool_calls", None) else one
                for one in request.prompt.messages
            ],
        )


@mutant(kills=("MSG30",))
class BreaksOnEmptyContent(Behaviour):
    """Empty content is a failure of the server."""

    def prepare(self, body):
        if any(message.get("content") == "" for message in body["messages"]):
            raise Rejected("list index out of range", status=500)
        return super().prepare(body)


@mutant(kills=("TOOL26",), may_kill=("LEN*",), in_process=True)
class ShowsTheFirstTool(Behaviour):
    """The model is told of the first tool alone."""

    def prompt_tokens(self, request):
        return super().prompt_tokens(changed(request, tools=request.tools[:1]))


@mutant(kills=("TOOL26",), in_process=True)
class ShowsNoDescriptions(Behaviour):
    """Descriptions of tools are dropped."""

    def prompt_tokens(self, request):
        return super().prompt_tokens(
            changed(request, tools=tuple(changed(tool, description=None) for tool in request.tools))
        )


@mutant(kills=("TOOL27",), origin="LiteLLM: tools= is required where the history has calls")
class CallsOfTheHistoryNeedTools(Behaviour):
    """A history with calls is refused where no tools are given."""

    def prepare(self, body):
        if not body.get("tools") and any(message.get("tool_calls") for message in body["messages"]):
            raise Rejected("tools= is required where messages have tool calls", param="tools")
        return super().prepare(body)


@mutant(kills=("TOOL25", "RF28"), origin="encoders that make text safe for pages")
class EscapesMarkup(Behaviour):
    """Angle brackets in a JSON answer are escaped as in markup."""

    def answer(self, answer, body):
        for choice in answer["choices"]:
            message = choice["message"]
            message["content"] = (message["content"] or "").replace("<b>", "&lt;b>")
            for call in message.get("tool_calls") or ():
                call["function"]["arguments"] = call["function"]["arguments"].replace("<b>", "&lt;b>")
        return answer


@mutant(kills=("RF26",), may_kill=("RF*", "X*"), origin="maps without an order")
class SortsKeys(Behaviour):
    """The keys of a structured answer are sorted."""

    def answer(self, answer, body):
        if (body.get("response_format") or {}).get("type") == "json_schema":
            for choice in answer["choices"]:
                try:
                    value = json.loads(choice["message"]["content"])
                except ValueError:
                    continue
                text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
                choice["message"]["content"] = text
        return answer


@mutant(kills=("RF27",), origin="numbers that pass through a float")
class IntegersAreFloats(Behaviour):
    """Large integers of a structured answer lose their last digits."""

    def answer(self, answer, body):
        for choice in answer["choices"]:
            content = choice["message"]["content"] or ""
            choice["message"]["content"] = re.sub(r"\d{16,}", lambda found: str(int(float(found[0]))), content)
        return answer


@mutant(kills=("STOP14",), in_process=True)
class StopsAreReadInAnyCase(Behaviour):
    """Stop strings match in any case."""

    def text_output(self, request):
        return TextOutput(tuple({*request.stop, *(stop.swapcase() for stop in request.stop)}))


@mutant(kills=("ENV14",), may_kill=("ERR*",), origin="validators that coerce")
class ReadsNumbersInStrings(Behaviour):
    """A number in a string counts as the number."""

    def prepare(self, body):
        return super().prepare({name: self._read(name, value) for name, value in body.items()})

    def problem(self, name, value, body, profile):
        return super().problem(name, self._read(name, value), body, profile)

    def _read(self, name, value):
        if name in ("temperature", "top_p", "n", "seed") and isinstance(value, str) and value.isdecimal():
            return int(value)
        return value


@mutant(kills=("ENV15",))
class ReadsNoSurrogates(Behaviour):
    """Characters written as two escapes are dropped."""

    def decode(self, data):
        return super().decode(re.sub(rb"\\ud[89a-f][0-9a-f]{2}", b"", data))


@mutant(kills=("ERR15",), may_kill=("ERR14",))
class ServesEveryPath(Behaviour):
    """A route that does not exist answers with a page."""

    def error(self, status, error, headers):
        is_route = error["error"]["code"] == "not_found"
        return (200, {"ok": True}, headers) if is_route else super().error(status, error, headers)


class Sticky(Behaviour):
    """Remembers what a request sets."""

    def __init__(self):
        self.stop = ()

    def accept(self, request):
        self.stop, stop = request.stop or self.stop, request.stop
        return changed(request, stop=stop or self.stop)


@mutant(kills=("ISO7",), may_kill=tuple(f"{section}*" for section in SECTIONS), in_process=True)
class StopsStay(Sticky):
    """Stop strings hold for the requests after, too."""


@mutant(kills=("LEN18",), may_kill=("SSE14",), origin="servers with a default of 256 tokens", in_process=True)
class EndsAt256(Behaviour):
    """Without max_tokens an answer ends after 256."""

    def accept(self, request):
        return changed(request, max_tokens=256) if request.max_tokens is None else request


@mutant(kills=("LEN19",), may_kill=("LEN9", "LEN21"), in_process=True)
class CutsTheMiddle(Behaviour):
    """Of a prompt over 512 tokens the middle is dropped."""

    def fit_prompt(self, tokens, context_tokens):
        return tokens if len(tokens) <= 512 else [*tokens[:256], *tokens[-256:]]


@mutant(kills=("LEN20",), may_kill=("STOP*",))
class CountsWhatStopCut(Behaviour):
    """Usage of an answer with stop strings counts up to max_tokens."""

    def usage(self, usage, body):
        if not body.get("stop"):
            return usage
        count = body["max_tokens"]
        return {**usage, "completion_tokens": count, "total_tokens": usage["prompt_tokens"] + count}


@mutant(kills=("N9",), may_kill=("N5", "N10", "X4", "X13"))
class MixesStreamedChoices(Behaviour):
    """In a stream the text of the second choice comes as the first's."""

    def chunks(self, chunks, body):
        for choice in (choice for chunk in chunks for choice in chunk["choices"]):
            if choice["index"] == 1 and choice["delta"].get("content"):
                choice["index"] = 0
        return chunks


@mutant(kills=("SMP27",), in_process=True)
class RoundsTheHeat(Behaviour):
    """Temperatures are rounded to whole numbers."""

    def accept(self, request):
        return changed(request, temperature=float(round(request.temperature)))


@mutant(kills=("SMP28",), in_process=True)
class AnyTopPIsTiny(Behaviour):
    """Any top_p below 1 is greedy."""

    def accept(self, request):
        return changed(request, temperature=0.0) if request.top_p < 1 else request


@mutant(kills=("SMP28",), in_process=True)
class WeakensTopP(Behaviour):
    """top_p keeps more than it says, unless it is tiny."""

    def accept(self, request):
        return changed(request, top_p=0.9) if 0.1 < request.top_p < 1 else request


@mutant(kills=("X17",), may_kill=("X5",), in_process=True)
class BiasIsForTheFirst(Behaviour):
    """Of several choices the first alone has the bias and the penalties."""

    def adjusted(self, logits, request, output):
        return super().adjusted(logits, request, output) if request.n == 1 else list(logits)


@mutant(kills=("X18",), may_kill=("TOOL5",), in_process=True)
class CallsOfChoicesShareAnId(Behaviour):
    """The calls of the choices of a request have one id."""

    def call_id(self, choice, index, entropy):
        return super().call_id(0, index, entropy) if choice == 0 else "call_again"
