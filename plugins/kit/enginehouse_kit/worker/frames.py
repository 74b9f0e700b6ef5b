"""What the router and a worker say to each other: msgpack frames over a Unix socket.

A frame is four bytes of length (big endian) and one struct of `Frame`. The router opens with `Hello`, the
guest answers `Welcome`; both then speak the lower of their versions of events. After that the router
sends `Call`, `Generate`, `Pause`, `Resume` and `Cancel`, and the guest answers each call with one `Return`
or `Failure`, and each generation with its events and then one of them: after `Cancel` a `Return`, once the
engine's slot is free.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable
from typing import Any

import msgspec

from enginehouse_plugin import errors
from enginehouse_plugin.backend import Device, EngineLoad, ExitReport, Fit, LoadProgress, Placement, ProbeReport
from enginehouse_plugin.embedding import EmbeddingRequest, Embeddings, RerankRequest, Scores
from enginehouse_plugin.errors import EnginehouseError, EngineProtocolError
from enginehouse_plugin.events import AnyEvent
from enginehouse_plugin.features import Capabilities
from enginehouse_plugin.request import GenerationRequest
from enginehouse_plugin.tokenizer import Tokenized, TokenizeRequest

MAX_FRAME_BYTES = 256 * 1024 * 1024


class Hello(msgspec.Struct, frozen=True, tag="hello"):
    """The router's versions: of the contract, and the highest of events."""

    api_version: str
    events_version: int


class Welcome(msgspec.Struct, frozen=True, tag="welcome"):
    """The guest's versions."""

    api_version: str
    events_version: int


class Call(msgspec.Struct, frozen=True, tag="call"):
    """Call *method* (see `ARGUMENTS`) of the guest's backend or instance."""

    id: int
    method: str
    arguments: msgspec.Raw


class Generate(msgspec.Struct, frozen=True, tag="generate"):
    """Generate; the events carry the same id."""

    id: int
    request: GenerationRequest


class Cancel(msgspec.Struct, frozen=True, tag="cancel"):
    """Nobody waits for the answer any more."""

    id: int


class Pause(msgspec.Struct, frozen=True, tag="pause"):
    """The reader of a generation is slow: no more events until `Resume`."""

    id: int


class Resume(msgspec.Struct, frozen=True, tag="resume"):
    """Events may come again."""

    id: int


class Return(msgspec.Struct, frozen=True, tag="return"):
    """The result of a call, or the end of a generation."""

    id: int
    value: msgspec.Raw = msgspec.Raw(b"\xc0")


class SentError(msgspec.Struct, frozen=True):
    """An error of the contract: its nearest class there, and its fields."""

    kind: str
    message: str
    fields: dict[str, Any]  # plain values


class Failure(msgspec.Struct, frozen=True, tag="failure"):
    """A call or generation that has failed."""

    id: int
    error: SentError


class Emitted(msgspec.Struct, frozen=True, tag="event"):
    """Events of a generation."""

    id: int
    events: tuple[AnyEvent, ...]


class Progressed(msgspec.Struct, frozen=True, tag="progress"):
    """How far a call (`load`) is."""

    id: int
    progress: LoadProgress


class Closed(msgspec.Struct, frozen=True, tag="closed"):
    """The guest's instance has ended of itself."""

    report: ExitReport


Frame = Hello | Welcome | Call | Generate | Cancel | Pause | Resume | Return | Failure | Emitted | Progressed | Closed


class SentPlacement(msgspec.Struct, frozen=True):
    """A placement without its options, and these apart: the type as `module:name`, and the value."""

    placement: Placement
    options_type: str | None
    options: msgspec.Raw


class Loaded(msgspec.Struct, frozen=True):
    """What the guest has loaded; *abilities* names the optional interfaces that it has."""

    capabilities: Capabilities
    abilities: frozenset[str]


ABILITIES: dict[str, tuple[str, ...]] = {
    "Measured": ("measure",),
    "Sleepable": ("sleep", "wake"),
    "Inspectable": ("tokenize", "active_requests"),
    "Embeds": ("embed",),
    "Reranks": ("rerank",),
    "Tokenizer": ("tokenize_prompt", "detokenize"),
}

