"""Faults of other servers that a fourth blind round, from public reports, put before the rules of the time, missed."""

from __future__ import annotations

import copy

from conformance_stub import Behaviour, Rejected
from conformance_stub.mutants import mutant
from enginehouse_plugin import Finished, ToolCallDelta


@mutant(kills=("TOOL28",), may_kill=("TOOL*",), origin="LiteLLM#7621")
class JoinsCalls(Behaviour):
    """Several calls of an answer become one, with the arguments of all."""

    def answer(self, answer, body):
        for choice in answer["choices"]:
            calls = choice["message"].get("tool_calls") or []
            if len(calls) > 1:
                calls[0]["function"]["arguments"] = "".join(call["function"]["arguments"] for call in calls)
                del calls[1:]
        return answer


@mutant(kills=("SSE24",), origin="LiteLLM#38926", in_process=True)
class SendsArgumentsAtTheEnd(Behaviour):
    """The pieces of a streamed call come all at once, when it is made."""

    async def events(self, events, request):
        held = []
        async for event in super().events(events, request):
            if isinstance(event, ToolCallDelta) and request.stream:
                held.append(event)
                continue
            if isinstance(event, Finished):
                for piece in held:
                    yield piece
                held = []
            yield event


@mutant(kills=("SSE25",), origin="vLLM#19662")
class LeavesOutAFinishOfNull(Behaviour):
    """Chunks before the last have no finish_reason."""

    def chunks(self, chunks, body):
        for choice in (choice for chunk in chunks for choice in chunk["choices"]):
            if choice["finish_reason"] is None:
                del choice["finish_reason"]
        return chunks


@mutant(kills=("SSE7",), origin="ChatMock#114")
class StreamedCallsFinishTwice(Behaviour):
    """A streamed call ends with tool_calls, and then with stop."""

    def chunks(self, chunks, body):
        made = []
        for chunk in chunks:
            made.append(chunk)
            if any(choice["finish_reason"] == "tool_calls" for choice in chunk["choices"]):
                again = copy.deepcopy(chunk)
                for choice in again["choices"]:
                    choice["finish_reason"] = "stop"
                made.append(again)
        return made


@mutant(kills=("MSG31",), origin="Xinference#1143")
class RefusesLateInstructions(Behaviour):
    """A system message that is not the first is refused."""

    def prepare(self, body):
        if any(message["role"] == "system" for message in body["messages"][1:]):
            raise Rejected("The system message must be the first.", param="messages")
        return super().prepare(body)


@mutant(kills=("ERR16",), origin="LM Studio#1988")
class ModelsHaveNoDate(Behaviour):
    """Models of the list have no `created`."""

    def model_card(self):
        card = super().model_card()
        del card["created"]
        return card
