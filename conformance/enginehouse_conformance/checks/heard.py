"""A sink that notes what an instance's `start` tells it, and when it must not."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from enginehouse_conformance.context import Context
from enginehouse_plugin import AnyEvent, GenerationRequest, Run


class Heard:
    """Hears one run. Set `is_cancelled` before the run is cancelled; nothing may come after that."""

    def __init__(self, ctx: Context) -> None:
        self.events_heard: list[AnyEvent] = []
        self.batches = 0
        self.error: Exception | None = None
        self.over = asyncio.Event()
        self.is_cancelled = False
        self._ctx = ctx
        self._is_started = False
        self._wrong: list[str] = []
        self._more = asyncio.Event()

    def start(self, request: GenerationRequest) -> Run:
        """Start *request* on the instance of the target."""
        run = self._ctx.backend.instance.start(request, self)
        self._is_started = True
        return run

    def events(self, batch: Sequence[AnyEvent]) -> None:
        """See `Sink.events`."""
        self._note("events")
        if not batch:
            self._wrong.append("an empty batch")
        self.events_heard.extend(batch)
        self.batches += 1
        self._more.set()

    def end(self, error: Exception | None) -> None:
        """See `Sink.end`."""
        self._note("the end")
        self.error = error
        self.over.set()
        self._more.set()

    def _note(self, what: str) -> None:
        if not self._is_started:
            self._wrong.append(f"{what} before `start` had returned")
        elif self.over.is_set():
            self._wrong.append(f"{what} after the end")
        elif self.is_cancelled:
            self._wrong.append(f"{what} after `cancel`")

    async def wait_for(self, batches: int) -> None:
        """Wait until *batches* have come, or the end."""
        while self.batches < batches and not self.over.is_set():
            self._more.clear()
            await self._more.wait()

    def require_right(self) -> None:
        """Fail if the sink heard what it must not."""
        self._ctx.require(not self._wrong, "a sink that is called as the contract says", ", ".join(self._wrong))
