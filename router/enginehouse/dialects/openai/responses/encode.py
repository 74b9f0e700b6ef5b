"""From events to answers: one JSON body, or the events of a stream.

What a delta brings is put together from bytes made once per item and the encoding of what is new.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import msgspec

from enginehouse.dialects.endpoint import Errors, Origin
from enginehouse.dialects.openai import errors
from enginehouse.dialects.openai.errors import ErrorEnvelope
from enginehouse.dialects.openai.responses.answers import (
    AnswerReasoning,
    AnswerSummary,
    ResponseFailure,
)
from enginehouse.dialects.openai.responses.gathered import Answer, Called, Form, Gathered, Message, Reasoning, entries
from enginehouse.dialects.openai.responses.head import Head, Keep
from enginehouse.dialects.openai.responses.items import ItemStatus
from enginehouse.wire import sse
from enginehouse_plugin.errors import EnginehouseError, EngineProtocolError, RequestError
from enginehouse_plugin.events import (
    AnyEvent,
    Delta,
    Finished,
    Started,
    TextDelta,
    ToolCallDelta,
    UsageReport,
)

_encode = msgspec.json.Encoder().encode
_envelope = msgspec.json.Decoder(ErrorEnvelope).decode
_EVENT = b'event: %b\ndata: {"type":"%b","sequence_number":%d,%b}\n\n'
_STEP = 64
_PADDING = "".join(random.Random(0).choices("abcdefghijklmnopqrstuvwxyz0123456789", k=_STEP)).encode()  # noqa: S311  # padding, no secret


class ResponseBody:
    """Writes one answer as a whole."""

    __slots__ = ("_answer", "_errors", "_head", "_keep", "_usage", "origin")
    content_type = b"application/json"
    is_stream = False
    keep_alive = b""

    def __init__(self, head: Head, form: Form, *, keep: Keep | None = None, errors: Errors = errors) -> None:
        self._head = head
        self._answer = Answer(form)
        self._keep = keep
        self._errors = errors
        self._usage: UsageReport | None = None
        self.origin: Origin | None = None

    def events(self, batch: Sequence[AnyEvent]) -> bytes:
        """See `Encoder.events`."""
        for event in batch:
            if type(event) is UsageReport:
                self._usage = event
            elif type(event) is Finished:
                self._answer.finish(event.reason)
            elif type(event) is not Started:
                self._answer.take(event)
        return b""

    def end(self) -> bytes:
        """See `Encoder.end`."""
        answer, usage = self._answer, self._usage
        if answer.finish_reason is None:
            raise EngineProtocolError("The engine's answer ended before it had finished.")
        if usage is None:
            raise EngineProtocolError("The engine's answer ended before the usage had come.")
        output, why = _encode(answer.made()), answer.incomplete
        status = _status(answer)
        body = self._head.state(status, output, usage=usage, incomplete=why)
        if self._keep is not None:
            self._keep(body, output, status)
        return body

    def fail(self, error: BaseException) -> bytes:
        """See `Encoder.fail`; called once an answer has begun, which is when it goes on without its client."""
        if self._keep is not None:
            output = _encode(self._answer.made())
            self._keep(self._head.state("failed", output, error=_failure(self._errors, error)), output, "failed")
        return self._errors.describe(error).body


class ResponseStream:
    """Writes one streamed answer: numbered events, each item and part with its beginning and its end."""

    __slots__ = (
        "_answer",
        "_begun",
        "_delta",
        "_errors",
        "_head",
        "_is_over",
        "_keep",
        "_number",
        "_obfuscation",
        "_open",
        "_output",
        "_part",
        "_parts",
        "_pieces",
        "origin",
    )
    content_type = sse.CONTENT_TYPE
    is_stream = True
    keep_alive = sse.KEEP_ALIVE

    def __init__(
        self,
        head: Head,
        form: Form,
        *,
        obfuscation: bool = False,
        keep: Keep | None = None,
        errors: Errors = errors,
    ) -> None:
        self._head = head
        self._answer = Answer(form)
        self._keep = keep
        self._errors = errors
        self._obfuscation = obfuscation
        self._number = 0
        self._begun = False
        self._is_over = False
        self._open: Gathered | None = None
        self._part = 0  # which of the open message's parts is open
        self._delta = b""  # how a delta of what is open begins
        self._parts: list[bytes] = []  # of the open message, those that have ended
        self._output: list[bytes] = []  # items that have ended
        self._pieces: list[str] | None = None  # of the open part, where more of it is text and nothing else
        self.origin: Origin | None = None

    # ---- what an encoder does ----

    def events(self, batch: Sequence[AnyEvent]) -> bytes:
        """See `Encoder.events`. Nothing is sent before the first delta, so that what fails until then has a status."""
        if len(batch) == 1:
            event = batch[0]
            if type(event) is TextDelta and self._pieces is not None and not event.choice:
                self._pieces.append(event.text)
                number = self._number
                self._number = number + 1
                return b'%b%b,"logprobs":[],"sequence_number":%d}\n\n' % (self._delta, _encode(event.text), number)
            return self._event(event)
        return b"".join([self._event(event) for event in batch])

    def end(self) -> bytes:
        """See `Encoder.end`."""
        if not self._is_over:
            raise EngineProtocolError("The engine's answer ended before it had finished and its usage had come.")
        return b""

    def fail(self, error: BaseException) -> bytes:
        """See `Encoder.fail`: a response that has begun has failed; before that there is only the error."""
        if self._is_over:
            return b""
        self._is_over = True
        self._pieces = None
        if not self._begun:
            told = _envelope(self._errors.describe(error).body).error
            return self._send(
                b"error",
                b'"code":%b,"message":%b,"param":%b' % (_encode(told.code), _encode(told.message), _encode(told.param)),
            )
        output = _encode(self._answer.made())
        state = self._head.state("failed", output, error=_failure(self._errors, error))
        if self._keep is not None:
            self._keep(state, output, "failed")
        return self._send(b"response.failed", b'"response":' + state)

    # ---- events ----

    def _event(self, event: AnyEvent) -> bytes:
        if type(event) is Started:
            return b""
        if self._is_over:
            raise EngineProtocolError("The engine sent more for an answer that has ended.")
        if type(event) is UsageReport:
            return self._complete(event)
        opening = b"" if self._begun else self._begin()
        if type(event) is Finished:
            return opening + self._finish(event)
        item = self._answer.take(event)
        if item is not self._open:
            opening += self._change(item)
        elif type(item) is Message and len(item.parts) - 1 != self._part:
            opening += self._close_part(item) + self._open_part(item)
        return opening + self._more(item, event)

    def _begin(self) -> bytes:
        self._begun = True
        state = b'"response":' + self._head.state("in_progress")
        return self._send(b"response.created", state) + self._send(b"response.in_progress", state)

    def _more(self, item: Gathered, event: Delta) -> bytes:
        if type(event) is ToolCallDelta:
            # The input of a custom tool is known at its end.
            is_shown = event.arguments_fragment and not (type(item) is Called and item.is_custom)
            return self._numbered(self._delta + _encode(event.arguments_fragment)) if is_shown else b""
        data = self._delta + _encode(event.text)
        if type(event) is TextDelta:
            with_logprobs = self._answer.form.logprobs and event.logprobs
            data += b',"logprobs":' + (_encode(entries(event.logprobs or ())) if with_logprobs else b"[]")
        return self._numbered(data)

    def _finish(self, event: Finished) -> bytes:
        was_empty = not self._answer.items
        self._answer.finish(event.reason)
        opening = self._change(self._answer.items[0]) if was_empty else b""
        return opening + self._close(self._answer.last_status)

    def _complete(self, usage: UsageReport) -> bytes:
        answer = self._answer
        if answer.finish_reason is None:
            raise EngineProtocolError("The engine sent the usage before the answer had finished.")
        self._is_over = True
        status = _status(answer)
        output = b"[%b]" % b",".join(self._output)
        state = self._head.state(status, output, usage=usage, incomplete=answer.incomplete)
        if self._keep is not None:
            self._keep(state, output, status)
        return self._send(b"response." + status.encode(), b'"response":' + state)

    # ---- items ----

    def _change(self, item: Gathered) -> bytes:
        """End the item that is open, and begin *item*."""
        closing = self._close("completed")
        if self._answer.items[-1] is not item:
            raise EngineProtocolError("The engine went back to a tool call after it had begun another.")
        self._open = item
        begun = _MESSAGE % (item.id.encode(), b"in_progress", b"") if type(item) is Message else _encode(_begun(item))
        added = self._send(b"response.output_item.added", b'"output_index":%d,"item":%b' % (self._at, begun))
        if type(item) is Message:
            return closing + added + self._open_part(item)
        if type(item) is Called:
            self._delta = self._delta_of(b"response.function_call_arguments.delta", item)
            return closing + added
        if type(item) is Reasoning and item.is_summary:
            self._delta = self._delta_of(b"response.reasoning_summary_text.delta", item, b'"summary_index":0')
            part = self._send(
                b"response.reasoning_summary_part.added",
                self._where(item, b'"summary_index":0') + b',"part":{"type":"summary_text","text":""}',
            )
            return closing + added + part
        self._delta = self._delta_of(b"response.reasoning_text.delta", item, b'"content_index":0')
        part = self._send(
            b"response.content_part.added",
            self._where(item, b'"content_index":0') + b',"part":{"type":"reasoning_text","text":""}',
        )
        return closing + added + part

    def _close(self, status: ItemStatus) -> bytes:
        item = self._open
        if item is None:
            return b""
        ending = b""
        if type(item) is Message:
            ending = self._close_part(item)
            made = _MESSAGE % (item.id.encode(), status.encode(), b",".join(self._parts))
            self._parts.clear()
        else:
            made = _encode(item.made(status))
        if type(item) is Called:
            ending = self._close_call(item)
        elif type(item) is Reasoning:
            ending = self._close_reasoning(item)
        ending += self._send(b"response.output_item.done", b'"output_index":%d,"item":%b' % (self._at, made))
        self._output.append(made)
        self._open = None
        return ending

    def _open_part(self, item: Message) -> bytes:
        self._part = len(item.parts) - 1
        index = b'"content_index":%d' % self._part
        is_refusal = item.parts[-1].is_refusal
        kind = b"response.refusal.delta" if is_refusal else b"response.output_text.delta"
        self._delta = self._delta_of(kind, item, index)
        part = b'{"type":"refusal","refusal":""}' if is_refusal else _TEXT % (b'""', b"[]")
        if not is_refusal and not self._obfuscation and not self._answer.form.logprobs:
            self._pieces = item.parts[-1].pieces
        return self._send(b"response.content_part.added", self._where(item, index) + b',"part":' + part)

    def _close_part(self, item: Message) -> bytes:
        part = item.parts[self._part]
        self._pieces = None
        text = _encode(part.text)
        where = self._where(item, b'"content_index":%d' % self._part)
        if part.is_refusal:
            done = self._send(b"response.refusal.done", where + b',"refusal":' + text)
            made = b'{"type":"refusal","refusal":%b}' % text
        else:
            logprobs = _encode(part.logprobs) if part.logprobs else b"[]"
            done = self._send(b"response.output_text.done", b'%b,"text":%b,"logprobs":%b' % (where, text, logprobs))
            made = _TEXT % (text, logprobs)
        self._parts.append(made)
        return done + self._send(b"response.content_part.done", where + b',"part":' + made)

    def _close_call(self, item: Called) -> bytes:
        where, text = self._where(item), _encode(item.text)
        if not item.is_custom:
            return self._send(
                b"response.function_call_arguments.done",
                b'%b,"name":%b,"arguments":%b' % (where, _encode(item.name), text),
            )
        return self._send(b"response.custom_tool_call_input.delta", where + b',"delta":' + text) + self._send(
            b"response.custom_tool_call_input.done", where + b',"input":' + text
        )

    def _close_reasoning(self, item: Reasoning) -> bytes:
        text = item.text
        if item.is_summary:
            where = self._where(item, b'"summary_index":0')
            return self._send(
                b"response.reasoning_summary_text.done", where + b',"text":' + _encode(text)
            ) + self._send(
                b"response.reasoning_summary_part.done", where + b',"part":' + _encode(AnswerSummary(text=text))
            )
        where = self._where(item, b'"content_index":0')
        return self._send(b"response.reasoning_text.done", where + b',"text":' + _encode(text)) + self._send(
            b"response.content_part.done", where + b',"part":' + _encode(AnswerReasoning(text=text))
        )

    # ---- bytes ----

    @property
    def _at(self) -> int:
        return len(self._output)

    def _where(self, item: Gathered, index: bytes = b"") -> bytes:
        return b'"item_id":"%b","output_index":%d%b' % (item.id.encode(), self._at, b"," + index if index else b"")

    def _delta_of(self, kind: bytes, item: Gathered, index: bytes = b"") -> bytes:
        return b'event: %b\ndata: {"type":"%b",%b,"delta":' % (kind, kind, self._where(item, index))

    def _numbered(self, data: bytes) -> bytes:
        number = self._number
        self._number = number + 1
        if self._obfuscation:
            data += b',"obfuscation":"%b"' % _PADDING[: -len(data) % _STEP]
        return b'%b,"sequence_number":%d}\n\n' % (data, number)

    def _send(self, kind: bytes, fields: bytes) -> bytes:
        number = self._number
        self._number = number + 1
        return _EVENT % (kind, kind, number, fields)


_TEXT = b'{"type":"output_text","text":%b,"annotations":[],"logprobs":%b}'
_MESSAGE = b'{"type":"message","id":"%b","status":"%b","role":"assistant","content":[%b]}'
"""An `AnswerText` and an `OutputMessage`, put together from what is encoded already."""


def _begun(item: Gathered) -> Any:  # an item, or one that has nothing yet
    """*item* as it is told when it begins: without what has come of it already."""
    made = item.made("in_progress")
    for name, nothing in (("content", []), ("summary", []), ("arguments", "")):
        if getattr(made, name, None):
            setattr(made, name, nothing)
    return made


def _status(answer: Answer) -> Any:  # one of the two literals
    return "completed" if answer.incomplete is None else "incomplete"


def _failure(told_by: Errors, error: BaseException) -> ResponseFailure:
    told = _envelope(told_by.describe(error).body).error
    if isinstance(error, EnginehouseError) and error.code == "rate_limit_exceeded":
        return ResponseFailure(code="rate_limit_exceeded", message=told.message)
    is_request = isinstance(error, RequestError)
    return ResponseFailure(code="invalid_prompt" if is_request else "server_error", message=told.message)
