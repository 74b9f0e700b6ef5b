"""From an instance's events to the bytes of an answer: a whole message, or the events of a stream."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from enginehouse.dialects.anthropic.messages.answers import (
    AnswerBlock,
    MessagesAnswer,
    MessagesUsage,
    StopReason,
    TextAnswer,
    ThinkingAnswer,
    TokenCount,
    ToolUseAnswer,
)
from enginehouse.dialects.anthropic.messages.signature import pack, sign
from enginehouse.dialects.endpoint import Errors, Origin
from enginehouse.wire import sse
from enginehouse_plugin.errors import EngineProtocolError
from enginehouse_plugin.events import (
    AnyEvent,
    Delta,
    Finished,
    ReasoningDelta,
    RefusalDelta,
    Started,
    TextDelta,
    ToolCallDelta,
    UsageReport,
)

_encode = msgspec.json.Encoder().encode
_END = b"}}" + sse.END
_TEXT, _THINKING = "text", "thinking"


def _event(name: bytes, rest: bytes = b"") -> bytes:
    return b'event: %b\ndata: {"type":"%b"%b}\n\n' % (name, name, rest)


_START = _event(
    b"message_start",
    b',"message":{"type":"message","id":%b,"role":"assistant","model":%b,"content":[],"stop_reason":null,'
    b'"stop_sequence":null,"usage":%b}',
)
"""How a stream begins: a `MessagesAnswer` that has nothing yet."""
_PING = _event(b"ping")
_STOP = _event(b"message_stop")
_REASONS: dict[str, StopReason] = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "refusal",
}


class MessageHead(msgspec.Struct, frozen=True, kw_only=True):
    """What an answer knows of its request. With *hides_thinking* its text goes into the signature alone."""

    id: str
    request_id: str
    model: str
    max_tokens: int | None
    hides_thinking: bool = False


class MessageStream:
    """Writes one streamed answer. Nothing is written before the first delta: until then another status may be told."""

    __slots__ = (
        "_at",
        "_beginning",
        "_cached_tokens",
        "_called",
        "_errors",
        "_finished",
        "_has_begun",
        "_has_failed",
        "_head",
        "_is_over",
        "_key",
        "_prompt_tokens",
        "_refused",
        "_thought",
        "origin",
    )
    content_type = sse.CONTENT_TYPE
    is_stream = True
    keep_alive = _PING

    def __init__(self, head: MessageHead, errors: Errors) -> None:
        self._head = head
        self._errors = errors
        self._at = -1
        self._key: int | str | None = None  # of the block that is written now: the index of a call, or a kind of text
        self._beginning = b""  # of its deltas
        self._thought: list[str] = []
        self._prompt_tokens = self._cached_tokens = 0
        self._has_begun = self._has_failed = self._is_over = self._refused = self._called = False
        self._finished: Finished | None = None
        self.origin: Origin | None = None

    def events(self, batch: Sequence[AnyEvent]) -> bytes:
        """See `Encoder.events`."""
        if len(batch) == 1:
            event = batch[0]
            if type(event) is TextDelta and self._key == _TEXT:
                return b"%b%b%b" % (self._beginning, _encode(event.text), _END)
            return self._written(event)
        return b"".join([self._written(event) for event in batch])

    def end(self) -> bytes:
        """See `Encoder.end`."""
        if self._has_failed:
            return b""
        if not self._is_over:
            raise EngineProtocolError("The engine's answer ended before its usage had come.")
        return _STOP

    def fail(self, error: BaseException) -> bytes:
        """See `Encoder.fail`."""
        self._has_failed = True
        self._key = None
        return b"event: error\ndata: %b\n\n" % self._errors.describe(error, self._head.request_id).body

    def _written(self, event: AnyEvent) -> bytes:
        if type(event) is Started:
            self._prompt_tokens, self._cached_tokens = event.prompt_tokens or 0, event.cached_tokens
            return b""
        if type(event) is UsageReport:
            return self._usage(event)
        if self._finished is not None or self._has_failed:
            raise EngineProtocolError("The engine sent more for an answer that has ended.")
        if type(event) is Finished:
            self._finished = event
            return self._begin() + self._close()
        return self._delta(event)

    def _delta(self, event: Delta) -> bytes:
        if type(event) is ToolCallDelta:
            return self._call(event)
        if type(event) is ReasoningDelta:
            return self._thinking(event.text)
        if type(event) is RefusalDelta:
            self._refused = True
        if not event.text and self._key != _TEXT:
            return self._begin()
        opening = b"" if self._key == _TEXT else self._open(_TEXT, b'{"type":"text","text":""}', b"text_delta", b"text")
        return opening + self._beginning + _encode(event.text) + _END

    def _thinking(self, text: str) -> bytes:
        opening = b""
        if self._key != _THINKING:
            begun = b'{"type":"thinking","thinking":"","signature":""}'
            opening = self._open(_THINKING, begun, b"thinking_delta", b"thinking")
        self._thought.append(text)
        return opening if self._head.hides_thinking else opening + self._beginning + _encode(text) + _END

    def _call(self, event: ToolCallDelta) -> bytes:
        opening = b""
        if self._key != event.call_index:
            if event.name is None:
                raise EngineProtocolError("The engine went on with a call that has ended.")
            self._called = True
            begun = b'{"type":"tool_use","id":%b,"name":%b,"input":{}}' % (_encode(event.id), _encode(event.name))
            opening = self._open(event.call_index, begun, b"input_json_delta", b"partial_json")
        return opening + self._beginning + _encode(event.arguments_fragment) + _END

    def _open(self, key: int | str, begun: bytes, delta: bytes, field: bytes) -> bytes:
        """Begin a block, of which *begun* is the empty form; its deltas have the type *delta* and more of *field*."""
        written = self._begin() + self._close()
        self._at += 1
        self._key = key
        self._beginning = (
            b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":{"type":"%b","%b":'
            % (self._at, delta, field)
        )
        return written + _event(b"content_block_start", b',"index":%d,"content_block":%b' % (self._at, begun))

    def _close(self) -> bytes:
        key, self._key = self._key, None
        if key is None:
            return b""
        written = _event(b"content_block_stop", b',"index":%d' % self._at)
        if key != _THINKING:
            return written
        signature = _signed("".join(self._thought), self._head)
        self._thought.clear()
        delta = b',"index":%d,"delta":{"type":"signature_delta","signature":%b}' % (self._at, _encode(signature))
        return _event(b"content_block_delta", delta) + written

    def _begin(self) -> bytes:
        if self._has_begun:
            return b""
        self._has_begun = True
        head, usage = self._head, _usage(self._prompt_tokens, self._cached_tokens, 0)
        return _START % (_encode(head.id), _encode(head.model), _encode(usage))

    def _usage(self, report: UsageReport) -> bytes:
        finished = self._finished
        if finished is None or self._has_failed:
            raise EngineProtocolError("The engine sent the usage before the answer had ended.")
        self._is_over = True
        reason = _reason(finished, report, self._head, refused=self._refused, called=self._called)
        stop = b',"delta":{"stop_reason":%b,"stop_sequence":%b},"usage":%b'
        return _event(b"message_delta", stop % (_encode(reason), _encode(finished.matched_stop), _encode(_of(report))))


class MessageBody:
    """Writes one answer as a whole."""

    __slots__ = ("_blocks", "_errors", "_finished", "_head", "_key", "_refused", "_report", "origin")
    content_type = b"application/json"
    is_stream = False
    keep_alive = b""

    def __init__(self, head: MessageHead, errors: Errors) -> None:
        self._head = head
        self._errors = errors
        self._blocks: list[tuple[ToolCallDelta | str, list[str]]] = []
        self._key: int | str | None = None
        self._finished: Finished | None = None
        self._report: UsageReport | None = None
        self._refused = False
        self.origin: Origin | None = None

    def events(self, batch: Sequence[AnyEvent]) -> bytes:
        """See `Encoder.events`."""
        for event in batch:
            if type(event) is UsageReport:
                self._report = event
            elif type(event) is Started:
                continue
            elif self._finished is not None:
                raise EngineProtocolError("The engine sent more for an answer that has ended.")
            elif type(event) is Finished:
                self._finished = event
            elif type(event) is ToolCallDelta:
                self._add(event.call_index, event, event.arguments_fragment)
            elif type(event) is ReasoningDelta:
                self._add(_THINKING, _THINKING, event.text)
            else:
                self._refused = self._refused or type(event) is RefusalDelta
                self._add(_TEXT, _TEXT, event.text)
        return b""

    def end(self) -> bytes:
        """See `Encoder.end`."""
        finished, report = self._finished, self._report
        if finished is None or report is None:
            raise EngineProtocolError("The engine's answer ended before it was complete.")
        blocks = [block for begun, parts in self._blocks if (block := self._block(begun, "".join(parts))) is not None]
        called = any(isinstance(block, ToolUseAnswer) for block in blocks)
        reason = _reason(finished, report, self._head, refused=self._refused, called=called)
        return _encode(_message(self._head, blocks, reason, finished.matched_stop, _of(report)))

    def fail(self, error: BaseException) -> bytes:
        """See `Encoder.fail`: nothing of a whole answer is sent before its end, so the error has its own answer."""
        return self._errors.describe(error, self._head.request_id).body

    def _add(self, key: int | str, begun: ToolCallDelta | str, text: str) -> None:
        if key != self._key:
            if isinstance(begun, ToolCallDelta) and begun.name is None:
                raise EngineProtocolError("The engine went on with a call that has ended.")
            self._key = key
            self._blocks.append((begun, []))
        self._blocks[-1][1].append(text)

    def _block(self, begun: ToolCallDelta | str, text: str) -> AnswerBlock | None:
        if isinstance(begun, ToolCallDelta):
            return ToolUseAnswer(id=begun.id or "", name=begun.name or "", input=_input(text))
        if begun == _THINKING:
            shown = "" if self._head.hides_thinking else text
            return ThinkingAnswer(thinking=shown, signature=_signed(text, self._head))
        return TextAnswer(text=text) if text else None


class CountBody:
    """Writes the count of a prompt's tokens."""

    __slots__ = ("_errors", "_request_id", "_tokens", "origin")
    content_type = b"application/json"
    is_stream = False
    keep_alive = b""

    def __init__(self, request_id: str, errors: Errors) -> None:
        self._request_id = request_id
        self._errors = errors
        self._tokens: int | None = None
        self.origin: Origin | None = None

    def events(self, batch: Sequence[AnyEvent]) -> bytes:
        """See `Encoder.events`."""
        for event in batch:
            if isinstance(event, UsageReport):
                self._tokens = event.prompt_tokens
        return b""

    def end(self) -> bytes:
        """See `Encoder.end`."""
        if self._tokens is None:
            raise EngineProtocolError("The engine has not counted.")
        return _encode(TokenCount(self._tokens))

    def fail(self, error: BaseException) -> bytes:
        """See `Encoder.fail`."""
        return self._errors.describe(error, self._request_id).body


