"""What blind rounds missed: times in streams, temperature 0 beside others, penalties for each other, `strict`."""

from __future__ import annotations

import msgspec

from conformance_stub import Behaviour
from conformance_stub.mutants import mutant


@mutant(kills=("ENV4",))
class StreamsCountMilliseconds(Behaviour):
    """`created` of chunks is in milliseconds."""

    def chunks(self, chunks, body):
        return [{**chunk, "created": chunk["created"] * 1000} for chunk in super().chunks(chunks, body)]


@mutant(kills=("SMP29",), origin="servers that take temperature 0 for a missing one where another field samples")
class TopPWarmsGreed(Behaviour):
    """Temperature 0 counts as 1 where top_p is below 1."""

    def accept(self, request):
        is_warm = request.temperature == 0 and request.top_p < 1
        return msgspec.structs.replace(request, temperature=1.0) if is_warm else request


@mutant(kills=("SMP29",), may_kill=("ISO5", "SSE6"))
class SeedsWarmGreed(Behaviour):
    """Temperature 0 counts as 1 where a seed is given."""

    def accept(self, request):
        is_warm = request.temperature == 0 and request.seed is not None
        return msgspec.structs.replace(request, temperature=1.0) if is_warm else request


def with_penalties(request, *, frequency, presence):
    return msgspec.structs.replace(request, frequency_penalty=frequency, presence_penalty=presence)


@mutant(kills=("SMP30",), may_kill=("SMP26",), in_process=True)
class PresenceIsFrequency(Behaviour):
    """presence_penalty is applied as frequency_penalty."""

    def accept(self, request):
        both = request.frequency_penalty + request.presence_penalty
        return with_penalties(request, frequency=both, presence=0.0)


@mutant(kills=("SMP11", "SMP16"), may_kill=("SMP12",), in_process=True)
class FrequencyGoesToPresence(Behaviour):
    """frequency_penalty is applied as presence_penalty."""

    def accept(self, request):
        both = request.frequency_penalty + request.presence_penalty
        return with_penalties(request, frequency=0.0, presence=both)


@mutant(kills=("SMP11", "SMP16", "SMP30"), may_kill=("SMP12", "SMP26"), in_process=True)
class PenaltiesAreSwapped(Behaviour):
    """Each of the penalties is applied as the other."""

    def accept(self, request):
        return with_penalties(request, frequency=request.presence_penalty, presence=request.frequency_penalty)


def inner_schema(body):
    """The `json_schema` of a request's format, or an empty object."""
    given = body.get("response_format")
    inner = given.get("json_schema") if isinstance(given, dict) else None
    return inner if isinstance(inner, dict) else {}


@mutant(kills=("RF29", "RF30"), may_kill=("RF*", "SCH*"))
class StrictFalseIsNoSchema(Behaviour):
    """A schema with `strict: false` is dropped."""

    def prepare(self, body):
        prepared = super().prepare(body)
        if inner_schema(body).get("strict") is False:
            del prepared["response_format"]
        return prepared


@mutant(kills=("RF30",))
class OnlyStrictSchemasHold(Behaviour):
    """A schema without `strict: true` is dropped."""

    def prepare(self, body):
        prepared = super().prepare(body)
        if inner_schema(body) and inner_schema(body).get("strict") is not True:
            del prepared["response_format"]
        return prepared


@mutant(kills=("RF29", "RF30"))
class RefusesStrictFalse(Behaviour):
    """`strict: false` is refused."""

    def problem(self, name, value, body, profile):
        if name == "response_format" and inner_schema(body).get("strict") is False:
            return ".json_schema.strict must be true"
        return super().problem(name, value, body, profile)
