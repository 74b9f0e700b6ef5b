"""Faults of log probabilities."""

from __future__ import annotations

import math

import msgspec

from conformance_stub import Behaviour, Rejected
from conformance_stub.mutants import mutant


def changed(entry, **fields):
    return msgspec.structs.replace(entry, **fields)


@mutant(
    kills=("LP1", "LP2", "LP12", "LP15"), may_kill=("LP*", "LEN13", "X3", "X9", "X12", "SSE21", "X15"), in_process=True
)
class IgnoresLogprobs(Behaviour):
    """logprobs is accepted and ignored."""

    def accept(self, request):
        return changed(request, logprobs=False, top_logprobs=0)


@mutant(kills=("LP1",), in_process=True)
class AlwaysTellsLogprobs(Behaviour):
    """Log probabilities come unasked."""

    def accept(self, request):
        return changed(request, logprobs=True)


@mutant(kills=("LP2",), may_kill=("X12",), origin="vLLM#34875: multi-byte tokens are empty", in_process=True)
class EmptyMultiByteTokens(Behaviour):
    """A token that is a part of a character has no bytes."""

    def entry(self, logits, token, request):
        entry = super().entry(logits, token, request)
        return entry if entry.token_bytes.isascii() else changed(entry, token="", token_bytes=b"")


@mutant(kills=("LP2",), may_kill=("X3", "X9", "X12", "LP18"), origin="mlx_lm.server: no bytes")
class BytesAreNull(Behaviour):
    """`bytes` is null."""

    def entries(self, logprobs):
        return [{**entry, "bytes": None} for entry in super().entries(logprobs)]


@mutant(kills=("LP2",), may_kill=("X3", "X9", "X12", "LP18"), in_process=True)
class StripsTokens(Behaviour):
    """Tokens lose their blanks."""

    def entry(self, logits, token, request):
        entry = super().entry(logits, token, request)
        return changed(entry, token=entry.token.strip(), token_bytes=entry.token_bytes.strip())


@mutant(kills=("LP3", "LP7"), in_process=True)
class TellsProbabilities(Behaviour):
    """logprob is the probability itself."""

    def entry(self, logits, token, request):
        entry = super().entry(logits, token, request)
        top = tuple(changed(other, logprob=math.exp(other.logprob)) for other in entry.top)
        return changed(entry, logprob=math.exp(entry.logprob), top=top)


@mutant(kills=("LP4",), may_kill=("LP6",), in_process=True)
class AddsTheSampledToken(Behaviour):
    """The sampled token is one more alternative where it is none of them, and with top_logprobs 0."""

    def entry(self, logits, token, request):
        entry = super().entry(logits, token, request)
        if any(other.token_id == token for other in entry.top):
            return entry
        best = super().entry(logits, token, changed(request, top_logprobs=1)).top[0]
        return changed(entry, top=(*entry.top, changed(best, token_id=token, logprob=entry.logprob, token="?")))


@mutant(kills=("LP5",), may_kill=("LP6",), origin="vLLM: the sampled token stands first", in_process=True)
class PutsTheSampledTokenFirst(Behaviour):
    """The sampled token stands before likelier alternatives."""

    def entry(self, logits, token, request):
        entry = super().entry(logits, token, request)
        if not entry.top:
            return entry
        first = changed(entry.top[0], token=entry.token, token_bytes=entry.token_bytes, logprob=entry.logprob)
        others = [other for other in entry.top if other.token_id != token]
        return changed(entry, top=(first, *others)[: len(entry.top)])


@mutant(kills=("LP5", "LP8"), origin="mlx_lm.server: top_logprobs unsorted", in_process=True)
class ReversesAlternatives(Behaviour):
    """The likeliest alternative stands last."""

    def entry(self, logits, token, request):
        entry = super().entry(logits, token, request)
        return changed(entry, top=entry.top[::-1])


@mutant(kills=("LP6",), in_process=True)
class RepeatsAnAlternative(Behaviour):
    """The last alternative but one comes twice."""

    def entry(self, logits, token, request):
        entry = super().entry(logits, token, request)
        return changed(entry, top=(*entry.top[:-1], entry.top[-2])) if len(entry.top) > 2 else entry


@mutant(kills=("LP7",), may_kill=("MSG39",), in_process=True)
class DoesNotNormalise(Behaviour):
    """A logprob is the distance to the likeliest logit."""

    def entry(self, logits, token, request):
        entry = super().entry(logits, token, request)
        best = super().entry(logits, token, changed(request, top_logprobs=1)).top[0].logprob
        top = tuple(changed(other, logprob=other.logprob - best) for other in entry.top)
        return changed(entry, logprob=entry.logprob - best, top=top)


@mutant(kills=("LP8",), may_kill=("BIAS*", "LEN8", "SMP*", "X*"), in_process=True)
class GreedyTakesTheSecond(Behaviour):
    """Greedy decoding takes the second likeliest token."""

    def sampled(self, logits, request, rng):
        best = super().sampled(logits, request, rng)
        if request.temperature:
            return best
        second = max((token for token in range(len(logits)) if token != best), key=logits.__getitem__)
        return second if logits[second] > -math.inf else best


