"""Faults of where an answer begins and ends."""

from __future__ import annotations

import msgspec

from conformance_stub import Behaviour
from conformance_stub.mutants import mutant
from enginehouse_plugin import Chat, TextDelta


def changed(request, **fields):
    return msgspec.structs.replace(request, **fields)


@mutant(kills=("END1", "END2"), origin="servers that accept ignore_eos and ignore it", in_process=True)
class IgnoresIgnoreEos(Behaviour):
    """ignore_eos is ignored."""

    def accept(self, request):
        return changed(request, ignore_eos=False)


@mutant(kills=("END2",))
class StreamsEndAllTheSame(Behaviour):
    """ignore_eos is ignored in streams."""

    def accept(self, request):
        return changed(request, ignore_eos=request.ignore_eos and not request.stream)


@mutant(kills=("END3",), origin="a field whose presence is taken for its value")
class AnyIgnoreEosIsTrue(Behaviour):
    """ignore_eos false counts as true."""

    def prepare(self, body):
        prepared = super().prepare(body)
        return {**prepared, "ignore_eos": True} if "ignore_eos" in prepared else prepared


@mutant(kills=("END4",), origin="servers that accept min_tokens and ignore it", in_process=True)
class IgnoresMinTokens(Behaviour):
    """min_tokens is ignored."""

    def accept(self, request):
        return changed(request, min_tokens=0)


@mutant(kills=("END4",), in_process=True)
class HalvesMinTokens(Behaviour):
    """An answer has half of min_tokens at least."""

    def accept(self, request):
        return changed(request, min_tokens=request.min_tokens // 2)


@mutant(kills=("END5",), origin="a falsy value taken for a missing one")
class NoMinTokensIsADefault(Behaviour):
    """min_tokens 0 counts as 4."""

    def prepare(self, body):
        prepared = super().prepare(body)
        return {**prepared, "min_tokens": 4} if prepared.get("min_tokens") == 0 else prepared


@mutant(kills=("END6",))
class CutsMinTokens(Behaviour):
    """A min_tokens that cannot be counts as what can."""

    def check_fields(self, body, profile):
        if "min_tokens" in body:
            body["min_tokens"] = max(0, min(int(body["min_tokens"]), body.get("max_tokens") or 1))
        super().check_fields(body, profile)


@mutant(kills=("END7",), may_kill=("END8",), origin="servers that close the turn and begin another", in_process=True)
class ClosesTheTurn(Behaviour):
    """continue_final_message is ignored: the answer is a new turn."""

    def accept(self, request):
        return changed(request, continue_final_message=False)


@mutant(kills=("END7",), may_kill=("END8",), in_process=True)
class DropsWhatIsContinued(Behaviour):
    """The message that is to be continued is dropped."""

    def accept(self, request):
        if not request.continue_final_message:
            return request
        return changed(request, prompt=Chat(request.prompt.messages[:-1]), continue_final_message=False)


@mutant(kills=("END8",), origin="vLLM's option echo, where it is on by itself", in_process=True)
class SaysItAgain(Behaviour):
    """A continued answer begins with what it continues."""

    async def events(self, events, request):
        begun = request.prompt.messages[-1].content if request.continue_final_message else ""
        async for event in super().events(events, request):
            if isinstance(event, TextDelta) and begun:
                event, begun = msgspec.structs.replace(event, text=begun + event.text), ""
            yield event


@mutant(kills=("END9",))
class ContinuesTheUser(Behaviour):
    """continue_final_message behind a message of the user is left out."""

    def check_fields(self, body, profile):
        given = body.get("messages")
        if isinstance(given, list) and "user" in str(given[-1:]) and body.pop("continue_final_message", None):
            body.pop("add_generation_prompt", None)
        super().check_fields(body, profile)


@mutant(kills=("END10",))
class TakesBoth(Behaviour):
    """add_generation_prompt is never read."""

    def check_fields(self, body, profile):
        body.pop("add_generation_prompt", None)
        super().check_fields(body, profile)
