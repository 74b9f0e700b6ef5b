"""A target that is a backend under the plugin contract: loaded here, asked without HTTP."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Sequence
from itertools import count

import msgspec

from enginehouse_conformance.answer import Answer, Delta, Refusal, assemble
from enginehouse_conformance.declared import Declared
from enginehouse_conformance.wire.faults import Unreachable
from enginehouse_conformance.wire.transcript import Exchange
from enginehouse_plugin import (
    AnyEvent,
    BackendType,
    Device,
    GenerationRequest,
    Inspectable,
    Instance,
    LoadProgress,
    Placement,
    pulled,
)
from enginehouse_plugin.errors import EngineError, EnginehouseError, LoadError, RequestError

from .base import (
    Body,
    LiveStream,
    Recording,
    Refused,
    ServerFailure,
    Target,
    TargetFacts,
    TargetHooks,
    failure_of,
    now_s,
)
from .translate import to_delta, to_request


class BackendTarget(Target):
    """The instance that *backend* loads for *placement* on *devices*.

    *declared* adds what capabilities cannot tell (end-of-sequence ids, efforts of reasoning); features, limits
    and context are the instance's own.
    """

    scopes = frozenset({"generation", "contract"})

    def __init__(
        self,
        backend: BackendType,
        placement: Placement,
        *,
        devices: tuple[Device, ...] = (),
        declared: Declared | None = None,
        hardware: str | None = None,
    ) -> None:
        self.backend = backend
        self.placement = placement
        self.model = placement.model
        self.declared = declared or Declared()
        self._devices = devices
        self._hardware = hardware
        self._instance: Instance | None = None
        self._numbers = count(1)

    @property
    def hooks(self) -> TargetHooks:
        """What the loaded instance offers."""
        return InstanceHooks(self.instance, self.declared)

    @property
    def instance(self) -> Instance:
        """The loaded instance; raises Unreachable before `open` and after `close`."""
        if self._instance is None:
            raise Unreachable(f"the backend '{self.backend.name}' is not loaded")
        return self._instance

    async def open(self) -> None:
        """Load the model."""
        try:
            self._instance = await self.backend.create().load(self.placement, self._devices, _ignore_progress)
        except LoadError as exc:
            raise Unreachable(f"the backend '{self.backend.name}' did not load: {exc}") from exc
        capabilities = self._instance.capabilities
        self.declared = msgspec.structs.replace(
            self.declared,
            features=capabilities.features,
            absent=frozenset(),
            limits=dict(capabilities.limits),
            context_tokens=capabilities.context_tokens,
            vocabulary_size=capabilities.vocabulary_size or self.declared.vocabulary_size,
        )

    async def close(self) -> None:
        """Unload the model."""
        if self._instance is not None:
            await self._instance.unload()
            self._instance = None

    def request(self, body: Body, *, stream: bool) -> GenerationRequest:
        """*body* as a request of the contract."""
        return to_request(body, request_id=f"conformance-{next(self._numbers)}", stream=stream)

    async def preflight(self, recording: Recording) -> str | None:  # noqa: ARG002  # a readiness check has no transcript
        """Ask whether it is ready."""
        try:
            await self.instance.check_ready()
        except EngineError as exc:
            raise Unreachable(str(exc)) from exc
        except Exception as exc:  # a backend that is asked how it is ends no run
            raise Unreachable(f"{type(exc).__name__}: {exc} (no error of the contract)") from exc
        return None

    async def ask(self, body: Body, recording: Recording) -> Answer:
        """Ask without streaming."""
        stream = self._start(body, recording, stream=False)
        return assemble([delta async for delta in stream], model=self.model)

    async def open_stream(self, body: Body, recording: Recording) -> LiveStream:
        """Begin a stream."""
        stream = self._start(body, recording, stream=True)
        await stream.begin()
        return stream

    def _start(self, body: Body, recording: Recording, *, stream: bool) -> BackendStream:
        record = recording.add(
            Exchange(
                method="generate",
                url=f"backend:{self.backend.name}",
                request_body=msgspec.json.encode(body).decode("utf-8", "replace"),
                note=f"in process, stream={stream}",
            )
        )
        return BackendStream(pulled(self.instance.start, self.request(body, stream=stream)), record)

    def facts(self) -> TargetFacts:
        """Kind, address and model."""
        return TargetFacts(
            kind="backend",
            address=f"{self.backend.name} {self.backend.version}: {self.placement.source}",
            model=self.model,
            server=f"{self.backend.name} {self.backend.version}",
            hardware=self._hardware or (", ".join(device.name for device in self._devices) or None),
        )


class BackendStream(LiveStream):
    """The events of one request, as deltas."""

    def __init__(self, events: AsyncGenerator[AnyEvent, None], record: Exchange) -> None:
        self._events = events
        self._record = record
        self._first: AnyEvent | None = None
        self._began = now_s()
        self._is_left = False

    async def begin(self) -> None:
        """Wait for the first event, so that a refusal is raised where a URL would answer with a status."""
        with _translated(self._record), contextlib.suppress(StopAsyncIteration):
            self._first = await anext(self._events)

    async def __aiter__(self) -> AsyncIterator[Delta]:
        try:
            with _translated(self._record):
                if self._first is not None:
                    delta = self._keep(self._first)
                    if delta is not None:
                        yield delta
                async for event in self._events:
                    delta = self._keep(event)
                    if delta is not None:
                        yield delta
        finally:
            await self.drop()
            self._record.duration_s = now_s() - self._began

    def _keep(self, event: AnyEvent) -> Delta | None:
        if len(self._record.response_body) < 8000:
            self._record.response_body += f"{event!r}\n"
        return to_delta(event, now_s() - self._began)

    async def drop(self) -> None:
        """Leave, once: whoever reads and whoever leaves may both say so."""
        if not self._is_left:
            self._is_left = True
            with _translated(self._record):
                await self._events.aclose()


@contextlib.contextmanager
def _translated(record: Exchange) -> Generator[None, None, None]:
    """Errors of the contract as what a URL would have answered."""
    try:
        yield
    except EnginehouseError as exc:
        record.fault = f"{type(exc).__name__}: {exc}"
        refusal = Refusal(status=None, message=exc.message, type=type(exc).__name__, param=exc.param, code=exc.code)
        raise (Refused(refusal) if isinstance(exc, RequestError) else failure_of(refusal)) from exc
    except Exception as exc:
        record.fault = f"{type(exc).__name__}: {exc}"
        raise ServerFailure(Refusal(status=None, message=f"{record.fault} (no error of the contract)")) from exc


class InstanceHooks(TargetHooks):
    """Hooks of an instance: what it inspects, and what its declaration says."""

    def __init__(self, instance: Instance, declared: Declared) -> None:
        self._instance = instance
        self._declared = declared
        names = {"context_size"}
        if isinstance(instance, Inspectable):
            names |= {"tokenize", "active_requests"}
        if declared.eos_ids:
            names.add("eos_ids")
        self.names = frozenset(names)

    async def tokenize(self, text: str) -> Sequence[int]:
        """Token ids."""
        self.need("tokenize")
        return await self._instance.tokenize(text) if isinstance(self._instance, Inspectable) else ()

    async def eos_ids(self) -> Sequence[int]:
        """Ids of end-of-sequence."""
        self.need("eos_ids")
        return self._declared.eos_ids

    async def active_requests(self) -> int:
        """Running sequences."""
        self.need("active_requests")
        return await self._instance.active_requests() if isinstance(self._instance, Inspectable) else 0

    async def context_size(self) -> int:
        """Tokens of context."""
        return self._instance.capabilities.context_tokens

    async def fault(self, match: str, *, status: int, after_chunks: int | None = None, retry_after_s: int = 3) -> None:  # noqa: ARG002
        """The contract has no such hook."""
        self.need("fault")


def _ignore_progress(progress: LoadProgress) -> None:
    """Loading is not what is judged here."""
