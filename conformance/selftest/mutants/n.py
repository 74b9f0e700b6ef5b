"""Faults of several choices."""

from __future__ import annotations

import random

import msgspec

from conformance_stub import Behaviour
from conformance_stub.mutants import mutant
from enginehouse_plugin import UsageReport

ALL = ("N1", "N2", "N3", "N4", "N5")
PAIRS = ("N10", "X4", "X5", "X8", "X9", "X13", "RF23")


@mutant(kills=ALL, may_kill=PAIRS, origin="Ollama#3795: n is not there", in_process=True)
class AnswersWithOneChoice(Behaviour):
    """n is accepted and ignored."""

    def accept(self, request):
        return msgspec.structs.replace(request, n=1)


@mutant(kills=ALL, may_kill=PAIRS, origin="llama.cpp: n is capped by the slots", in_process=True)
class CapsChoicesAtTwo(Behaviour):
    """n over 2 gives 2 choices."""

    def accept(self, request):
        return msgspec.structs.replace(request, n=min(request.n, 2))


@mutant(kills=("N1",), may_kill=("N2", "N3", "N4", *PAIRS))
class EveryIndexIsZero(Behaviour):
    """Each choice of an answer has the index 0."""

    def answer(self, answer, body):
        return {**answer, "choices": [{**choice, "index": 0} for choice in answer["choices"]]}


@mutant(kills=("N3",), may_kill=("X8", "SMP2", "SMP3", "SMP7", "SMP10", "ISO5"), in_process=True)
class CopiesOneChoice(Behaviour):
    """The choices of a request are copies of one."""

    def rng(self, request, choice, entropy):
        return random.Random(request.id)


@mutant(kills=("N4",), may_kill=("X13", "SSE11"), in_process=True)
class CountsOneChoice(Behaviour):
    """Usage counts the tokens of one choice."""

    async def events(self, events, request):
        async for event in super().events(events, request):
            if isinstance(event, UsageReport):
                event = msgspec.structs.replace(event, completion_tokens=event.completion_tokens // request.n)
            yield event


@mutant(kills=("N4",), may_kill=("X13",), in_process=True)
class CountsThePromptForEachChoice(Behaviour):
    """Usage counts the prompt once for each choice."""

    async def events(self, events, request):
        async for event in super().events(events, request):
            if isinstance(event, UsageReport):
                event = msgspec.structs.replace(event, prompt_tokens=event.prompt_tokens * request.n)
            yield event


@mutant(kills=("N5",), may_kill=("N10", "X4", "X13"))
class FinishesTheFirstChoiceOnly(Behaviour):
    """In a stream only the choice 0 has a finish_reason."""

    def chunks(self, chunks, body):
        for chunk in chunks:
            for choice in chunk["choices"]:
                choice["finish_reason"] = None if choice["index"] else choice["finish_reason"]
        return chunks


@mutant(kills=("N5",), may_kill=("N10", "X4", "X5", "X13"))
class StreamsEveryChoiceAsZero(Behaviour):
    """In a stream all choices have the index 0."""

    def chunks(self, chunks, body):
        for chunk in chunks:
            for choice in chunk["choices"]:
                choice["index"] = 0
        return chunks


@mutant(kills=("N6",))
class TakesZeroForOne(Behaviour):
    """n 0 is taken for 1."""

    def problem(self, name, value, body, profile):
        return None if name == "n" and value == 0 else super().problem(name, value, body, profile)

    def prepare(self, body):
        prepared = super().prepare(body)
        return {**prepared, "n": prepared.get("n") or 1}


@mutant(kills=("N7",))
class CapsAnyNumberOfChoices(Behaviour):
    """A huge n gives as many choices as there can be."""

    def problem(self, name, value, body, profile):
        return None if name == "n" and value > 8 else super().problem(name, value, body, profile)

    def prepare(self, body):
        prepared = super().prepare(body)
        return {**prepared, "n": min(prepared.get("n", 1), 8)}


@mutant(kills=("N6", "N7"))
class RefusesWithoutNamingN(Behaviour):
    """A wrong n is refused with a message that does not name it."""

    def error(self, status, error, headers):
        if error["error"]["param"] == "n":
            error = {"error": {**error["error"], "param": None, "message": "The request cannot be served."}}
        return status, error, headers


@mutant(kills=("N8", *ALL), may_kill=PAIRS, absent=("n",), origin="mlx_lm.server: n is never read")
class IgnoresWhatItDoesNotOffer(Behaviour):
    """n is declared absent, and a request with it is answered with one choice."""

    def prepare(self, body):
        return {name: value for name, value in super().prepare(body).items() if name != "n"}