def _message(
    head: MessageHead,
    content: list[AnswerBlock],
    reason: StopReason | None,
    sequence: str | None,
    usage: MessagesUsage,
) -> MessagesAnswer:
    return MessagesAnswer(
        id=head.id, model=head.model, content=content, stop_reason=reason, stop_sequence=sequence, usage=usage
    )


def _reason(finished: Finished, report: UsageReport, head: MessageHead, *, refused: bool, called: bool) -> StopReason:
    if refused:
        return "refusal"
    if called and finished.reason == "stop":  # of a call that was asked for by name the engine says no more
        return "tool_use"
    if finished.matched_stop is not None:
        return "stop_sequence"
    if finished.reason == "length" and head.max_tokens is not None and report.completion_tokens < head.max_tokens:
        return "model_context_window_exceeded"
    return _REASONS[finished.reason]


def _signed(thinking: str, head: MessageHead) -> str:
    return pack(thinking) if head.hides_thinking else sign(thinking)


def _input(text: str) -> object:
    if not text:
        return {}
    try:
        # As the model wrote it: the order of keys and the digits of numbers are its own.
        return msgspec.Raw(text.encode()) if isinstance(msgspec.json.decode(text), dict) else {"INVALID_JSON": text}
    except (msgspec.DecodeError, UnicodeEncodeError):
        return {"INVALID_JSON": text}


def _of(report: UsageReport) -> MessagesUsage:
    return _usage(report.prompt_tokens, report.cached_tokens, report.completion_tokens)


def _usage(prompt_tokens: int, cached_tokens: int, output_tokens: int) -> MessagesUsage:
    return MessagesUsage(
        input_tokens=prompt_tokens - cached_tokens, cache_read_input_tokens=cached_tokens, output_tokens=output_tokens
    )
