"""Faults that a blind round put before a correct server, and that the rules of the time missed."""

from __future__ import annotations

import msgspec

from conformance_stub import Behaviour
from conformance_stub.mutants import mutant
from enginehouse_plugin import DeveloperMessage, Finished, SystemMessage


def changed(request, **fields):
    return msgspec.structs.replace(request, **fields)


@mutant(kills=("MSG18", "MSG25"), in_process=True)
class DropsLateInstructions(Behaviour):
    """System and developer messages after the first position are dropped."""

    def accept(self, request):
        first, *others = request.prompt.messages
        kept = [message for message in others if not isinstance(message, SystemMessage | DeveloperMessage)]
        return changed(request, prompt=changed(request.prompt, messages=(first, *kept)))


@mutant(kills=("LEN14",), may_kill=("STOP13", "SSE14", "SSE18", "LEN18"), in_process=True)
class CapsAt256(Behaviour):
    """A max_tokens over 256 counts as 256."""

    def accept(self, request):
        return changed(request, max_tokens=min(request.max_tokens or 256, 256))


@mutant(kills=("SMP25",), in_process=True)
class CapsTheHeat(Behaviour):
    """A temperature over 1 counts as 1."""

    def accept(self, request):
        return changed(request, temperature=min(1.0, request.temperature))


@mutant(kills=("SMP7",), may_kill=("X8",), origin="a falsy value taken for a missing one", in_process=True)
class SeedZeroIsNone(Behaviour):
    """The seed 0 counts as none."""

    def accept(self, request):
        return changed(request, seed=request.seed or None)


@mutant(kills=("LP16",), in_process=True)
class ValuesAfterTheTemperature(Behaviour):
    """Log probabilities are those after temperature."""

    def entry(self, logits, token, request):
        heat = request.temperature or 1.0
        return super().entry([value / heat for value in logits], token, request)


@mutant(kills=("TOOL7",), may_kill=("TOOL8",), in_process=True)
class StreamedCallsEndWithStop(Behaviour):
    """In a stream a call ends with finish_reason stop."""

    async def events(self, events, request):
        async for event in super().events(events, request):
            if isinstance(event, Finished) and request.stream and event.reason == "tool_calls":
                event = changed(event, reason="stop")
            yield event


@mutant(kills=("BIAS10",), may_kill=("BIAS2", "BIAS3"), in_process=True)
class OnlyTheFirstBias(Behaviour):
    """Of logit_bias the first entry counts alone."""

    def accept(self, request):
        return changed(request, logit_bias=dict(list(request.logit_bias.items())[:1]))


@mutant(kills=("N3", "X8"), in_process=True)
class OneSeedForAllChoices(Behaviour):
    """With a seed all choices are the same."""

    def rng(self, request, choice, entropy):
        return super().rng(request, choice if request.seed is None else 0, entropy)


@mutant(kills=("SMP10",), may_kill=("X*", "ISO5"), in_process=True)
class StreamsLoseTheSeed(Behaviour):
    """A stream has no seed."""

    def accept(self, request):
        return changed(request, seed=None) if request.stream else request
