"""The router's side of a worker: a `Backend` whose engine runs in a process and interpreter of its own.

A crash or a stuck call there costs that worker's streams only. Each load and probe has its own process,
because only the end of a process gives all memory back.
"""

from __future__ import annotations

import asyncio
import functools
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import msgspec

from enginehouse_kit.process.logs import LogLine
from enginehouse_plugin.backend import (
    Backend,
    Device,
    EngineLoad,
    ExitReport,
    Fit,
    Instance,
    LoadProgress,
    OnProgress,
    Placement,
    ProbeReport,
)
from enginehouse_plugin.embedding import EmbeddingRequest, Embeddings, RerankRequest, Scores
from enginehouse_plugin.errors import EngineDied, EngineError, LoadFailed
from enginehouse_plugin.events import AnyEvent
from enginehouse_plugin.features import Capabilities
from enginehouse_plugin.request import GenerationRequest
from enginehouse_plugin.run import Run, Sink, pulled
from enginehouse_plugin.tokenizer import Tokenized, TokenizeRequest

from .frames import Loaded, SentPlacement, encode
from .link import WorkerLink

_UNLOAD_TIMEOUT_S = 3.0


class WorkerBackend(Backend):
    """Runs the backend that *target* (`module:Class`, or a `BackendType`) names in worker processes.

    *python* is the interpreter, unless a placement names another; *env* is added to the environment.
    *probe* answers `probe` here, where asking a worker would take an engine to import.
    """

    def __init__(
        self,
        target: str,
        *,
        python: str | None = None,
        env: Mapping[str, str] | None = None,
        probe: Callable[[], Awaitable[ProbeReport]] | None = None,
        on_log: Callable[[LogLine], None] | None = None,
    ) -> None:
        self._target = target
        self._python = python
        self._env = dict(env or {})
        self._probe = probe
        self._on_log = on_log

    async def probe(self, python: str | None = None) -> ProbeReport:
        """Ask a worker, or the function given for it, which knows of no other interpreter."""
        if self._probe is not None and python is None:
            return await self._probe()
        link = await self._start(None, python)
        try:
            report: ProbeReport = await link.call("probe")
            return report
        finally:
            await link.stop()

    async def fit(self, placement: Placement, devices: tuple[Device, ...]) -> Fit:
        """Ask a worker."""
        link = await self._start(placement)
        try:
            fit: Fit = await link.call("fit", _sent(placement), devices)
            return fit
        finally:
            await link.stop()

    async def recommended(self, placement: Placement) -> Mapping[str, Any]:  # Any: see `Backend`
        """Ask a worker."""
        link = await self._start(placement)
        try:
            values: dict[str, Any] = await link.call("recommended", _sent(placement))
            return values
        finally:
            await link.stop()

    async def load(self, placement: Placement, devices: tuple[Device, ...], progress: OnProgress) -> Instance:
        """Start a worker and load in it.

        Raises:
            LoadError: what the backend in it raised, or that the worker died or does not fit this router.
        """
        progress(LoadProgress(stage="starting the worker"))
        link = await self._start(placement)
        try:
            loaded = await _loaded(link, placement, devices, progress)
        except EngineDied as error:
            await link.stop()
            raise LoadFailed(error.message, last_words=error.last_words) from error
        except BaseException:
            await link.stop()
            raise
        return _instance_type(loaded.abilities)(link, loaded.capabilities)

    async def _start(self, placement: Placement | None, python: str | None = None) -> WorkerLink:
        python = python or (placement.python if placement else None) or self._python or sys.executable
        name = f"worker of {placement.model}" if placement else f"worker of {self._target}"
        return await WorkerLink.start(name, self._target, python, env=self._env, on_log=self._on_log)