ARGUMENTS: dict[str, Any] = {  # Any: types
    "probe": tuple[()],
    "fit": tuple[SentPlacement, tuple[Device, ...]],
    "recommended": tuple[SentPlacement],
    "load": tuple[SentPlacement, tuple[Device, ...]],
    "check": tuple[GenerationRequest],
    "count_tokens": tuple[GenerationRequest],
    "check_ready": tuple[()],
    "drain": tuple[float],
    "unload": tuple[()],
    "measure": tuple[()],
    "sleep": tuple[()],
    "wake": tuple[()],
    "tokenize": tuple[str],
    "embed": tuple[EmbeddingRequest],
    "rerank": tuple[RerankRequest],
    "tokenize_prompt": tuple[TokenizeRequest],
    "detokenize": tuple[tuple[int, ...]],
    "active_requests": tuple[()],
}
RESULTS: dict[str, Any] = {  # Any: types
    "probe": ProbeReport,
    "fit": Fit,
    "recommended": dict[str, Any],
    "load": Loaded,
    "count_tokens": int,
    "measure": EngineLoad,
    "tokenize": tuple[int, ...],
    "embed": Embeddings,
    "rerank": Scores,
    "tokenize_prompt": Tokenized,
    "detokenize": str,
    "active_requests": int,
}
"""Methods that are not named here return nothing."""

encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Frame).decode


class FrameConnection(asyncio.Protocol):
    """One end of the socket. *on_frames* gets the frames of each read, *on_lost* the end and its reason, once.

    *on_writable* hears whether the other end takes in what is sent.
    """

    def __init__(
        self,
        on_frames: Callable[[list[Frame]], None],
        on_lost: Callable[[Exception | None], None],
        on_writable: Callable[[bool], None] | None = None,
    ) -> None:
        self._on_frames = on_frames
        self._on_lost = on_lost
        self._on_writable = on_writable
        self._received = bytearray()
        self._transport: asyncio.Transport | None = None
        self._problem: Exception | None = None

    def send(self, frame: Frame) -> None:
        """Send *frame*; one that is sent after the end is lost, and `on_lost` has told so."""
        if self._transport is not None and not self._transport.is_closing():
            payload = encode(frame)
            self._transport.write(struct.pack(">I", len(payload)) + payload)

    def close(self) -> None:
        """Close, unsent frames dropped."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin (asyncio)."""
        self._transport = transport  # type: ignore[assignment]  # a stream transport, by construction

    def data_received(self, data: bytes) -> None:
        """Take bytes in and pass whole frames on (asyncio)."""
        self._received += data
        received = self._received
        frames: list[Frame] = []
        at = 0
        try:
            while len(received) - at >= 4:
                (length,) = struct.unpack_from(">I", received, at)
                if length > MAX_FRAME_BYTES:
                    raise EngineProtocolError(
                        f"A frame of {length} bytes was announced; {MAX_FRAME_BYTES} are allowed."
                    )
                if len(received) - at - 4 < length:
                    break
                frames.append(_decode(bytes(memoryview(received)[at + 4 : at + 4 + length])))
                at += 4 + length
        except (msgspec.MsgspecError, EngineProtocolError) as problem:
            self._problem = problem
            self.close()
        del received[:at]
        if frames:
            self._on_frames(frames)

    def pause_writing(self) -> None:
        """The other end is slow (asyncio)."""
        if self._on_writable is not None:
            self._on_writable(False)

    def resume_writing(self) -> None:
        """The other end has caught up (asyncio)."""
        if self._on_writable is not None:
            self._on_writable(True)

    def connection_lost(self, exc: Exception | None) -> None:
        """End (asyncio)."""
        self._on_lost(self._problem or exc)


# ---- errors ----


def sent_error(error: Exception) -> SentError:
    """Return *error* as data; an error that is not the contract's becomes `EngineFailure`."""
    if not isinstance(error, EnginehouseError):
        return SentError("EngineFailure", f"{type(error).__name__}: {error}", {"code": "engine_failure"})
    kind = next(cls.__name__ for cls in type(error).__mro__ if getattr(errors, cls.__name__, None) is cls)
    fields = {name: value for name, value in vars(error).items() if name != "message" and _is_plain(value)}
    # A subclass may set these for its class, which the other end does not know.
    fields.update(code=error.code, retryable=error.retryable)
    return SentError(kind, error.message, fields)


def received_error(sent: SentError) -> EnginehouseError:
    """Return the error that *sent* tells of."""
    kind = getattr(errors, sent.kind, None)
    if not (isinstance(kind, type) and issubclass(kind, EnginehouseError)):
        kind = EnginehouseError
    error: EnginehouseError = kind.__new__(kind)
    EnginehouseError.__init__(error, sent.message)
    for name, value in sent.fields.items():
        setattr(error, name, tuple(value) if isinstance(value, list) else value)
    return error


def _is_plain(value: object) -> bool:
    if isinstance(value, (list, tuple)):
        return all(_is_plain(item) for item in value)
    return value is None or isinstance(value, (str, int, float, bool))
