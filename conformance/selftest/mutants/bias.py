"""Faults of logit_bias."""

from __future__ import annotations

import msgspec

from conformance_stub import Behaviour, vocabulary
from conformance_stub.mutants import mutant


def with_bias(request, bias):
    return msgspec.structs.replace(request, logit_bias=bias)


@mutant(
    kills=("BIAS1",),
    may_kill=("LEN8",),
    origin="SGLang#6171: logit_bias without effect",
    in_process=True,
)
class IgnoresBias(Behaviour):
    """logit_bias has no effect."""

    def accept(self, request):
        return with_bias(request, {})


@mutant(kills=("BIAS1",), may_kill=("BIAS2", "LEN8", "SMP*", "X*"), in_process=True)
class BiasIsProbability(Behaviour):
    """A bias of 100 counts as one of 1."""

    def accept(self, request):
        return with_bias(request, {token: bias / 100 for token, bias in request.logit_bias.items()})


@mutant(kills=("BIAS2",), may_kill=("SSE*",), in_process=True)
class OnlyRaises(Behaviour):
    """Negative biases are ignored."""

    def accept(self, request):
        return with_bias(request, {token: bias for token, bias in request.logit_bias.items() if bias > 0})


@mutant(kills=("BIAS3",), origin="a falsy value taken for a missing one", in_process=True)
class ZeroIsADefault(Behaviour):
    """A bias of 0 counts as -100."""

    def accept(self, request):
        return with_bias(request, {token: bias or -100 for token, bias in request.logit_bias.items()})


def lenient(change):
    """A `check_fields` that passes logit_bias through *change* before it looks."""

    def check_fields(self, body, profile):
        if isinstance(body.get("logit_bias"), dict):
            body["logit_bias"] = change(body["logit_bias"])
        super(Behaviour, self).check_fields(body, profile)

    return check_fields


@mutant(kills=("BIAS4",))
class ClampsBiases(Behaviour):
    """A bias over 100 is clamped."""

    check_fields = lenient(lambda biases: {key: max(-100, min(100, bias)) for key, bias in biases.items()})


@mutant(kills=("BIAS5",))
class DropsUnknownIds(Behaviour):
    """A bias on an id outside the vocabulary is dropped in silence."""

    check_fields = lenient(
        lambda biases: {key: bias for key, bias in biases.items() if not key.isdecimal() or int(key) < vocabulary.SIZE}
    )


@mutant(kills=("BIAS5",), origin="an index error in the sampler")
class FailsOnUnknownIds(Behaviour):
    """An id outside the vocabulary is an internal error."""

    def error(self, status, error, headers):
        return 500 if "outside the vocabulary" in error["error"]["message"] else status, error, headers


@mutant(kills=("BIAS6",), origin="llama-server: a text as key biases its tokens")
class ReadsTextsAsIds(Behaviour):
    """A key that is no id is taken for a text to be tokenized."""

    check_fields = lenient(lambda biases: {key: bias for key, bias in biases.items() if key != "abc"})


@mutant(kills=("BIAS7",), may_kill=("SSE*", "X10", "STOP15"), in_process=True)
class NoBiasInStreams(Behaviour):
    """A stream has no bias."""

    def accept(self, request):
        return with_bias(request, {}) if request.stream else request


@mutant(kills=("BIAS8",), may_kill=("BIAS2", "STOP*", "SMP*", "MSG4", "SSE*", "X*"), in_process=True)
class KeepsTheBias(Behaviour):
    """The bias stays with the cached prompt."""

    def __init__(self):
        self._kept = {}

    def accept(self, request):
        prompt = msgspec.json.encode(request.prompt)
        if request.logit_bias:
            self._kept[prompt] = request.logit_bias
        return with_bias(request, self._kept.get(prompt, {}))


@mutant(kills=("BIAS9",), may_kill=("STOP4", "STOP15", "X*"), in_process=True)
class LooksForStopsFromTheSecondToken(Behaviour):
    """A stop string is not found in the first token."""

    def text_output(self, request):
        output = super().text_output(request)
        push, is_first = output.push, True

        def lenient_push(data, entry):
            nonlocal is_first
            if not is_first:
                return push(data, entry)
            is_first = False
            stops, output._stops = output._stops, ()
            try:
                return push(data, entry)
            finally:
                output._stops = stops

        output.push = lenient_push
        return output
