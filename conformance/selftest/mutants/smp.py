"""Faults of sampling."""

from __future__ import annotations

import msgspec

from conformance_stub import Behaviour
from conformance_stub.mutants import mutant
from enginehouse_plugin.errors import EngineFailure


def changed(request, **fields):
    return msgspec.structs.replace(request, **fields)


@mutant(
    kills=("SMP1",),
    may_kill=(
        "SMP5",
        "SMP10",
        "SMP11",
        "SMP16",
        "SMP30",
        "MSG*",
        "STOP*",
        "BIAS*",
        "LEN*",
        "SSE*",
        "LP*",
        "N*",
        "ENV*",
        "X*",
    ),
    origin="vLLM#23138: temperature 0 varies",
    in_process=True,
)
class NeverGreedy(Behaviour):
    """Temperature 0 counts as 1."""

    def accept(self, request):
        return changed(request, temperature=request.temperature or 1.0)


@mutant(
    kills=("SMP2", "SMP3", "SMP8"),
    may_kill=("SMP19", "SMP25", "N3", "SMP12", "SMP13", "X8", "SMP17", "SMP27", "SMP28"),
    in_process=True,
)
class IgnoresTemperature(Behaviour):
    """Every answer is greedy."""

    def accept(self, request):
        return changed(request, temperature=0.0)


@mutant(kills=("SMP3",))
class GreedyByDefault(Behaviour):
    """Without a temperature the answer is greedy."""

    def heat_of(self, profile):
        return 0.0


def lenient(name, change):
    """A `check_fields` that passes the field *name* through *change* before it looks."""

    def check_fields(self, body, profile):
        if isinstance(body.get(name), int | float):
            body[name] = change(body[name])
        super(Behaviour, self).check_fields(body, profile)

    return check_fields


@mutant(kills=("SMP4",), may_kill=("ISO4",))
class ClampsTemperature(Behaviour):
    """A temperature out of range is clamped."""

    check_fields = lenient("temperature", lambda value: max(0, min(2, value)))


@mutant(kills=("SMP4",), profile="krosai")
class AllowsTemperatureTwo(Behaviour):
    """The profile's lower maximum is not kept."""

    check_fields = lenient("temperature", lambda value: min(1, value))


@mutant(kills=("SMP5",), may_kill=("SMP28",), origin="servers that accept top_p and ignore it", in_process=True)
class IgnoresTopP(Behaviour):
    """top_p is ignored."""

    def accept(self, request):
        return changed(request, top_p=1.0)


@mutant(kills=("SMP6",))
class ClampsTopP(Behaviour):
    """A top_p over 1 counts as 1."""

    check_fields = lenient("top_p", lambda value: min(1, value))


@mutant(kills=("SMP7", "SMP10"), may_kill=("X8", "ISO5"), in_process=True)
class IgnoresSeeds(Behaviour):
    """The seed is ignored."""

    def accept(self, request):
        return changed(request, seed=None)


@mutant(kills=("SMP7",), may_kill=("SMP*", "X8", "ISO5"), origin="llama.cpp#22224: cached prompts")
class CachesChangeSeededOutput(Behaviour):
    """A prompt that was seen before has another answer to the same seed."""

    def __init__(self):
        self._seen = set()

    def accept(self, request):
        key = msgspec.json.encode((request.prompt, request.seed))
        is_cached = key in self._seen
        self._seen.add(key)
        return changed(request, seed=request.seed ^ 1) if is_cached and request.seed is not None else request


@mutant(kills=("SMP8",), may_kill=("X8", "SMP17"), in_process=True)
class OneSeedForAll(Behaviour):
    """Every seed counts as 0."""

    def accept(self, request):
        return request if request.seed is None else changed(request, seed=0)


@mutant(kills=("SMP9",), origin="engines whose seed has 32 bits")
class SeedsOf32Bits(Behaviour):
    """A seed over 32 bits is an internal error."""

    def rng(self, request, choice, entropy):
        if abs(request.seed or 0) >= 2**63 - 1:
            raise EngineFailure("seed out of range")
        return super().rng(request, choice, entropy)


@mutant(kills=("SMP10",), may_kill=("X*", "ISO5"), in_process=True)
class SeedsOfStreamsDiffer(Behaviour):
    """A stream has another seed."""

    def accept(self, request):
        return changed(request, seed=request.seed + 1) if request.stream and request.seed is not None else request


@mutant(
    kills=("SMP11", "SMP12", "SMP16"),
    may_kill=("X10",),
    origin="servers that accept penalties and ignore them",
    in_process=True,
)
class IgnoresFrequency(Behaviour):
    """frequency_penalty is ignored."""

    def accept(self, request):
        return changed(request, frequency_penalty=0.0)


@mutant(kills=("SMP11", "SMP16"), may_kill=("SMP12",), in_process=True)
class FrequencyIsPresence(Behaviour):
    """frequency_penalty counts a token once, however often it came."""

    def adjusted(self, logits, request, output):
        return super().adjusted(logits, request, sorted(set(output)))


@mutant(kills=("SMP12",), in_process=True)
class NoNegativePenalties(Behaviour):
    """A negative penalty counts as 0."""

    def accept(self, request):
        return changed(request, frequency_penalty=max(0.0, request.frequency_penalty))


@mutant(kills=("SMP13", "SMP26"), in_process=True)
class IgnoresPresence(Behaviour):
    """presence_penalty is ignored."""

    def accept(self, request):
        return changed(request, presence_penalty=0.0)


@mutant(kills=("SMP13", "SMP26"), in_process=True)
class RewardsPresence(Behaviour):
    """presence_penalty has the wrong sign."""

    def accept(self, request):
        return changed(request, presence_penalty=-request.presence_penalty)


@mutant(kills=("SMP14",), origin="a falsy value taken for a missing one")
class ZeroPenaltyIsADefault(Behaviour):
    """A penalty of 0 counts as 1."""

    def prepare(self, body):
        prepared = super().prepare(body)
        penalties = {name: prepared[name] or 1.0 for name in ("frequency_penalty",) if name in prepared}
        return {**prepared, **penalties}


@mutant(kills=("SMP15",))
class ClampsPenalties(Behaviour):
    """A penalty over 2 is clamped."""

    check_fields = lenient("frequency_penalty", lambda value: max(-2, min(2, value)))


@mutant(kills=("SMP16",), origin="llama.cpp: repeat_last_n is 64 unless told otherwise", in_process=True)
class ForgetsAfter64(Behaviour):
    """Penalties see the last 64 tokens."""

    def adjusted(self, logits, request, output):
        return super().adjusted(logits, request, output[-64:])


@mutant(kills=("SMP16",), may_kill=("SMP12",), origin="mlx_lm.server: penalties see 20 tokens", in_process=True)
class ForgetsAfter20(Behaviour):
    """Penalties see the last 20 tokens."""

    def adjusted(self, logits, request, output):
        return super().adjusted(logits, request, output[-20:])
