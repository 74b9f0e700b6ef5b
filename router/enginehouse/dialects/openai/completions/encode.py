"""From an instance's events to the bytes of a completion: a whole one, or the chunks of a stream."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from enginehouse.dialects.endpoint import Errors, Origin
from enginehouse.dialects.openai.chat.answers import Usage
from enginehouse.dialects.openai.chat.encode import finite, usage_of
from enginehouse.wire import sse
from enginehouse_plugin.errors import EngineProtocolError
from enginehouse_plugin.events import (
    AnyEvent,
    Finished,
    FinishReason,
    Started,
    TokenLogprob,
    ToolCallDelta,
    UsageReport,
)

_encode = msgspec.json.Encoder().encode


class CompletionLogprobs(msgspec.Struct, kw_only=True):
    """Log probabilities in their old form: lists of equal length. `text_offset` counts characters of the answer."""

    tokens: list[str]
    token_logprobs: list[float]
    top_logprobs: list[dict[str, float]] | None
    text_offset: list[int]


class CompletionChoice(msgspec.Struct, kw_only=True):
    """One of `n` answers, or what is new of it."""

    text: str
    index: int
    logprobs: CompletionLogprobs | None = None
    finish_reason: FinishReason | None = None


class Completion(msgspec.Struct, kw_only=True):
    """The body of an answer, and each event of a stream; usage is in the body, and in an event of its own if asked."""

    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    choices: list[CompletionChoice]
    usage: Usage | msgspec.UnsetType | None = msgspec.UNSET
    system_fingerprint: str | None = None


class CompletionHead(msgspec.Struct, frozen=True, kw_only=True):
    """What is the same in all of an answer. `echo` is the prompt where it stands before the answer."""

    id: str
    created: int
    model: str
    n: int
    logprobs: int | None
    echo: str = ""
    usage: bool = False
    """A stream ends with it."""


class _Choices:
    """What both ways of writing know of an answer's choices."""

    def __init__(self, head: CompletionHead, errors: Errors) -> None:
        self._head = head
        self._errors = errors
        self._finished: list[FinishReason | None] = [None] * head.n
        self._length = [0] * head.n
        self._report: UsageReport | None = None
        self.origin: Origin | None = None

    def _piece(self, event: AnyEvent) -> CompletionChoice | None:
        """What *event* adds to its choice; None for the start and the usage."""
        if isinstance(event, UsageReport):
            if None in self._finished:
                raise EngineProtocolError("The engine sent the usage before every choice had finished.")
            self._report = event
            return None
        if isinstance(event, Started):
            return None
        at = event.choice
        if not 0 <= at < self._head.n or self._finished[at] is not None:
            raise EngineProtocolError(f"The engine sent more for choice {at}, which does not exist or has ended.")
        if isinstance(event, Finished):
            self._finished[at] = event.reason
            return CompletionChoice(text="", index=at, finish_reason=event.reason)
        if isinstance(event, ToolCallDelta):
            raise EngineProtocolError("The engine called a tool, which a completion has not.")
        logprobs = None if self._head.logprobs is None else self._logprobs(at, event.logprobs or ())
        return CompletionChoice(text=event.text, index=at, logprobs=logprobs)

    def _logprobs(self, at: int, entries: Sequence[TokenLogprob]) -> CompletionLogprobs:
        offsets = []
        for entry in entries:
            offsets.append(self._length[at])
            self._length[at] += len(entry.token)
        top = [{each.token: finite(each.logprob) for each in entry.top} for entry in entries]
        return CompletionLogprobs(
            tokens=[entry.token for entry in entries],
            token_logprobs=[finite(entry.logprob) for entry in entries],
            top_logprobs=top if self._head.logprobs else None,
            text_offset=offsets,
        )

    def _completion(
        self, choices: list[CompletionChoice], usage: Usage | msgspec.UnsetType | None = msgspec.UNSET
    ) -> Completion:
        head = self._head
        fingerprint = self.origin.fingerprint if self.origin is not None else None
        return Completion(
            id=head.id,
            created=head.created,
            model=head.model,
            choices=choices,
            usage=usage,
            system_fingerprint=fingerprint,
        )

    def _usage(self) -> Usage:
        report = self._report
        if report is None:
            raise EngineProtocolError("The engine's answer ended before the usage had come.")
        return usage_of(report)


class CompletionStream(_Choices):
    """Writes one streamed completion."""

    content_type = sse.CONTENT_TYPE
    is_stream = True
    keep_alive = sse.KEEP_ALIVE

    def __init__(self, head: CompletionHead, errors: Errors) -> None:
        super().__init__(head, errors)
        self._has_begun = [not head.echo] * head.n
        self._has_failed = False

    def events(self, batch: Sequence[AnyEvent]) -> bytes:
        """See `Encoder.events`."""
        written = b""
        for event in batch:
            piece = self._piece(event)
            if piece is None:
                continue
            if not self._has_begun[piece.index]:
                self._has_begun[piece.index] = True
                written += self._chunk([CompletionChoice(text=self._head.echo, index=piece.index)])
            written += self._chunk([piece])
        return written

    def end(self) -> bytes:
        """See `Encoder.end`."""
        if self._has_failed:
            return b""
        usage = self._usage()
        last = sse.event(_encode(self._completion([], usage))) if self._head.usage else b""
        return last + sse.event(b"[DONE]")

    def fail(self, error: BaseException) -> bytes:
        """See `Encoder.fail`."""
        self._has_failed = True
        return sse.event(self._errors.describe(error).body)

    def _chunk(self, choices: list[CompletionChoice]) -> bytes:
        return sse.event(_encode(self._completion(choices, None if self._head.usage else msgspec.UNSET)))


class CompletionBody(_Choices):
    """Writes one completion as a whole."""

    content_type = b"application/json"
    is_stream = False
    keep_alive = b""

    def __init__(self, head: CompletionHead, errors: Errors) -> None:
        super().__init__(head, errors)
        self._pieces: list[list[CompletionChoice]] = [[] for _ in range(head.n)]

    def events(self, batch: Sequence[AnyEvent]) -> bytes:
        """See `Encoder.events`."""
        for event in batch:
            if (piece := self._piece(event)) is not None:
                self._pieces[piece.index].append(piece)
        return b""

    def end(self) -> bytes:
        """See `Encoder.end`."""
        usage = self._usage()
        return _encode(self._completion([self._whole(at) for at in range(self._head.n)], usage))

    def fail(self, error: BaseException) -> bytes:
        """See `Encoder.fail`: nothing of a whole answer is sent before its end, so the error has its own answer."""
        return self._errors.describe(error).body

    def _whole(self, at: int) -> CompletionChoice:
        pieces = self._pieces[at]
        found = [piece.logprobs for piece in pieces if piece.logprobs is not None]
        logprobs = None
        if self._head.logprobs is not None:
            top = [each for part in found for each in part.top_logprobs or ()]
            logprobs = CompletionLogprobs(
                tokens=[each for part in found for each in part.tokens],
                token_logprobs=[each for part in found for each in part.token_logprobs],
                top_logprobs=top if self._head.logprobs else None,
                text_offset=[each for part in found for each in part.text_offset],
            )
        text = self._head.echo + "".join(piece.text for piece in pieces)
        return CompletionChoice(text=text, index=at, logprobs=logprobs, finish_reason=self._finished[at])