class WorkerInstance(Instance):
    """An instance in a worker."""

    def __init__(self, link: WorkerLink, capabilities: Capabilities) -> None:
        self.capabilities = capabilities
        self._link = link

    def generate(self, request: GenerationRequest) -> AsyncGenerator[AnyEvent, None]:
        """See `Instance`."""
        return pulled(self.start, request)

    def start(self, request: GenerationRequest, sink: Sink) -> Run:
        """See `Instance`."""
        return self._link.generate(request, sink)

    async def count_tokens(self, request: GenerationRequest) -> int:
        """See `Instance`."""
        count: int = await self._link.call("count_tokens", request)
        return count

    async def check(self, request: GenerationRequest) -> None:
        """See `Instance`."""
        await self._link.call("check", request)

    async def check_ready(self) -> None:
        """See `Instance`."""
        await self._link.call("check_ready")

    async def drain(self, timeout_s: float) -> None:
        """See `Instance`."""
        await self._link.call("drain", timeout_s)

    async def unload(self) -> None:
        """See `Instance`; the worker's process ends."""
        with suppress(EngineError, TimeoutError):
            async with asyncio.timeout(_UNLOAD_TIMEOUT_S):
                await self._link.call("unload")
        await self._link.stop()

    async def wait_closed(self) -> ExitReport:
        """See `Instance`."""
        return await self._link.wait_closed()

    @property
    def process_ids(self) -> tuple[int, ...]:
        """See `Resident`."""
        return (self._link.child.pid,)


class _Measured(WorkerInstance):
    async def measure(self) -> EngineLoad:
        load: EngineLoad = await self._link.call("measure")
        return load


class _Sleepable(WorkerInstance):
    async def sleep(self) -> None:
        await self._link.call("sleep")

    async def wake(self) -> None:
        await self._link.call("wake")


class _Inspectable(WorkerInstance):
    async def tokenize(self, text: str) -> Sequence[int]:
        tokens: tuple[int, ...] = await self._link.call("tokenize", text)
        return tokens

    async def active_requests(self) -> int:
        count: int = await self._link.call("active_requests")
        return count


class _Embeds(WorkerInstance):
    async def embed(self, request: EmbeddingRequest) -> Embeddings:
        made: Embeddings = await self._link.call("embed", request)
        return made


class _Reranks(WorkerInstance):
    async def rerank(self, request: RerankRequest) -> Scores:
        made: Scores = await self._link.call("rerank", request)
        return made


class _Tokenizer(WorkerInstance):
    async def tokenize_prompt(self, wanted: TokenizeRequest) -> Tokenized:
        shown: Tokenized = await self._link.call("tokenize_prompt", wanted)
        return shown

    async def detokenize(self, token_ids: Sequence[int]) -> str:
        text: str = await self._link.call("detokenize", tuple(token_ids))
        return text


_ABLE: dict[str, type[WorkerInstance]] = {
    "Embeds": _Embeds,
    "Reranks": _Reranks,
    "Measured": _Measured,
    "Sleepable": _Sleepable,
    "Inspectable": _Inspectable,
    "Tokenizer": _Tokenizer,
}


async def _loaded(link: WorkerLink, placement: Placement, devices: tuple[Device, ...], progress: OnProgress) -> Loaded:
    """Load in the worker; one that does nothing has failed."""
    loading = asyncio.ensure_future(link.call("load", _sent(placement), devices, on_progress=progress))
    inert = asyncio.ensure_future(link.child.wait_inert())
    try:
        await asyncio.wait((loading, inert), return_when=asyncio.FIRST_COMPLETED)
        if not loading.done():
            raise link.child.inert()
        loaded: Loaded = loading.result()
        return loaded
    finally:
        loading.cancel()
        inert.cancel()


@functools.cache
def _instance_type(abilities: frozenset[str]) -> type[WorkerInstance]:
    """Return a class with the optional methods of *abilities* and no others, as `isinstance` asks for methods."""
    bases = tuple(kind for name, kind in _ABLE.items() if name in abilities)
    return type("WorkerInstance", bases, {}) if bases else WorkerInstance


def _sent(placement: Placement) -> SentPlacement:
    options = placement.options
    kind = type(options)
    name = f"{kind.__module__}:{kind.__qualname__}" if isinstance(options, msgspec.Struct) else None
    return SentPlacement(msgspec.structs.replace(placement, options=None), name, msgspec.Raw(encode(options)))
