"""Faults of other servers that a fifth blind round, from public reports, put before the rules of the time, missed."""

from __future__ import annotations

from conformance_stub import Behaviour, Rejected
from conformance_stub.mutants import mutant
from enginehouse_plugin import Finished, ReasoningDelta, TextDelta


@mutant(kills=("MSG8",), origin="AutoGen#3437")
class NamesBesideCallsFail(Behaviour):
    """A message with a name is a failure of the server where another has calls."""

    def prepare(self, body):
        has_calls = any(message.get("tool_calls") for message in body["messages"])
        if has_calls and any(message.get("name") for message in body["messages"]):
            raise Rejected("The model produced invalid content.", status=500)
        return super().prepare(body)


@mutant(kills=("N4",), origin="SGLang#12814")
class CachedTokensOfEachChoice(Behaviour):
    """cached_tokens counts the cached prompt once for each choice."""

    def usage(self, usage, body):
        details = usage["prompt_tokens_details"]
        return {**usage, "prompt_tokens_details": {"cached_tokens": details["cached_tokens"] * body.get("n", 1)}}


@mutant(kills=("RSN10",), origin="hcx-vllm-plugin#2", in_process=True)
class ThinksOnceMore(Behaviour):
    """After the content of an answer that reasons one more piece of reasoning comes."""

    last = 0

    async def events(self, events, request):
        has_thought = False
        async for event in super().events(events, request):
            has_thought = has_thought or isinstance(event, ReasoningDelta)
            if isinstance(event, Finished) and has_thought:
                yield ReasoningDelta(event.choice, ".", self.last)
            if isinstance(event, TextDelta):
                self.last = event.completion_tokens
            yield event


@mutant(kills=("RSN10",), may_kill=("RSN4",), origin="llama.cpp#15681", in_process=True)
class HoldsContentAfterReasoning(Behaviour):
    """After reasoning the content comes in one piece, at the end."""

    async def events(self, events, request):
        has_thought, held = False, []
        async for event in super().events(events, request):
            has_thought = has_thought or isinstance(event, ReasoningDelta)
            if has_thought and isinstance(event, TextDelta):
                held.append(event)
                continue
            if isinstance(event, Finished) and held:
                text = "".join(piece.text for piece in held)
                yield TextDelta(event.choice, text, held[-1].completion_tokens)
                held = []
            yield event


@mutant(kills=("ENV16",), origin="mlx-openai-server#206")
class FieldsOfNull(Behaviour):
    """Fields of a message that are not used are null."""

    def answer(self, answer, body):
        for choice in answer["choices"]:
            choice["message"] = {"tool_calls": None, "reasoning_content": None, **choice["message"]}
        return answer


@mutant(kills=("MSG29",), may_kill=("MSG17",), origin="mistral-vibe#216")
class BreaksOnBackslashes(Behaviour):
    """A backslash in arguments of the history is a failure of the server."""

    def prepare(self, body):
        calls = [call for message in body["messages"] for call in message.get("tool_calls") or ()]
        if any("\\" in call["function"]["arguments"] for call in calls):
            raise Rejected("Invalid escape", status=500)
        return super().prepare(body)
