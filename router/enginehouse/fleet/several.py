"""Several prompts of one request, which one instance answers side by side."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from msgspec.structs import replace

from enginehouse_plugin import AnyEvent, GenerationRequest, Instance, Run, Sink, Started, UsageReport
from enginehouse_plugin.request import Prompt


class SeveralRun(Run):
    """Has *request* generated for each of *prompts*, at most *at_once* of them at a time, as one into *sink*."""

    __slots__ = (
        "_asked", "_ending", "_instance", "_is_over", "_is_paused", "_next", "_prompt", "_report", "_runs", "_sink",
    )  # fmt: skip

    def __init__(
        self, instance: Instance, request: GenerationRequest, prompts: Sequence[Prompt], sink: Sink, at_once: int
    ) -> None:
        self._instance = instance
        asked = [replace(request, id=f"{request.id}-{at}", prompt=each) for at, each in enumerate(prompts)]
        self._asked = asked
        self._sink = sink
        self._next = 0
        self._runs: dict[int, Run] = {}
        self._is_over = self._is_paused = False
        self._prompt = Started(0)
        self._report = UsageReport(0, 0)
        self._ending: asyncio.Task[None] | None = None
        self._begin()  # what it raises ends all: nothing else has begun
        try:
            while self._next < min(at_once, len(asked)):
                self._begin()
        except Exception as refusal:  # noqa: BLE001  # told to the sink, as what another one has begun needs its end
            self._fail(refusal)

    def pause(self) -> None:
        """See `Run.pause`."""
        self._is_paused = True
        for run in self._runs.values():
            run.pause()

    def resume(self) -> None:
        """See `Run.resume`."""
        self._is_paused = False
        for run in tuple(self._runs.values()):
            run.resume()

    def cancel(self) -> None:
        """See `Run.cancel`."""
        self._is_over = True
        if self._ending is not None:
            self._ending.cancel()
        for run in self._runs.values():
            run.cancel()

    async def wait_released(self) -> None:
        """See `Run.wait_released`."""
        await asyncio.gather(*(run.wait_released() for run in self._runs.values()))

    def _begin(self) -> None:
        at, self._next = self._next, self._next + 1
        run = self._instance.start(self._asked[at], _Part(self, at))
        self._runs[at] = run
        if self._is_paused:
            run.pause()

    def events(self, at: int, batch: Sequence[AnyEvent]) -> None:
        """Hand on what has come for the prompt at *at*."""
        if self._is_over:
            return
        first = at * self._asked[at].n
        told: list[AnyEvent] = []
        for event in batch:
            if type(event) is Started:
                # Each time as a batch of its own: whoever takes them in hears of one start, but of all the counts.
                self._prompt = _both(self._prompt, event)
                self._sink.events((self._prompt,))
            elif type(event) is UsageReport:
                self._report = UsageReport(
                    prompt_tokens=self._report.prompt_tokens + event.prompt_tokens,
                    completion_tokens=self._report.completion_tokens + event.completion_tokens,
                    cached_tokens=self._report.cached_tokens + event.cached_tokens,
                    reasoning_tokens=self._report.reasoning_tokens + event.reasoning_tokens,
                )
            else:
                told.append(event if not first else replace(event, choice=event.choice + first))
        if told and not self._is_over:
            self._sink.events(told)

    def end(self, at: int, error: Exception | None) -> None:
        """Go on behind the end of the prompt at *at*: with the next, or the end of all."""
        if self._is_over:
            return
        self._runs.pop(at, None)
        if error is None and self._next < len(self._asked):
            try:
                self._begin()
            except Exception as refusal:  # noqa: BLE001  # nobody else hears of what a plugin breaks here
                error = refusal
        if error is not None:
            self._fail(error)
        elif not self._runs:
            self._is_over = True
            self._sink.events((self._report,))
            self._sink.end(None)

    def _fail(self, error: Exception) -> None:
        """End all with *error*, once the others have left their slots."""
        self.cancel()
        self._ending = asyncio.get_running_loop().create_task(self._end_with(error))

    async def _end_with(self, error: Exception) -> None:
        await self.wait_released()
        self._sink.end(error)


class _Part:
    """Where the events of the prompt at *at* go."""

    __slots__ = ("_at", "_several")

    def __init__(self, several: SeveralRun, at: int) -> None:
        self._several = several
        self._at = at

    def events(self, batch: Sequence[AnyEvent]) -> None:
        """See `Sink.events`."""
        self._several.events(self._at, batch)

    def end(self, error: Exception | None) -> None:
        """See `Sink.end`."""
        self._several.end(self._at, error)


def _both(told: Started, more: Started) -> Started:
    prompt = None
    if told.prompt_tokens is not None and more.prompt_tokens is not None:
        prompt = told.prompt_tokens + more.prompt_tokens
    ignored = tuple(dict.fromkeys((*told.ignored, *more.ignored)))
    return Started(prompt, told.cached_tokens + more.cached_tokens, ignored)
