"""Faults that requests do to each other. Most of them show only where more run at once than other checks start."""

from __future__ import annotations

import msgspec

from conformance_stub import Behaviour
from conformance_stub.mutants import mutant
from enginehouse_conformance.rules import SECTIONS
from enginehouse_plugin.errors import EngineFailure

CROWD = 6
ANYTHING = tuple(f"{section}*" for section in SECTIONS)


class Crowded(Behaviour):
    """Knows how many requests are under way."""

    def __init__(self):
        self.running = 0

    @property
    def is_crowded(self):
        return self.running > CROWD

    async def events(self, events, request):
        self.running += 1
        try:
            async for event in super().events(events, request):
                yield event
        finally:
            self.running -= 1


@mutant(kills=("ISO1",), in_process=True)
class MixesSchemas(Crowded):
    """In a crowd, a request gets the schema of the one that came last."""

    latest = None

    def accept(self, request):
        self.latest = request
        return request

    def output_grammar(self, request):
        return super().output_grammar(self.latest if self.is_crowded and self.latest else request)


@mutant(
    kills=("ISO2",), may_kill=("ISO5",), origin="vLLM#23138: temperature 0 varies under concurrency", in_process=True
)
class GreedyVariesInACrowd(Crowded):
    """In a crowd, temperature 0 is not greedy."""

    def accept(self, request):
        is_hit = self.is_crowded and request.temperature == 0
        return msgspec.structs.replace(request, temperature=1.5) if is_hit else request


@mutant(kills=("ISO5",), may_kill=("ISO2",), origin="llama.cpp#22224: the cache changes seeded output", in_process=True)
class SeedsVaryInACrowd(Crowded):
    """In a crowd, a seed is not kept to."""

    def accept(self, request):
        return msgspec.structs.replace(request, seed=None) if self.is_crowded else request


@mutant(kills=("ISO3",), may_kill=("SSE18", "C1", "C2", "ISO5", "ISO6"), in_process=True)
class WearsOut(Behaviour):
    """After some dropped requests it answers no more."""

    def __init__(self):
        self._dropped = 0

    async def events(self, events, request):
        if self._dropped > 30:
            raise EngineFailure("no sequence is free")
        is_whole = False
        try:
            async for event in super().events(events, request):
                yield event
            is_whole = True
        finally:
            self._dropped += not is_whole


@mutant(kills=("ISO3",), may_kill=("SSE18", "C1", "C2", "ISO2"), in_process=True)
class DropsLeaveRubbish(Behaviour):
    """What dropped requests leave behind gets into the prompts of others."""

    def __init__(self):
        self._dropped = 0

    def prompt_tokens(self, request):
        return super().prompt_tokens(request) + [7] * (self._dropped > 30)

    async def events(self, events, request):
        is_whole = False
        try:
            async for event in super().events(events, request):
                yield event
            is_whole = True
        finally:
            self._dropped += not is_whole


@mutant(kills=("ISO4",), may_kill=ANYTHING)
class ABadRequestEndsTheBatch(Behaviour):
    """A request that is refused makes those that run beside it fail."""

    def __init__(self):
        self._refused = 0

    def error(self, status, error, headers):
        self._refused += 1
        return super().error(status, error, headers)

    async def events(self, events, request):
        before = self._refused
        async for event in super().events(events, request):
            if self._refused != before:
                raise EngineFailure("the batch was aborted")
            yield event
