"""The two stages of a backend: `Backend` makes an `Instance`, an `Instance` generates.

Abstract base classes with defaults, so that an optional method that comes later breaks no plugin.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import Annotated, Any, Protocol, runtime_checkable

import msgspec

from .embedding import Task
from .errors import UnsupportedFeature
from .events import AnyEvent
from .features import Capabilities, Need, missing
from .request import GenerationRequest
from .run import GeneratedRun, Run, Sink

KIND_PATTERN = r"^[a-z][a-z0-9_]*\Z"
_PATH_PATTERN = r"^[^\x00]*\Z"
DeviceKind = Annotated[str, msgspec.Meta(pattern=KIND_PATTERN)]
"""A kind of device, one word in lower case: one of `DEVICE_KINDS`, or what a plugin brings with its devices."""

DEVICE_KINDS: tuple[DeviceKind, ...] = ("cuda", "rocm", "apple", "vulkan", "cpu")
"""The kinds that the router knows itself, the best first."""

FilePath = Annotated[str, msgspec.Meta(pattern=_PATH_PATTERN, extra={"enginehouse": "file"})]
"""The type of an option that names a file or folder, also as `FilePath | None`: the router hands it over absolute, a
relative one counted from the folder of the configuration."""

ProgramPath = Annotated[str, msgspec.Meta(pattern=_PATH_PATTERN, extra={"enginehouse": "program"})]
"""The type of an option that names a program: as `FilePath` if it has a slash, else looked up on the PATH."""


class Device(msgspec.Struct, frozen=True, kw_only=True):
    """A piece of hardware of this host. `id` is `cuda:0`, `rocm:0`, `apple`, `vulkan:0` or `cpu`; memory in bytes.

    A part of a CUDA device in MIG mode is `cuda:0:1`. `uuid` is the driver's own name of a CUDA device or part: what
    CUDA_VISIBLE_DEVICES takes without doubt about the order of devices. On a Mac `driver` is the version of macOS.
    """

    id: str
    kind: DeviceKind
    name: str
    memory_bytes: int
    free_bytes: int | None = None
    compute_capability: tuple[int, int] | None = None
    driver: str | None = None
    uuid: str | None = None


class Placement(msgspec.Struct, frozen=True, kw_only=True):
    """One way to serve a model.

    `source` is what the owner wrote; `path` is the local file or folder that the router resolved it to
    (None for sources without local weights). `options` has been decoded into the backend's own type.
    `python` names another interpreter, for engines that need an environment of their own. `task` is what the owner says
    the model is for (None: what its weights say), and `dimensions` are the lengths that its vectors may be cut to.
    """

    model: str
    backend: str
    source: str
    path: str | None = None
    context_tokens: int | None = None
    python: str | None = None
    options: Any = None  # an instance of BackendType.options
    task: Task | None = None
    dimensions: tuple[int, ...] = ()


class ProbeReport(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the engine is there. `fix` is the command that would make it so.

    `devices` are those that this build of the engine can use beside processors, where it tells.
    """

    available: bool
    engine: str
    engine_version: str | None = None
    devices: tuple[Device, ...] = ()
    detail: str = ""
    fix: str | None = None


