"""From an instance's events to the bytes of a completion: a whole one, or the chunks of a stream."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from enginehouse.dialects.endpoint import Errors, Origin
from enginehouse.dialects.openai.chat.answers import Usage
from enginehouse.dialects.openai.chat.encode import DONE, finite, stop_reason, usage_of
from enginehouse.dialects.openai.running_usage import RunningUsage
from enginehouse.wire import sse
from enginehouse_plugin.errors import EngineProtocolError
from enginehouse_plugin.events import (
    AnyEvent,
    Finished,
    FinishReason,
    ReasoningDelta,
    RefusalDelta,
    Started,
    TextDelta,
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
    """One of `n` answers, or what is new of it; `stop_reason` is the stop string that ended it."""

    text: str
    index: int
    logprobs: CompletionLogprobs | None = None
    finish_reason: FinishReason | None = None
    stop_reason: str | msgspec.UnsetType = msgspec.UNSET


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
    """What is the same in all of an answer. For each prompt `echoes` has what stands before its answers.

    Of `n` choices that are made for each, the `shown` likeliest are given.
    """

    id: str
    created: int
    model: str
    n: int
    shown: int
    logprobs: int | None
    echoes: tuple[str, ...]
    usage: bool = False
    """A stream ends with it."""
    running_usage: bool = False
    """Each chunk tells it, as it is then."""

    @property
    def choices(self) -> int:
        """How many choices are made for all prompts."""
        return self.n * len(self.echoes)

    def echo(self, at: int) -> str:
        """What stands before the choice *at*."""
        return self.echoes[at // self.n]


class _Choices:
    """What both ways of writing know of an answer's choices."""

    def __init__(self, head: CompletionHead, errors: Errors) -> None:
        self._head = head
        self._errors = errors
        self._finished: list[FinishReason | None] = [None] * head.choices
        self._matched: dict[int, str] = {}  # of choices that a stop string ended
        self._length = [0] * head.choices
        self._report: UsageReport | None = None
        self.origin: Origin | None = None

    def _choice(self, event: TextDelta | ReasoningDelta | RefusalDelta | ToolCallDelta | Finished) -> int:
        """Whose *event* is; refuse one for a choice that does not exist or has finished."""
        at = event.choice
        if not 0 <= at < len(self._finished) or self._finished[at] is not None:
            raise EngineProtocolError(f"The engine sent more for choice {at}, which does not exist or has ended.")
        return at

    def _ends(self, report: UsageReport) -> None:
        if None in self._finished:
            raise EngineProtocolError("The engine sent the usage before every choice had finished.")
        self._report = report

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

    def _fingerprint(self) -> str | None:
        return self.origin.fingerprint if self.origin is not None else None

    def _usage(self) -> Usage:
        report = self._report
        if report is None:
            raise EngineProtocolError("The engine's answer ended before the usage had come.")
        return usage_of(report)


def _called() -> EngineProtocolError:
    return EngineProtocolError("The engine called a tool, which a completion has not.")


