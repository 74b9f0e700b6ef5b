"""What passes between the event loop, where requests live, and the thread that owns the model."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Literal

import llguidance
import msgspec

from enginehouse_plugin import GenerationRequest
from enginehouse_plugin.errors import EngineFailure, EnginehouseError, EngineOverloaded

from .logprobs import RawLogprobs


class Begun(msgspec.Struct, frozen=True, gc=False):
    """The engine has taken the job; *cached_tokens* of its prompt need not be computed."""

    cached_tokens: int


class Sampled(msgspec.Struct, frozen=True, gc=False):
    """A token of a choice; with *end* its last one."""

    choice: int
    token_id: int
    raw: RawLogprobs | None
    end: Literal["stop", "length"] | None


class Job:
    """One request on its way through the engine. The event loop reads `next`, the owner of the model fills it.

    Where a request has more choices than run at once, each turn is a job: *first* of them have had theirs.
    """

    def __init__(
        self,
        request: GenerationRequest,
        prompt_ids: Sequence[int],
        max_tokens: int,
        matchers: Sequence[llguidance.LLMatcher | None],
        first: int = 0,
    ) -> None:
        self.request = request
        self.prompt_ids = list(prompt_ids)
        self.max_tokens = max_tokens
        self.matchers = matchers
        self.first = first
        self._news: deque[Begun | Sampled | EnginehouseError] = deque()
        self._waiter: asyncio.Future[None] | None = None

    def put(self, news: Begun | Sampled | EnginehouseError) -> None:
        """Tell *news*; on the event loop."""
        self._news.append(news)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def next(self) -> Begun | Sampled:
        """Wait for news.

        Raises:
            EnginehouseError: the job has failed.
        """
        while not self._news:
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        news = self._news.popleft()
        if isinstance(news, EnginehouseError):
            raise news
        return news


def failure_of(error: Exception) -> EnginehouseError:
    """What a job is told of *error*."""
    text = f"{type(error).__name__}: {error}"
    if isinstance(error, MemoryError) or "allocate" in text or "out of memory" in text.lower():
        return EngineOverloaded(f"MLX ran out of memory: {error}", code="out_of_memory")
    return EngineFailure(f"MLX failed: {text}")
