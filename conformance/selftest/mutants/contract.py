"""Faults of a backend under the plugin contract."""

from __future__ import annotations

import asyncio

import msgspec

from conformance_stub import Behaviour
from conformance_stub.mutants import mutant
from enginehouse_plugin import Finished, Started, TextDelta, UsageReport
from enginehouse_plugin.errors import ContextTooLong, UnsupportedFeature


@mutant(kills=("S1",), may_kill=("S2",), in_process=True)
class NeverStarted(Behaviour):
    """There is no `Started`."""

    async def events(self, events, request):
        async for event in super().events(events, request):
            if not isinstance(event, Started):
                yield event


@mutant(kills=("S1",), may_kill=("SSE7", "N5", "X13", "X4", "X15"), in_process=True)
class FinishesTwice(Behaviour):
    """Each `Finished` comes twice."""

    async def events(self, events, request):
        async for event in super().events(events, request):
            yield event
            if isinstance(event, Finished):
                yield event


@mutant(kills=("S1",), may_kill=("SSE*", "N5", "X*"), in_process=True)
class FinishesEarly(Behaviour):
    """`Finished` comes before the last text of its choice."""

    async def events(self, events, request):
        kept = {}
        async for event in super().events(events, request):
            if isinstance(event, TextDelta):
                if event.choice in kept:
                    yield kept[event.choice]
                kept[event.choice] = event
                continue
            yield event
            if isinstance(event, Finished) and event.choice in kept:
                yield kept.pop(event.choice)


@mutant(kills=("S2",), may_kill=("SSE8", "SSE9", "SSE10", "SSE11"), in_process=True)
class UsageBeforeTheEnd(Behaviour):
    """`UsageReport` comes before each `Finished`."""

    async def events(self, events, request):
        held = []
        async for event in super().events(events, request):
            if isinstance(event, Finished):
                held.append(event)
            else:
                yield event
        for event in held:
            yield event


@mutant(kills=("S2",), may_kill=("LEN*", "SSE*", "N4", "X*", "RSN5"), in_process=True)
class CountsChunksForTokens(Behaviour):
    """`UsageReport` counts something else than the deltas do."""

    async def events(self, events, request):
        async for event in super().events(events, request):
            if isinstance(event, UsageReport):
                event = msgspec.structs.replace(event, completion_tokens=event.completion_tokens // 2)
            yield event


@mutant(kills=("S2",), in_process=True)
class CountsEachDeltaForItself(Behaviour):
    """`completion_tokens` of a delta is not the running count."""

    async def events(self, events, request):
        async for event in super().events(events, request):
            yield msgspec.structs.replace(event, completion_tokens=1) if isinstance(event, TextDelta) else event


@mutant(kills=("S3",), may_kill=("LEN9", "LEN10"), in_process=True)
class RaisesWhatPythonRaises(Behaviour):
    """What does not fit the context is a ValueError."""

    async def events(self, events, request):
        try:
            async for event in super().events(events, request):
                yield event
        except ContextTooLong as exc:
            raise ValueError(str(exc)) from exc


@mutant(kills=("S3",), in_process=True)
class IgnoresWhatItLacks(Behaviour):
    """A request for a feature that is not declared is answered as if the field were not there."""

    async def events(self, events, request):
        try:
            async for event in super().events(events, request):
                yield event
        except UnsupportedFeature:
            yield Started(prompt_tokens=1)
            yield TextDelta(0, "Yes.", 1)
            yield Finished(0, "stop")
            yield UsageReport(prompt_tokens=1, completion_tokens=1)


@mutant(kills=("S3",), in_process=True)
class RefusesWithoutAParam(Behaviour):
    """A refusal names no field."""

    async def events(self, events, request):
        try:
            async for event in super().events(events, request):
                yield event
        except UnsupportedFeature as exc:
            raise UnsupportedFeature(exc.feature, param=None, message="no") from exc


@mutant(kills=("C1",), may_kill=("C2", "SSE18", "SSE19", "ISO3"), in_process=True)
class KeepsTheSlot(Behaviour):
    """A request that is left keeps its slot."""

    def __init__(self):
        self._left = []

    async def events(self, events, request):
        self._left.append(events)
        async for event in events:
            yield event


@mutant(kills=("C2",), may_kill=("C1", "SSE18", "ISO3"), in_process=True)
class SwallowsCancellation(Behaviour):
    """A cancellation looks like a regular end."""

    async def events(self, events, request):
        try:
            async for event in super().events(events, request):
                yield event
        except asyncio.CancelledError:
            yield UsageReport(prompt_tokens=1, completion_tokens=1)


@mutant(kills=("C2",), may_kill=("C1", "SSE18", "ISO3"), in_process=True)
class SpeaksWhileClosing(Behaviour):
    """A last event is yielded while the generator is closed."""

    async def events(self, events, request):
        try:
            async for event in super().events(events, request):
                yield event
        except GeneratorExit:
            yield UsageReport(prompt_tokens=1, completion_tokens=1)
