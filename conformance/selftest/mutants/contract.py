"""Faults of a backend under the plugin contract."""

from __future__ import annotations

import asyncio

import msgspec

from conformance_stub import Behaviour
from conformance_stub.mutants import mutant
from enginehouse_plugin import Finished, Run, Started, TextDelta, UsageReport
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


@mutant(kills=("S3",), may_kill=("LEN9", "LEN10", "LEN21"), in_process=True)
class RaisesWhatPythonRaises(Behaviour):
    """What does not fit the context is a ValueError."""

    async def events(self, events, request):
        try:
            async for event in super().events(events, request):
                yield event
        except ContextTooLong as exc:
            raise ValueError(str(exc)) from exc


@mutant(kills=("S3",), may_kill=("MSG42",), engine_lacks=("top_k", "image_input"), in_process=True)
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


@mutant(kills=("S3",), engine_lacks=("top_k", "image_input"), in_process=True)
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


# ---- runs that lie ----


class Between(Run):
    """A run that stands between another and its sink, and is right in all it does."""

    def __init__(self, start, request, sink):
        self.sink = sink
        self.run = start(request, self)

    def events(self, batch):
        self.sink.events(batch)

    def end(self, error):
        self.sink.end(error)

    def pause(self):
        self.run.pause()

    def resume(self):
        self.run.resume()

    def cancel(self):
        self.run.cancel()

    async def wait_released(self):
        await self.run.wait_released()


@mutant(kills=("S1",), in_process=True)
class PushesBeforeItReturns(Behaviour):
    """The sink is called before `start` has returned."""

    def start(self, start, request, sink):
        class Early(Between):
            def events(self, batch):
                if not isinstance(batch[0], Started):
                    super().events(batch)

        sink.events((Started(),))
        return Early(start, request, sink)


@mutant(kills=("S1", "S2"), in_process=True, time_scale=0.02)
class NeverEnds(Behaviour):
    """The end is never told."""

    def start(self, start, request, sink):
        class Endless(Between):
            def end(self, error):
                pass

        return Endless(start, request, sink)


@mutant(kills=("S1", "S2"), in_process=True)
class EndsTwice(Behaviour):
    """The end is told twice."""

    def start(self, start, request, sink):
        class Twice(Between):
            def end(self, error):
                super().end(error)
                super().end(error)

        return Twice(start, request, sink)


@mutant(kills=("S3",), in_process=True)
class EndsWellWhatFailed(Behaviour):
    """A failure is told as an end without an error."""

    def start(self, start, request, sink):
        class Silent(Between):
            def end(self, error):
                super().end(None)

        return Silent(start, request, sink)


@mutant(kills=("C2",), in_process=True)
class EndsAfterCancel(Behaviour):
    """A cancelled run tells its end."""

    def start(self, start, request, sink):
        class Talkative(Between):
            def cancel(self):
                super().cancel()
                self.sink.end(None)

        return Talkative(start, request, sink)


@mutant(kills=("C2",), may_kill=("C1",), in_process=True)
class PushesAfterCancel(Behaviour):
    """Events of a cancelled run come all the same, for a moment."""

    def start(self, start, request, sink):
        class Late(Between):
            def cancel(self):
                loop = asyncio.get_running_loop()
                loop.call_later(0.02, self.sink.events, (TextDelta(0, "late", 99),))
                super().cancel()

        return Late(start, request, sink)


@mutant(kills=("C3",), in_process=True)
class IgnoresPause(Behaviour):
    """A run that is paused goes on."""

    def start(self, start, request, sink):
        class Deaf(Between):
            def pause(self):
                pass

        return Deaf(start, request, sink)


@mutant(kills=("C3",), in_process=True, time_scale=0.1)
class IgnoresResume(Behaviour):
    """A run that was paused never goes on."""

    def start(self, start, request, sink):
        class Stuck(Between):
            def resume(self):
                pass

        return Stuck(start, request, sink)


@mutant(kills=("C1",), in_process=True)
class IgnoresCancel(Behaviour):
    """A cancelled run is silent, and keeps its slot."""

    def start(self, start, request, sink):
        class Kept(Between):
            is_cancelled = False

            def events(self, batch):
                if not self.is_cancelled:
                    super().events(batch)

            def end(self, error):
                if not self.is_cancelled:
                    super().end(error)

            def cancel(self):
                self.is_cancelled = True

        return Kept(start, request, sink)


@mutant(kills=("C1",), in_process=True)
class NeverReleased(Behaviour):
    """`wait_released` goes on for ever."""

    def start(self, start, request, sink):
        class Held(Between):
            async def wait_released(self):
                await asyncio.Event().wait()

        return Held(start, request, sink)
