"""Sampling that is altered or ignored, as an audit finds it: each fault has an effect, and no text that is wrong."""

from __future__ import annotations

import msgspec

from conformance_stub import Behaviour
from conformance_stub.mutants import mutant

OTHERS = ("AUD*", "SMP*", "MSG*", "STOP*", "BIAS*", "LEN*", "SSE*", "LP*", "N*", "ENV*", "X*")


def changed(request, **fields):
    return msgspec.structs.replace(request, **fields)


class Open(Behaviour):
    """A model that is as undecided as real ones are: the toy has 50 words, of which 40 are nearly all."""

    def logits(self, state, position, request, is_structured):
        return [value * 0.4 for value in super().logits(state, position, request, is_structured)]


@mutant(kills=("AUD1",), may_kill=("AUD*", "SMP*"), origin="defaults that come with weights", in_process=True)
class CoolsByDefault(Behaviour):
    """Temperature 1 counts as 0.7."""

    def accept(self, request):
        return changed(request, temperature=0.7) if request.temperature == 1 else request


@mutant(kills=("AUD2",), may_kill=("SMP*",), in_process=True)
class TemperaturesBelow1Are1(Behaviour):
    """Temperatures between 0 and 1 count as 1."""

    def accept(self, request):
        return changed(request, temperature=1.0) if 0 < request.temperature < 1 else request


@mutant(kills=("AUD2",), may_kill=("SMP*",))
class HalvesTheCool(Behaviour):
    """Temperatures below 1 count twice."""

    def accept(self, request):
        return changed(request, temperature=2 * request.temperature) if request.temperature < 0.5 else request


@mutant(kills=("AUD1",), may_kill=("AUD*", "SMP*"), origin="llama-server: top_p is 0.95 unless given", in_process=True)
class AddsTopP(Behaviour):
    """top_p is never above 0.9."""

    def accept(self, request):
        return changed(request, top_p=min(0.9, request.top_p))


@mutant(kills=("AUD3",), may_kill=("SMP*",))
class LeavesTopPOut(Behaviour):
    """top_p is ignored, unless it is tiny."""

    def accept(self, request):
        return changed(request, top_p=1.0) if request.top_p > 0.1 else request


@mutant(kills=("AUD1",), may_kill=("AUD*", "SMP*"), origin="llama-server: top_k is 40 unless given", in_process=True)
class AddsTopK(Open):
    """top_k is 40 unless given."""

    def accept(self, request):
        return changed(request, top_k=40) if request.top_k <= 0 else request


@mutant(kills=("AUD4",), may_kill=("SMP*",))
class LeavesTopKOut(Behaviour):
    """top_k is ignored, unless it is 1."""

    def accept(self, request):
        return changed(request, top_k=0) if request.top_k > 1 else request


@mutant(kills=("AUD1",), may_kill=("AUD*", "SMP*"), origin="llama-server: min_p is 0.05 unless given", in_process=True)
class AddsMinP(Behaviour):
    """min_p is at least 0.05."""

    def accept(self, request):
        return changed(request, min_p=max(0.05, request.min_p))


@mutant(kills=("AUD5",), may_kill=("SMP*",))
class LeavesMinPOut(Behaviour):
    """min_p is ignored, unless it is 1."""

    def accept(self, request):
        return changed(request, min_p=0.0) if request.min_p < 1 else request


@mutant(kills=("AUD6",), may_kill=OTHERS, origin="Ollama: repeat_penalty is 1.1 unless given", in_process=True)
class AddsRepetition(Behaviour):
    """repetition_penalty is 1.1 unless given."""

    def logits(self, state, position, request, is_structured):
        # As high as those of real models are, of which a penalty takes its share; the chances are the same.
        return [value + 10 for value in super().logits(state, position, request, is_structured)]

    def accept(self, request):
        return changed(request, repetition_penalty=1.1) if request.repetition_penalty == 1 else request


@mutant(kills=("AUD6",), may_kill=("SMP*",))
class LeavesRepetitionOut(Behaviour):
    """repetition_penalty is ignored."""

    def accept(self, request):
        return changed(request, repetition_penalty=1.0)


@mutant(kills=("AUD6",), may_kill=("SMP*",))
class PenalisesTheFresh(Behaviour):
    """repetition_penalty is for the tokens that have not come yet."""

    def repeated(self, logits, request, prompt, output):
        if request.repetition_penalty == 1:
            return logits
        fresh = set(range(len(logits))) - {*prompt, *output}
        return super().repeated(logits, request, sorted(fresh), ())


@mutant(kills=("AUD7",), may_kill=("SMP*", "X*", "ISO*"), in_process=True)
class LeavesSeedsOut(Behaviour):
    """The seed is ignored."""

    def accept(self, request):
        return changed(request, seed=None)


@mutant(kills=("AUD7",), may_kill=("SMP*", "X*", "ISO*"))
class EverySeedIsOne(Behaviour):
    """Every seed counts as 1."""

    def accept(self, request):
        return request if request.seed is None else changed(request, seed=1)
