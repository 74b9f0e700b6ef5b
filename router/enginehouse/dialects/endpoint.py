"""What an endpoint is: one operation of a dialect, between the bytes of HTTP and the contract's request and events.

An endpoint reads a body into a `Call`; the call's `Encoder` writes the answer's bytes from events; the dialect's
`Errors` say what a client gets when it fails. None of them knows HTTP's connection, and none keeps state between
requests.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from enginehouse.config import AgentConfig
from enginehouse.dialects.operation import Operation
from enginehouse.fleet import Ask, Work
from enginehouse_plugin import AnyEvent, GenerationRequest
from enginehouse_plugin.request import Prompt

Header = tuple[bytes, bytes]


class ErrorReply(msgspec.Struct, frozen=True):
    """An answer to send: `headers` lack only the length. `code` is for the log."""

    status: int
    body: bytes
    headers: tuple[Header, ...]
    code: str


class Errors(Protocol):
    """How a dialect tells of errors. The only place with HTTP status codes."""

    def describe(self, error: BaseException, request_id: str = "") -> ErrorReply:
        """Say what a client gets for *error* of the request with this id.

        An error that is not of the contract tells nothing of itself.
        """
        ...


class Origin(Protocol):
    """Tells what an answer is from, once it has started."""

    fingerprint: str | None


class Encoder(Protocol):
    """Writes one answer. Fed each batch of events in order, then asked for its end, or told why there is none."""

    content_type: bytes
    is_stream: bool
    keep_alive: bytes
    """What may be sent while a stream is silent; empty where the format has nothing of the kind."""
    origin: Origin | None

    def events(self, batch: Sequence[AnyEvent]) -> bytes:
        """Return the bytes that *batch* adds to the body, in one piece; none where the answer is sent as a whole.

        Raises:
            EngineProtocolError: an event breaks the order of a stream.
        """
        ...

    def end(self) -> bytes:
        """Return the last bytes of an answer that has succeeded; of a whole answer, all of them.

        Raises:
            EngineProtocolError: the answer is not complete.
        """
        ...

    def fail(self, error: BaseException) -> bytes:
        """Return what ends a stream that has begun and then failed: no claim of success follows."""
        ...


class Named(msgspec.Struct, frozen=True):
    """What a client's name for a model stands for: a model of the configuration, by itself or led by an agent.

    `agent_name` is what the configuration calls the agent.
    """

    model: str
    agent: AgentConfig | None = None
    agent_name: str = ""


class Names(dict[str, Named]):
    """What clients call models; a name like `claude-*` stands for those that no other has, and is not listed."""

    def __init__(self, names: Mapping[str, Named]) -> None:
        super().__init__({name: named for name, named in names.items() if "*" not in name})
        self._patterns = [(re.compile(_pattern(name)), named) for name, named in names.items() if "*" in name]

    def get(self, name: str, default: Any = None) -> Any:  # as a dictionary has it
        """What *name* stands for: by itself, or by the first pattern that fits."""
        found = super().get(name)
        if found is not None:
            return found
        return next((named for pattern, named in self._patterns if pattern.fullmatch(name)), default)


def _pattern(name: str) -> str:
    return "".join(".*" if part == "*" else re.escape(part) for part in re.split(r"(\*)", name))


Detached = Callable[[Callable[[], None]], bytes]
"""Lets an answer go on without its client: takes what ends the work, and returns the body that the client gets now."""


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One request, read: what is asked of which model, and how the answer is written.

    `said` names the fields of `request` that the body holds: for the others the model's defaults stand. `recorded` are
    fields that cannot change the answer, for the log line, as plain data. `ignored` names what was left out, where the
    policy allows that, as the API writes its place.
    """

    model: str
    agent: str = ""
    """What the configuration calls the agent that leads the model, if one does."""
    request: GenerationRequest
    said: Collection[str] = ()
    encoder: Encoder
    recorded: dict[str, Any] | None = None
    ignored: tuple[str, ...] = ()
    is_lenient: bool = False
    """What the model lacks is left out and named, too."""
    counts: Ask | None = None
    """What is asked about the prompt, where no answer is wanted: the events are a `UsageReport` alone."""
    work: Work | None = None
    """What is done in place of generating, for which `request` then only stands in queues and among suspects."""
    prompts: tuple[Prompt, ...] = ()
    """Where there are several, each is answered with `n` choices; the first is that of `request`."""
    places: Mapping[str, str] = {}
    """What the API calls fields that the contract's features name, where it has other names."""
    profile: str = ""
    """Whose defaults stand behind the model's: the label of a mount."""
    detached: Detached | None = None
    """The client gets an answer at once, and the encoder's goes to nobody: who wants it asks for what is kept."""


class Endpoint(Protocol):
    """One operation. `name` is what logs and accounts call it, `profile` the API; `path` is its route, always `POST`.

    Each of `query` must stand in the query of a request; `headers` go with every answer, and `id_header`, where the
    dialect has a name of its own for it, with the request's id. `operation` is what the OpenAPI document says of it.
    """

    name: str
    profile: str
    path: str
    query: Mapping[str, str]
    headers: tuple[Header, ...]
    id_header: bytes | None
    errors: Errors
    operation: Operation

    def decode(self, body: bytes, request_id: str, named: Mapping[bytes, bytes], key: str = "") -> Call:
        """Read *body*, strictly; *named* are the request's headers, in lower case, with the first value of each.

        *key* is the name of the client's key, for which the body may refer to what is kept. Another thread than the
        event loop's may call this.

        Raises:
            InvalidRequest: naming the field, the value's problem and what is allowed.
        """
        ...