@mutant(kills=("LP8",), may_kill=("LP18",), in_process=True)
class TellsAnotherValueForTheSampledToken(Behaviour):
    """The sampled token's logprob comes from other logits than those of the alternatives."""

    def entry(self, logits, token, request):
        entry = super().entry(logits, token, request)
        return changed(entry, logprob=entry.logprob - 0.5)


@mutant(kills=("LP9",), origin="vLLM: top_logprobs -1 is all of them")
class TakesMinusOneForAll(Behaviour):
    """top_logprobs -1 is accepted."""

    def problem(self, name, value, body, profile):
        return None if name == "top_logprobs" and value == -1 else super().problem(name, value, body, profile)

    def prepare(self, body):
        prepared = super().prepare(body)
        return {**prepared, "top_logprobs": 20} if prepared.get("top_logprobs") == -1 else prepared


@mutant(kills=("LP9",))
class CapsAlternatives(Behaviour):
    """top_logprobs over 20 gives 20."""

    def problem(self, name, value, body, profile):
        return None if name == "top_logprobs" and value > 20 else super().problem(name, value, body, profile)

    def prepare(self, body):
        prepared = super().prepare(body)
        return {**prepared, "top_logprobs": 20} if prepared.get("top_logprobs", 0) > 20 else prepared


@mutant(kills=("LP10",))
class TopWithoutLogprobs(Behaviour):
    """top_logprobs is taken without logprobs."""

    def problem(self, name, value, body, profile):
        if name == "top_logprobs" and not body.get("logprobs"):
            return None
        return super().problem(name, value, body, profile)

    def prepare(self, body):
        prepared = super().prepare(body)
        if not prepared.get("logprobs"):
            prepared.pop("top_logprobs", None)
        return prepared


@mutant(kills=("LP11",), may_kill=("LP18", "LP20"), in_process=True)
class TellsTokensOfTheTokenizer(Behaviour):
    """Tokens have the tokenizer's own sign for a blank."""

    def entry(self, logits, token, request):
        entry = super().entry(logits, token, request)
        return changed(entry, token=entry.token.replace(" ", "\u0120"))


@mutant(kills=("LP11",), may_kill=("LP18", "LP20"), in_process=True)
class TellsAlternativesOfTheTokenizer(Behaviour):
    """Alternatives have the tokenizer's own sign for a blank."""

    def entry(self, logits, token, request):
        entry = super().entry(logits, token, request)
        return changed(entry, top=tuple(changed(top, token=top.token.replace(" ", "\u2581")) for top in entry.top))


@mutant(
    kills=("LP12", "LP15"),
    may_kill=("SSE21", "X15", "LP17", "LP19"),
    origin="mlx-lm#1630: streams drop log probabilities",
)
class StreamsWithoutLogprobs(Behaviour):
    """A stream has no log probabilities."""

    def chunks(self, chunks, body):
        for chunk in chunks:
            for choice in chunk["choices"]:
                choice["logprobs"] = None
        return chunks


@mutant(kills=("LP12",), may_kill=("LP15", "LP19", "SSE21"))
class LosesEntriesOfWords(Behaviour):
    """A chunk of a stream whose text begins with a blank lacks an entry."""

    def chunks(self, chunks, body):
        for chunk in chunks:
            for choice in chunk["choices"]:
                entries = (choice["logprobs"] or {}).get("content") or []
                if choice["delta"].get("content", "").startswith(" ") and entries:
                    entries.pop()
        return chunks


@mutant(kills=("LP13",), in_process=True)
class NormalisesOverTheAlternatives(Behaviour):
    """Probabilities are shares among the alternatives."""

    def entry(self, logits, token, request):
        entry = super().entry(logits, token, request)
        if not entry.top:
            return entry
        norm = math.log(sum(math.exp(other.logprob) for other in entry.top))
        top = tuple(changed(other, logprob=other.logprob - norm) for other in entry.top)
        return changed(entry, logprob=min(0.0, entry.logprob - norm), top=top)


@mutant(kills=("LP14",), may_kill=("X3", "LEN13"))
class TellsEntriesBeyondTheStop(Behaviour):
    """Entries go on after a stop string."""

    def answer(self, answer, body):
        for choice in answer["choices"]:
            if body.get("stop") and choice["logprobs"] and choice["finish_reason"] == "stop":
                choice["logprobs"]["content"] += choice["logprobs"]["content"][:3]
        return answer


@mutant(kills=("LP15",), origin="llama.cpp#28478: logprobs, tools and stream are refused")
class RefusesLogprobsWithToolsInStreams(Behaviour):
    """logprobs, tools and stream together are refused."""

    def check_fields(self, body, profile):
        super().check_fields(body, profile)
        if body.get("logprobs") and body.get("tools") and body.get("stream"):
            raise Rejected("logprobs is not supported with tools + stream", param="logprobs")