class Fit(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes per device id that an instance would take: weights plus KV cache."""

    footprint_bytes: dict[str, int]


class LoadProgress(msgspec.Struct, frozen=True, kw_only=True):
    """How far loading is; `fraction` is 0..1, or None where the engine does not tell."""

    stage: str
    fraction: float | None = None


class ExitReport(msgspec.Struct, frozen=True, kw_only=True):
    """Why an instance ended. `is_expected`: somebody asked for it. `last_words`: last lines of its output."""

    is_expected: bool
    reason: str
    exit_code: int | None = None
    signal: int | None = None
    last_words: tuple[str, ...] = ()


OnProgress = Callable[[LoadProgress], None]


class Instance(ABC):
    """One loaded model, ready to generate."""

    capabilities: Capabilities

    @abstractmethod
    def generate(self, request: GenerationRequest) -> AsyncGenerator[AnyEvent, None]:
        """Generate; the order of events is S1-S3 of `enginehouse_plugin.events`.

        C1: whoever leaves cancels the pending `__anext__`, awaits it, then calls `aclose()`; either frees the
        engine's slot within one engine step + 250 ms, also before the first step.
        C2: never swallow cancellation; never yield while closing.

        Raises:
            UnsupportedFeature: the request needs a feature that `capabilities` does not declare.
            InvalidRequest, ContextTooLong, EngineError: see `enginehouse_plugin.errors`.
        """

    def start(self, request: GenerationRequest, sink: Sink) -> Run:
        """Begin to generate for *request*, and push its events into *sink*: the only way that the router takes.

        The default relays `generate`. Returns before the sink is called for the first time. Called on the event
        loop's thread.

        Raises:
            EnginehouseError: nothing was begun; *sink* is not called. What is found out later goes to `Sink.end`.
        """
        return GeneratedRun(self.generate(request), sink)

    @abstractmethod
    async def count_tokens(self, request: GenerationRequest) -> int:
        """Tokens of the prompt, template included."""

    async def check(self, request: GenerationRequest) -> None:
        """Refuse *request* where `generate` would before it asks the engine; generates nothing.

        The router asks it once a model is loaded, of the defaults for fields that a request leaves out.

        Raises:
            UnsupportedFeature, InvalidRequest, ContextTooLong: as `generate`.
        """
        self.refuse_unsupported(request)

    @abstractmethod
    async def check_ready(self) -> None:
        """Return if the engine answers.

        Ask it where it works, so that it answers between two of its steps, also while it reads a long prompt: a server
        in front of an engine answers while that hangs. The router asks every few seconds in which it hears no event,
        and ends an instance that says nothing for longer than any step takes.

        Raises:
            EngineUnavailable, EngineDied: it does not.
        """

    @abstractmethod
    async def unload(self) -> None:
        """End the instance and give its memory back. Idempotent."""

    @abstractmethod
    async def wait_closed(self) -> ExitReport:
        """Wait until the instance has ended, and say why."""

    async def drain(self, timeout_s: float) -> None:
        """Wait up to *timeout_s* seconds for running requests. The router stops sending before it calls this."""

    def refuse_unsupported(self, request: GenerationRequest) -> None:
        """Refuse what is not declared; call it first in `generate`.

        Raises:
            UnsupportedFeature: for the first need that is not met.
        """
        for need in missing(request, self.capabilities):
            raise unsupported(need, self.capabilities)


def unsupported(need: Need, capabilities: Capabilities) -> UnsupportedFeature:
    """The refusal of *need*, which *capabilities* do not meet: the feature is absent, or its limit exceeded."""
    limit = capabilities.limits.get(need.param)
    if need.feature in capabilities.features and limit is not None:
        return UnsupportedFeature(
            need.feature,
            param=need.param,
            message=f"'{need.param}' is {need.size} here; this model allows at most {limit}.",
        )
    turns_off = need.turns_off if need.turns_off not in capabilities.features else None
    return UnsupportedFeature(need.feature, param=need.param, turns_off=turns_off)


class Backend(ABC):
    """An adapter to one engine."""

    @abstractmethod
    async def probe(self, python: str | None = None) -> ProbeReport:
        """Say whether the engine is here, and its version; loads no weights, imports no engine.

        *python* is the interpreter that a placement names; without it, what the backend takes by itself is meant.
        """

    async def fit(self, placement: Placement, devices: tuple[Device, ...]) -> Fit:
        """Estimate the bytes that *placement* takes on *devices* without loading weights.

        The default knows nothing and returns no footprint.

        Raises:
            SourceNotFound: no weights at `placement.source`.
        """
        return Fit(footprint_bytes={})

    async def recommended(self, placement: Placement) -> Mapping[str, Any]:  # Any: values of a request's fields
        """Values that the weights of *placement* recommend for fields of a request, by the field's name.

        Read from what lies beside or in the weights; the default knows none. A value that no request could have is
        told to the owner, and so is one for which there is no field.

        Raises:
            LoadError: there are no such weights, or they cannot be read.
        """
        return {}

    async def identity(self, placement: Placement) -> Mapping[str, str | float]:
        """What tells the server and model behind *placement* from others, where this host holds neither: by name.

        Part of what a certificate is valid for, and asked for again while it is used. A number is the same within 0.5.
        The default has none: weights and engine are here, and looked at.

        Raises:
            LoadError: it cannot be told now, because the server is away.
        """
        return {}

    @abstractmethod
    async def load(self, placement: Placement, devices: tuple[Device, ...], progress: OnProgress) -> Instance:
        """Load and return an instance that is ready. Cancellable: cancelling leaves nothing behind.

        *devices* may be several (tensor parallel) or none (remote).

        Raises:
            LoadError: it could not be made; the error says why and what to do.
        """


class BackendType(msgspec.Struct, frozen=True, kw_only=True):
    """What a plugin offers: a name for `backend = "…"` and a way to make the adapter.

    `options` is the msgspec struct that `placement.options` is decoded into, strictly, when the
    configuration is read. `kinds` are the kinds of device it can use, the best first; empty: none needed
    (remote). `needs_weights` False: `source` is the backend's own affair (a URL, a name), not a file. `formats` are
    those of the weights that it loads: `gguf`, `safetensors`; a model that is named without a configuration goes to a
    backend of its weights' format.
    """

    name: str
    version: str
    create: Callable[[], Backend]
    options: type[msgspec.Struct]
    kinds: tuple[DeviceKind, ...] = ("cpu",)
    needs_weights: bool = True
    formats: tuple[str, ...] = ()
    description: str = ""


class EngineLoad(msgspec.Struct, frozen=True, kw_only=True):
    """The engine's own figures: sequences running and waiting, share (0..1) of the KV cache that these take.

    `cache_used` is None where the engine does not tell it: it is not guessed. What is only kept, in case a prompt comes
    again, is free.

    `told_at` is when they were told, by `time.monotonic()`, where others may give it work, too; None: nobody else does,
    or it has not told yet.
    """

    running: int
    waiting: int
    cache_used: float | None = None
    told_at: float | None = None


@runtime_checkable
class Measured(Protocol):
    """An instance that can tell its load. Asked after answers of one that takes no device of this host; others while
    somebody watches the console."""

    async def measure(self) -> EngineLoad:
        """Ask the engine for its load, or say what it has told last."""
        ...


@runtime_checkable
class Sleepable(Protocol):
    """An instance that can give its memory back and return faster than by loading."""

    async def sleep(self) -> None:
        """Give memory back."""
        ...

    async def wake(self) -> None:
        """Return to readiness."""
        ...


@runtime_checkable
class Resident(Protocol):
    """An instance in processes of this machine, so that what it takes of memory can be measured."""

    @property
    def process_ids(self) -> Sequence[int]:
        """The engine's processes; those that they have started need not be named."""
        ...


@runtime_checkable
class Inspectable(Protocol):
    """Hooks for the conformance suite."""

    async def tokenize(self, text: str) -> Sequence[int]:
        """Token ids of *text*, without a template."""
        ...

    async def active_requests(self) -> int:
        """Sequences that the engine works on now."""
        ...