class CompletionStream(_Choices):
    """Writes one streamed completion: a chunk is bytes made once per stream around the encoding of what is new."""

    content_type = sse.CONTENT_TYPE
    is_stream = True
    keep_alive = sse.KEEP_ALIVE

    def __init__(self, head: CompletionHead, errors: Errors) -> None:
        super().__init__(head, errors)
        self._has_begun = [not head.echo(at) for at in range(head.choices)]
        self._has_failed = False
        self._prefix = b""  # made with the first chunk: no other instance is tried from there on
        self._plain: list[bytes] = []  # by choice, what follows the text of a chunk that has nothing else
        self._end = b',"usage":null}' + sse.END if head.usage else b"}" + sse.END
        self._running = RunningUsage(head.choices) if head.running_usage else None
        self._text: dict[int, bytes] = {}  # of choices that go on: how a chunk begins which has text and nothing else

    def events(self, batch: Sequence[AnyEvent]) -> bytes:
        """See `Encoder.events`."""
        if len(batch) == 1:
            event = batch[0]
            if type(event) is TextDelta and (beginning := self._text.get(event.choice)) is not None:
                return b"%b%b%b" % (beginning, _encode(event.text), self._plain[event.choice])
            return self._chunk(event)
        return b"".join([self._chunk(event) for event in batch])

    def end(self) -> bytes:
        """See `Encoder.end`."""
        if self._has_failed:
            return b""
        usage = self._usage()
        last = self._beginning() + b'],"usage":' + _encode(usage) + b"}" + sse.END if self._head.usage else b""
        return last + DONE

    def fail(self, error: BaseException) -> bytes:
        """See `Encoder.fail`."""
        self._has_failed = True
        self._text.clear()
        return sse.event(self._errors.describe(error).body)

    def _chunk(self, event: AnyEvent) -> bytes:
        if self._running is not None and (of := self._running.note(event)) is not None:
            self._tell_usage(self._running.told(of))
        if type(event) is UsageReport:
            self._ends(event)
            return b""
        if type(event) is Started:
            return b""
        at = self._choice(event)
        beginning = self._prefix or self._beginning()
        opening = b"" if self._has_begun[at] else self._echoed(at)
        if type(event) is Finished:
            self._finished[at] = event.reason
            self._text.pop(at, None)
            reason = _encode(event.reason) + stop_reason(event)
            told = b'{"text":"","index":%d,"logprobs":null,"finish_reason":%b}]' % (at, reason)
            return opening + beginning + told + self._end
        if type(event) is ToolCallDelta:
            raise _called()
        if self._head.logprobs is None:
            if self._running is None:
                self._text[at] = beginning + b'{"text":'
            return b'%b%b{"text":%b%b' % (opening, beginning, _encode(event.text), self._plain[at])
        logprobs = _encode(self._logprobs(at, event.logprobs or ()))
        told = b'{"text":%b,"index":%d,"logprobs":%b,"finish_reason":null}]' % (_encode(event.text), at, logprobs)
        return opening + beginning + told + self._end

    def _beginning(self) -> bytes:
        if not self._prefix:
            head = self._head
            self._prefix = (
                sse.BEGIN
                + b'{"id":%b,"object":"text_completion","created":%d,"model":%b,"system_fingerprint":%b,"choices":['
                % (_encode(head.id), head.created, _encode(head.model), _encode(self._fingerprint()))
            )
            self._make_plain()
        return self._prefix

    def _make_plain(self) -> None:
        end = self._end
        self._plain = [
            b',"index":%d,"logprobs":null,"finish_reason":null}]%b' % (at, end) for at in range(len(self._finished))
        ]

    def _tell_usage(self, usage: bytes) -> None:
        self._end = b',"usage":' + usage + b"}" + sse.END
        self._make_plain()

    def _echoed(self, at: int) -> bytes:
        """The chunk of the prompt, before the first of the answer."""
        self._has_begun[at] = True
        end = self._plain[at]
        if self._running is not None:
            usage = self._running.told(at, is_opening=True)
            end = b',"index":%d,"logprobs":null,"finish_reason":null}],"usage":%b}%b' % (at, usage, sse.END)
        return self._prefix + b'{"text":' + _encode(self._head.echo(at)) + end


class CompletionBody(_Choices):
    """Writes one completion as a whole."""

    content_type = b"application/json"
    is_stream = False
    keep_alive = b""

    def __init__(self, head: CompletionHead, errors: Errors) -> None:
        super().__init__(head, errors)
        self._texts: list[list[str]] = [[] for _ in range(head.choices)]
        self._entries: list[list[TokenLogprob]] = [[] for _ in range(head.choices)]

    def events(self, batch: Sequence[AnyEvent]) -> bytes:
        """See `Encoder.events`."""
        for event in batch:
            if type(event) is UsageReport:
                self._ends(event)
            elif type(event) is not Started:
                at = self._choice(event)
                if type(event) is Finished:
                    self._finished[at] = event.reason
                    if event.matched_stop is not None:
                        self._matched[at] = event.matched_stop
                    continue
                if type(event) is ToolCallDelta:
                    raise _called()
                self._texts[at].append(event.text)
                if event.logprobs:
                    self._entries[at].extend(event.logprobs)
        return b""

    def end(self) -> bytes:
        """See `Encoder.end`."""
        usage, head = self._usage(), self._head
        return _encode(
            Completion(
                id=head.id,
                created=head.created,
                model=head.model,
                choices=[self._whole(at, index) for index, at in enumerate(self._given())],
                usage=usage,
                system_fingerprint=self._fingerprint(),
            )
        )

    def fail(self, error: BaseException) -> bytes:
        """See `Encoder.fail`: nothing of a whole answer is sent before its end, so the error has its own answer."""
        return self._errors.describe(error).body

    def _given(self) -> list[int]:
        """The choices that are given: of each prompt the likeliest per token, the best first where not all are."""
        head = self._head
        given: list[int] = []
        for first in range(0, head.choices, head.n):
            made = list(range(first, first + head.n))
            if head.shown < head.n:
                made = sorted(made, key=self._likelihood, reverse=True)[: head.shown]
            given += made
        return given

    def _likelihood(self, at: int) -> float:
        entries = self._entries[at]
        return sum(finite(entry.logprob) for entry in entries) / len(entries) if entries else float("-inf")

    def _whole(self, at: int, index: int) -> CompletionChoice:
        text = self._head.echo(at) + "".join(self._texts[at])
        logprobs = None if self._head.logprobs is None else self._logprobs(at, self._entries[at])
        return CompletionChoice(
            text=text,
            index=index,
            logprobs=logprobs,
            finish_reason=self._finished[at],
            stop_reason=self._matched.get(at, msgspec.UNSET),
        )
