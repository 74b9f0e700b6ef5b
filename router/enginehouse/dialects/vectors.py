"""What every dialect does with a model's vectors: asks for them, cuts them, and keeps them for its answer."""

from __future__ import annotations

import asyncio
import math
from array import array
from collections.abc import Callable, Sequence
from typing import ClassVar, Protocol, TypeGuard

from enginehouse.dialects.endpoint import Errors, Origin
from enginehouse.fleet import Work
from enginehouse_plugin import (
    AnyEvent,
    EmbeddingRequest,
    Embeds,
    GenerationRequest,
    Instance,
    Task,
    Text,
    Tokens,
    UsageReport,
)
from enginehouse_plugin.errors import EngineProtocolError, InputTooLong, InvalidRequest

_SEPARATOR = "\0"
_AT_ONCE_BYTES = 64 * 1024
"""What is written on the event loop; more numbers are written by a thread, and nobody waits for them."""


class Made(Protocol):
    """What an instance with *task* makes of texts; `size_bytes` is about how long the answer will be.

    `prompt_bytes` is as `Work` has it.
    """

    task: ClassVar[Task]
    prompt_bytes: int | None

    @property
    def size_bytes(self) -> int:
        """Bytes of what was made, or about as many as the answer has."""
        ...

    async def make(self, instance: Instance) -> UsageReport:
        """Have *instance* make it, and keep it; return what that has used."""
        ...


class Vectors:
    """The vectors of *request*, once an instance has made them; `place(at)` is what the API calls an input.

    With *dimensions* they are cut to as many numbers, and made of length one again.
    """

    task: ClassVar[Task] = "embed"
    prompt_bytes: int | None = None

    def __init__(self, request: EmbeddingRequest, place: Callable[[int], str], dimensions: int | None = None) -> None:
        self.made: tuple[bytes, ...] = ()
        self.prompt_tokens = 0
        self._request = request
        self._place = place
        self._dimensions = dimensions

    @property
    def size_bytes(self) -> int:
        """Bytes of all of them."""
        return sum(map(len, self.made))

    async def make(self, instance: Instance) -> UsageReport:
        """See `Made.make`."""
        capabilities = instance.capabilities
        if not _embeds(instance):
            raise EngineProtocolError("This model says that it makes vectors, and its backend has no way to.")
        cut = self._cut_to(capabilities.dimensions)
        if capabilities.vocabulary_size is not None:
            self._check_tokens(capabilities.vocabulary_size)
        try:
            made = await instance.embed(self._request)
        except InputTooLong as error:
            raise too_long(error, self._place(error.index)) from error
        if len(made.vectors) != len(self._request.inputs):
            told = f"The engine gave {len(made.vectors)} vectors for {len(self._request.inputs)} texts."
            raise EngineProtocolError(told)
        self.made = made.vectors if cut is None else tuple(shortened(vector, cut) for vector in made.vectors)
        self.prompt_tokens = made.prompt_tokens
        return UsageReport(prompt_tokens=made.prompt_tokens, completion_tokens=0)

    def _cut_to(self, known: tuple[int, ...]) -> int | None:
        wanted = self._dimensions
        if wanted is None or (known and wanted == known[0]):
            return None
        if wanted in known:
            return wanted
        allowed = f"allowed are {', '.join(map(str, known))}" if known else "leave it out"
        raise InvalidRequest(
            f"Invalid 'dimensions': {wanted} numbers are not what this model's vectors can be cut to; {allowed}.",
            param="dimensions",
        )

    def _check_tokens(self, size: int) -> None:
        for at, one in enumerate(self._request.inputs):
            if isinstance(one, Tokens) and max(one.token_ids) >= size:
                wrong = next(index for index, token in enumerate(one.token_ids) if token >= size)
                place = f"{self._place(at)}[{wrong}]"
                raise InvalidRequest(
                    f"Invalid '{place}': {one.token_ids[wrong]} is no token of this model, which has 0 to {size - 1}.",
                    param=place,
                )


class WorkBody:
    """The answer to work in one body, which *write* writes when an instance has *made* what it is of."""

    content_type = b"application/json"
    is_stream = False
    keep_alive = b""

    def __init__(self, made: Made, write: Callable[[], bytes], errors: Errors) -> None:
        self.origin: Origin | None = None
        self._made = made
        self._write = write
        self._errors = errors
        self._body = b""

    @property
    def work(self) -> Work:
        """The work, and the writing of what comes of it."""
        return Work(self._made.task, self._do, self._made.prompt_bytes)

    async def _do(self, instance: Instance) -> UsageReport:
        report = await self._made.make(instance)
        is_large = self._made.size_bytes > _AT_ONCE_BYTES
        self._body = await asyncio.to_thread(self._write) if is_large else self._write()
        return report

    def events(self, batch: Sequence[AnyEvent]) -> bytes:  # noqa: ARG002  # the work has what matters
        """See `Encoder.events`."""
        return b""

    def end(self) -> bytes:
        """See `Encoder.end`."""
        return self._body

    def fail(self, error: BaseException) -> bytes:
        """See `Encoder.fail`."""
        return self._errors.describe(error).body


def _embeds(instance: Instance) -> TypeGuard[Embeds]:
    """Whether it is an `Embeds`; before Python 3.12 `isinstance` takes longer to tell than the instance to choose."""
    return hasattr(instance, "embed")


def stand_in(request_id: str, texts: tuple[Text | Tokens, ...]) -> GenerationRequest:
    """What stands for work on *texts* in queues and among suspects: it generates nothing."""
    if len(texts) == 1:
        return GenerationRequest(id=request_id, prompt=texts[0], max_tokens=0)
    if isinstance(texts[0], Tokens):
        ids = [token for one in texts if isinstance(one, Tokens) for token in one.token_ids]
        return GenerationRequest(id=request_id, prompt=Tokens(tuple(ids)), max_tokens=0)
    whole = _SEPARATOR.join(one.text for one in texts if isinstance(one, Text))
    return GenerationRequest(id=request_id, prompt=Text(whole), max_tokens=0)


def too_long(error: InputTooLong, place: str) -> InvalidRequest:
    """Say *error* of the text that the API calls *place*."""
    return InvalidRequest(
        f"'{place}' {error.has}, and this model takes at most {error.limit_tokens} at once. Shorten it, or ask for it "
        "to be cut.",
        param=place,
        code=error.code,
    )


def shortened(vector: bytes, dimensions: int) -> bytes:
    """The first numbers of *vector*, made of length one again."""
    numbers = floats(vector)[:dimensions]
    length = math.sqrt(math.fsum(number * number for number in numbers))
    return packed([number / length for number in numbers] if length else numbers)


def floats(vector: bytes) -> array[float]:
    """The numbers of *vector*."""
    return array("f", vector)


def packed(numbers: list[float] | array[float]) -> bytes:
    """The vector of *numbers*."""
    return array("f", numbers).tobytes()
