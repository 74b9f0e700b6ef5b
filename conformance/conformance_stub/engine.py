"""The stub as a backend of the plugin contract: a toy model, and every parameter honoured for real."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import deque
from collections.abc import AsyncGenerator, Sequence

import msgspec

from enginehouse_conformance.rules import RULES
from enginehouse_plugin import (
    AnyEvent,
    Backend,
    BackendType,
    Capabilities,
    Chat,
    Device,
    ExitReport,
    GenerationRequest,
    Instance,
    OnProgress,
    Placement,
    ProbeReport,
    Run,
    Sink,
    Started,
    UsageReport,
)
from enginehouse_plugin.errors import ContextTooLong, EngineError, EngineUnavailable, InvalidRequest

from . import vocabulary
from .choice import Choice
from .engine_parts import EngineParts
from .schema import SchemaRefused

STUB_FEATURES = frozenset(feature for rule in RULES.values() for feature in rule.features)
"""The stub honours every feature that a rule is about."""
CONTEXT_TOKENS = 2048
GROWTH_S = 20e-6
"""Seconds that a token takes for each token before it."""
_KEPT_PROMPTS = 8
_TIMER_S = 1e-3  # a timer is no finer than this


class ArmedFault(EngineError):
    """A failure that the hook `fault` asked for; `status` is what an upstream would have answered."""

    def __init__(self, status: int, retry_after_s: int) -> None:
        super().__init__(f"armed fault {status}", code=f"fault_{status}", retry_after_s=retry_after_s)
        self.status = status


class Armed(msgspec.Struct, frozen=True):
    """A fault waiting for a request whose messages hold `match`."""

    match: str
    status: int
    after_chunks: int | None = None
    retry_after_s: int = 3


class StubInstance(Instance):
    """A loaded toy model; *seed* makes its unseeded sampling repeatable.

    A token of a stream costs time in proportion to its position, as attention does: short ones come at once, long
    ones last. What is not streamed comes at once: nobody watches, and tests are quick.
    """

    def __init__(
        self,
        parts: EngineParts | None = None,
        *,
        features: frozenset[str] = STUB_FEATURES,
        slots: int = 4,
        growth_s: float = GROWTH_S,
        seed: int = 0,
    ) -> None:
        self.parts = parts or EngineParts()
        self.capabilities = Capabilities(
            context_tokens=CONTEXT_TOKENS,
            max_concurrent_requests=slots,
            features=features,
            limits={"n": 8, "stop": 4, "top_logprobs": 20},
            vocabulary_size=vocabulary.SIZE,
        )
        self.armed: list[Armed] = []
        self._entropy = random.Random(f"stub/{seed}")  # noqa: S311  # sampling
        self._prompts: deque[list[int]] = deque(maxlen=_KEPT_PROMPTS)
        self._slots = asyncio.Semaphore(slots)
        self._active = 0
        self._growth_s = growth_s
        self._closed = asyncio.Event()

    # ---- generating ----

    def generate(self, request: GenerationRequest) -> AsyncGenerator[AnyEvent, None]:
        """Generate."""
        return self.parts.events(self._generate(request), request)

    def start(self, request: GenerationRequest, sink: Sink) -> Run:
        """Push the events of `generate`."""
        return self.parts.start(super().start, request, sink)

    async def _generate(self, request: GenerationRequest) -> AsyncGenerator[AnyEvent, None]:
        if self._closed.is_set():
            raise EngineUnavailable("the stub is unloaded")
        self.refuse_unsupported(request)
        self._check(request)
        fault = self._armed_for(request)
        request = self.parts.accept(request)
        prompt = self.parts.fit_prompt(self.parts.prompt_tokens(request), self.capabilities.context_tokens)
        self._check_context(len(prompt), request)
        async with self._slots:
            self._active += 1
            try:
                if fault is not None and fault.after_chunks is None:
                    raise ArmedFault(fault.status, fault.retry_after_s)
                yield Started(prompt_tokens=len(prompt))
                has_cache = "prefix_cache" in self.capabilities.features
                cached = self.parts.cached_tokens(prompt, self._prompts if has_cache else ())
                self._prompts.append(prompt)
                counts = Counts()
                deltas = 0
                async for event in self._choices(request, prompt, counts):
                    yield event
                    deltas += 1
                    if fault is not None and deltas == fault.after_chunks:
                        raise ArmedFault(fault.status, fault.retry_after_s)
                yield UsageReport(
                    prompt_tokens=len(prompt),
                    completion_tokens=counts.completion,
                    cached_tokens=cached,
                    reasoning_tokens=counts.reasoning,
                )
            finally:
                self._active -= 1

    def _check(self, request: GenerationRequest) -> None:
        outside = [token for token in request.logit_bias if not 0 <= token < vocabulary.SIZE]
        if outside:
            raise InvalidRequest(
                f"logit_bias: token {outside[0]} is outside the vocabulary (0 to {vocabulary.SIZE - 1})",
                param="logit_bias",
            )
        try:
            self.parts.output_grammar(request)
        except SchemaRefused as exc:
            raise InvalidRequest(f"response_format: {exc}", param="response_format") from exc
        try:
            for tool in request.tools:
                self.parts.arguments_grammar(tool)
        except SchemaRefused as exc:
            raise InvalidRequest(f"tools: {exc}", param="tools") from exc

    def _check_context(self, prompt_tokens: int, request: GenerationRequest) -> None:
        limit = self.capabilities.context_tokens
        if prompt_tokens >= limit:
            raise ContextTooLong(prompt_tokens=prompt_tokens, limit_tokens=limit)
        if request.max_tokens_must_fit and prompt_tokens + (request.max_tokens or 1) > limit:
            raise ContextTooLong(prompt_tokens=prompt_tokens, limit_tokens=limit, max_tokens=request.max_tokens)

    def _armed_for(self, request: GenerationRequest) -> Armed | None:
        text = "" if not isinstance(request.prompt, Chat) else repr(request.prompt.messages)
        fault = next((fault for fault in self.armed if fault.match in text), None)
        if fault is not None:
            self.armed.remove(fault)
        return fault

    async def _choices(
        self, request: GenerationRequest, prompt: list[int], counts: Counts
    ) -> AsyncGenerator[AnyEvent, None]:
        # All choices step together, as they do in a batch.
        choices = [Choice(self.parts, request, prompt, index, self._entropy) for index in range(request.n)]
        limit = self.capabilities.context_tokens - len(prompt)
        budget = limit if request.max_tokens is None else min(limit, request.max_tokens)
        running = {choice.index: choice.run(budget) for choice in choices}
        for position in itertools.count():
            if not running:
                break
            step_s = position * self._growth_s if request.stream else 0.0
            await asyncio.sleep(step_s if step_s > _TIMER_S else 0)
            for index, steps in list(running.items()):
                events = next(steps, None)
                if events is None:
                    del running[index]
                    continue
                for event in events:
                    yield event
        counts.completion = sum(choice.completion_tokens for choice in choices)
        counts.reasoning = sum(choice.reasoning_tokens for choice in choices)

    # ---- the rest of the contract ----

    async def count_tokens(self, request: GenerationRequest) -> int:
        """Tokens of the prompt."""
        return len(self.parts.prompt_tokens(request))

    async def check_ready(self) -> None:
        """It is, until it is unloaded."""
        if self._closed.is_set():
            raise EngineUnavailable("the stub is unloaded")

    async def unload(self) -> None:
        """End."""
        self._closed.set()

    async def wait_closed(self) -> ExitReport:
        """Wait for `unload`."""
        await self._closed.wait()
        return ExitReport(is_expected=True, reason="unloaded")

    async def tokenize(self, text: str) -> Sequence[int]:
        """Token ids."""
        return vocabulary.encode(text)

    async def active_requests(self) -> int:
        """Requests in a slot."""
        return self._active


class Counts:
    """Completion tokens of a request, and those of them that were reasoning."""

    completion = 0
    reasoning = 0


class StubOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The stub takes no options."""


class StubBackend(Backend):
    """Makes instances of the stub."""

    def __init__(
        self, parts: EngineParts | None = None, features: frozenset[str] = STUB_FEATURES, seed: int = 0
    ) -> None:
        self._parts = parts
        self._features = features
        self._seed = seed

    async def probe(self, python: str | None = None) -> ProbeReport:
        """Always here."""
        del python
        return ProbeReport(available=True, engine="stub", engine_version="1")

    async def load(self, placement: Placement, devices: tuple[Device, ...], progress: OnProgress) -> Instance:
        """Load nothing."""
        del placement, devices, progress
        return StubInstance(self._parts, features=self._features, seed=self._seed)


def stub_backend(
    parts: EngineParts | None = None, *, features: frozenset[str] = STUB_FEATURES, seed: int = 0
) -> BackendType:
    """The stub as a backend type, with *parts* in place of the right ones."""
    return BackendType(
        name="stub",
        version="1",
        create=lambda: StubBackend(parts, features, seed),
        options=StubOptions,
        needs_weights=False,
    )
