"""One loaded model, in the worker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, contextmanager
from typing import TypeVar

import llguidance
import msgspec

from enginehouse_kit.text.bounds import check_bias, room_for
from enginehouse_kit.text.features import features_of
from enginehouse_kit.text.tokens import check_tokens, text_of, tokenized
from enginehouse_plugin import (
    AnyEvent,
    Capabilities,
    EngineLoad,
    ExitReport,
    Finished,
    GenerationRequest,
    Instance,
    Started,
    Tokenized,
    TokenizeRequest,
    UsageReport,
)
from enginehouse_plugin.errors import EngineDied, EngineUnavailable, InvalidRequest

from .grammar import grammar_of, left_out, matcher_of
from .jobs import Begun, Job, Sampled
from .loading import LoadedModel
from .owner import Owner
from .prompts import Prompt, Prompter
from .reading import TokenReader
from .settings import Settings

_Result = TypeVar("_Result")
_MAX_N = 128
"""The most choices of a request, as on the other engines."""


class Prepared(msgspec.Struct, frozen=True):
    """What is known of a request before it reaches the model."""

    prompt: Prompt
    max_tokens: int
    matchers: list[llguidance.LLMatcher | None]
    ignored: tuple[str, ...]
    """Places in tools that no grammar enforces."""


class MlxInstance(Instance):
    """A model that the thread *owner* has loaded as *model*, which is without its weights here."""

    _is_asleep = False

    def __init__(self, owner: Owner, model: LoadedModel, settings: Settings) -> None:
        self._owner = owner
        self._model = model
        self._prompter = Prompter(model.tokenizer, model.template, model.vocabulary, settings.context_tokens)
        # Templates, the tokenizer and grammars take their time, and the tokenizer serves one thread only.
        self._preparing = ThreadPoolExecutor(max_workers=1, thread_name_prefix="prepare")
        self._running = 0
        self._is_idle = asyncio.Event()
        self._is_idle.set()
        self._is_unloading = False
        self.capabilities = _capabilities(model, settings)

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[AnyEvent, None]:
        """See `Instance.generate`."""
        self.refuse_unsupported(request)
        self._check_alive()
        with self._counted():
            prepared = await self._apart(lambda: self._prepared(request))
            async with aclosing(self._events(request, prepared)) as events:
                async for event in events:
                    yield event

    async def _events(self, request: GenerationRequest, prepared: Prepared) -> AsyncGenerator[AnyEvent, None]:
        prompt = prepared.prompt
        readers = [
            TokenReader(request, choice, self._model.vocabulary, self._model.template, prompt.thinking)
            for choice in range(request.n)
        ]
        cached_tokens = 0
        slots = self.capabilities.max_concurrent_requests
        for first in range(0, request.n, slots):  # in turns
            turn = readers[first : first + slots]
            part = request if len(turn) == request.n else msgspec.structs.replace(request, n=len(turn))
            job = Job(part, prompt.token_ids, prepared.max_tokens, prepared.matchers[first : first + slots], first)
            self._owner.submit(job)
            try:
                while not all(reader.is_finished for reader in turn):
                    news = await job.next()
                    if not isinstance(news, Begun):
                        for event in self._read(job, turn[news.choice], news):
                            yield event
                    elif not first:
                        cached_tokens = news.cached_tokens
                        yield Started(len(prompt.token_ids), cached_tokens, prepared.ignored)
            finally:
                self._owner.cancel(job)  # nothing happens if all its choices have ended
        yield UsageReport(
            prompt_tokens=len(prompt.token_ids),
            completion_tokens=sum(reader.completion_tokens for reader in readers),
            cached_tokens=cached_tokens,
            reasoning_tokens=sum(reader.reasoning_tokens for reader in readers),
        )

    def _read(self, job: Job, reader: TokenReader, news: Sampled) -> list[AnyEvent]:
        events = list(reader.read(news))
        if events and isinstance(events[-1], Finished) and news.end is None:
            self._owner.end_choice(job, news.choice)
        return events

    async def check(self, request: GenerationRequest) -> None:
        """See `Instance.check`."""
        self.refuse_unsupported(request)
        await self._apart(lambda: self._prepared(request))

    async def count_tokens(self, request: GenerationRequest) -> int:
        """See `Instance.count_tokens`."""
        prompt = await self._apart(lambda: self._prompter.prompt(request))
        return len(prompt.token_ids)

    async def check_ready(self) -> None:
        """See `Instance.check_ready`; asks both threads that requests pass, between two of their steps."""
        self._check_alive()
        await self._apart(lambda: None)
        await self._owner.figures()

    async def drain(self, timeout_s: float) -> None:
        """See `Instance.drain`."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._is_idle.wait()
        except TimeoutError:
            return

    async def unload(self) -> None:
        """See `Instance.unload`. The memory comes back when the worker's process ends."""
        self._is_unloading = True
        await self._owner.stop()
        self._preparing.shutdown(wait=False, cancel_futures=True)

    async def sleep(self) -> None:
        """See `Sleepable.sleep`: the weights are given back, the process and all that it has imported stay."""
        self._check_alive()
        self._is_asleep = True
        await self._owner.sleep()

    async def wake(self) -> None:
        """See `Sleepable.wake`."""
        await self._owner.wake()
        self._is_asleep = False

    async def wait_closed(self) -> ExitReport:
        """See `Instance.wait_closed`."""
        reason = await asyncio.shield(self._owner.ended)
        return ExitReport(is_expected=self._is_unloading, reason=reason)

    async def measure(self) -> EngineLoad:
        """See `Measured.measure`."""
        self._check_alive()
        figures = await self._owner.figures()
        return EngineLoad(running=figures.running, waiting=figures.waiting, cache_used=figures.cache_used)

    async def tokenize(self, text: str) -> Sequence[int]:
        """See `Inspectable.tokenize`."""
        return await self._apart(lambda: self._prompter.tokenize(text))

    async def tokenize_prompt(self, wanted: TokenizeRequest) -> Tokenized:
        """See `Tokenizer.tokenize_prompt`."""
        prompt = await self._apart(lambda: self._prompter.prompt(wanted.request, special=wanted.special))
        pieces = map(self._model.vocabulary.piece, prompt.token_ids) if wanted.texts else None
        return tokenized(prompt.token_ids, pieces)

    async def detokenize(self, token_ids: Sequence[int]) -> str:
        """See `Tokenizer.detokenize`."""
        check_tokens(token_ids, self._model.vocabulary.size)
        return await self._apart(lambda: text_of(map(self._model.vocabulary.piece, token_ids)))

    async def active_requests(self) -> int:
        """See `Inspectable.active_requests`."""
        self._check_alive()
        figures = await self._owner.figures()
        return figures.running + figures.waiting

    # ---- inside ----

    @contextmanager
    def _counted(self) -> Iterator[None]:
        """Count the block as a request that runs."""
        self._running += 1
        self._is_idle.clear()
        try:
            yield
        finally:
            self._running -= 1
            if not self._running:
                self._is_idle.set()

    def _check_alive(self) -> None:
        if self._is_unloading:
            raise EngineUnavailable("The model is being unloaded.")
        if self._is_asleep:
            raise EngineUnavailable("The model sleeps.")
        if self._owner.ended.done():
            raise EngineDied(f"The engine has ended: {self._owner.ended.result()}.")

    async def _apart(self, function: Callable[[], _Result]) -> _Result:
        return await asyncio.get_running_loop().run_in_executor(self._preparing, function)

    def _prepared(self, request: GenerationRequest) -> Prepared:
        """Check *request* and compute what can be known without the model.

        Raises:
            InvalidRequest, ContextTooLong: it cannot be served.
        """
        vocabulary, template = self._model.vocabulary, self._model.template
        check_bias(request, vocabulary.size)
        if request.repetition_penalty <= 0.0:
            raise InvalidRequest("'repetition_penalty' must be above 0.", param="repetition_penalty")
        prompt = self._prompter.prompt(request)
        max_tokens = room_for(request, len(prompt.token_ids), self.capabilities.context_tokens)
        grammar = grammar_of(request, vocabulary, template, prompt.thinking)
        matchers: list[llguidance.LLMatcher | None] = [None] * request.n
        if grammar is not None:
            matcher = matcher_of(grammar, vocabulary, request)
            matchers = [matcher, *(matcher.deep_copy() for _ in range(request.n - 1))]
        return Prepared(prompt, max_tokens, matchers, () if grammar is None else left_out(request))


def _capabilities(model: LoadedModel, settings: Settings) -> Capabilities:
    template = model.template
    prefix_cache = bool(settings.prefix_cache_bytes)
    return Capabilities(
        context_tokens=settings.context_tokens,
        max_concurrent_requests=settings.slots,
        features=features_of(
            template.facts,
            has_effort=template.has_effort,
            prefix_cache=prefix_cache,
            fills_in=model.vocabulary.filling is not None,
        ),
        limits={"n": _MAX_N, "top_logprobs": 20},
        vocabulary_size=model.vocabulary.size,
    )
