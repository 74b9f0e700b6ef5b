"""From events to answers: lines of JSON, or one body. Durations are in nanoseconds."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Literal

import msgspec

from enginehouse.dialects.endpoint import Errors, Origin
from enginehouse.dialects.openai.chat.answers import TokenEntry
from enginehouse.dialects.openai.chat.encode import token_entry
from enginehouse_plugin.errors import EngineProtocolError
from enginehouse_plugin.events import (
    AnyEvent,
    Finished,
    ReasoningDelta,
    RefusalDelta,
    Started,
    TextDelta,
    ToolCallDelta,
    UsageReport,
)

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode

Kind = Literal["chat", "generate"]
_LINES: dict[Kind, tuple[bytes, bytes]] = {
    "chat": (b'Z","message":{"role":"assistant","content":', b'},"done":false}\n'),
    "generate": (b'Z","response":', b',"done":false}\n'),
}
"""What stands before and behind the text of a line that has nothing else: from the end of its time on."""


class CalledFunction(msgspec.Struct, frozen=True):
    """A function that the model calls, with its arguments as an object."""

    index: int
    name: str
    arguments: dict[str, Any]  # what the tool's schema says


class ToolCall(msgspec.Struct, frozen=True):
    """A call, whole."""

    id: str
    function: CalledFunction


class AnswerMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A message, or a piece of one."""

    role: Literal["assistant"] = "assistant"
    content: str = ""
    thinking: str | msgspec.UnsetType = msgspec.UNSET
    tool_calls: list[ToolCall] | msgspec.UnsetType = msgspec.UNSET


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """A line of a stream, or a whole answer: of a chat with `message`, of a prompt with `response`.

    What follows `done` is there when that is true. `prompt_eval_duration` is the time to the first piece of the answer
    and `eval_duration` the time from there on, as this router saw them; loading is part of the former.
    """

    model: str
    created_at: str
    message: AnswerMessage | msgspec.UnsetType = msgspec.UNSET
    response: str | msgspec.UnsetType = msgspec.UNSET
    thinking: str | msgspec.UnsetType = msgspec.UNSET
    logprobs: list[TokenEntry] | msgspec.UnsetType = msgspec.UNSET
    done: bool
    done_reason: Literal["stop", "length"] | msgspec.UnsetType = msgspec.UNSET
    total_duration: int | msgspec.UnsetType = msgspec.UNSET
    load_duration: int | msgspec.UnsetType = msgspec.UNSET
    prompt_eval_count: int | msgspec.UnsetType = msgspec.UNSET
    prompt_eval_duration: int | msgspec.UnsetType = msgspec.UNSET
    eval_count: int | msgspec.UnsetType = msgspec.UNSET
    eval_duration: int | msgspec.UnsetType = msgspec.UNSET


class _Call:
    """A call that is being made."""

    __slots__ = ("arguments", "id", "name")

    def __init__(self, event: ToolCallDelta) -> None:
        self.id = event.id or ""
        self.name = event.name or ""
        self.arguments: list[str] = []

    def made(self, index: int) -> ToolCall | None:
        """The call; None: it was cut off before its end."""
        try:
            arguments = _decode("".join(self.arguments) or "{}")
        except msgspec.DecodeError:
            return None
        return ToolCall(self.id, CalledFunction(index, self.name, arguments)) if isinstance(arguments, dict) else None


class Writer:
    """Writes one answer: a line for each event that has a form of its own, or all of them as one."""

    __slots__ = (
        "_before", "_begins", "_behind", "_calls", "_ended", "_errors", "_first_ns", "_has_failed", "_has_plain",
        "_kind", "_logprobs", "_model", "_reason", "_second", "_shown", "_stamp", "_started_ns", "_text", "_thought",
        "_usage", "content_type", "is_stream", "origin",
    )  # fmt: skip
    keep_alive = b""  # there is no line that says nothing

    def __init__(self, kind: Kind, model: str, errors: Errors, *, is_stream: bool, logprobs: bool) -> None:
        self._kind = kind
        self._model = model
        self._errors = errors
        self.is_stream = is_stream
        self.content_type = b"application/x-ndjson" if is_stream else b"application/json; charset=utf-8"
        self.origin: Origin | None = None
        self._logprobs: list[TokenEntry] | None = [] if logprobs else None
        self._started_ns = time.monotonic_ns()
        self._first_ns: int | None = None
        self._text: list[str] = []
        self._thought: list[str] = []
        self._calls: dict[int, _Call] = {}
        self._shown = 0  # calls that have been sent
        self._reason: Literal["stop", "length"] | None = None
        self._usage: UsageReport | None = None
        self._has_failed = False
        self._has_plain = False  # a line with nothing but text is put together from these
        self._begins = b'{"model":%b,"created_at":"' % _encode(model)
        self._second, self._stamp = 0, b""  # the beginning up to the second
        self._before, self._behind = _LINES[kind]

    def events(self, batch: Sequence[AnyEvent]) -> bytes:
        """See `Encoder.events`."""
        if len(batch) == 1:
            event = batch[0]
            if type(event) is TextDelta and self._has_plain and self._reason is None:
                now = time.time()
                second = int(now)
                if second != self._second:
                    self._second, self._stamp = second, self._begins + _second(second)
                micro = int((now - second) * 1_000_000)
                return b"%b.%06d%b%b%b" % (self._stamp, micro, self._before, _encode(event.text), self._behind)
            return self._take(event)
        return b"".join([self._take(event) for event in batch])

    def end(self) -> bytes:
        """See `Encoder.end`."""
        if self._has_failed:
            return b""
        if self._reason is None or self._usage is None:
            raise EngineProtocolError("The engine's answer ended before its end and its usage had come.")
        now = time.monotonic_ns()
        first = self._first_ns or now
        last = self._piece(
            "" if self.is_stream else "".join(self._text),
            thinking=None if self.is_stream else "".join(self._thought) or None,
            calls=self._made(len(self._calls)) or None,
            logprobs=None if self.is_stream else self._logprobs,
            done=True,
            done_reason=self._reason,
            total_duration=now - self._started_ns,
            load_duration=0,
            prompt_eval_count=self._usage.prompt_tokens,
            prompt_eval_duration=first - self._started_ns,
            eval_count=self._usage.completion_tokens,
            eval_duration=now - first,
        )
        return last if self.is_stream else last[:-1]

    def fail(self, error: BaseException) -> bytes:
        """See `Encoder.fail`."""
        self._has_failed, self._has_plain = True, False
        body = self._errors.describe(error).body
        return body + b"\n" if self.is_stream else body

    def _take(self, event: AnyEvent) -> bytes:
        if type(event) is Started:
            return b""
        if type(event) is UsageReport:
            self._usage = event
            return b""
        if self._reason is not None:
            raise EngineProtocolError("The engine sent more of an answer that has ended.")
        if self._first_ns is None:
            self._first_ns = time.monotonic_ns()
            self._has_plain = self.is_stream and self._logprobs is None
        if type(event) is Finished:
            self._reason = "length" if event.reason == "length" else "stop"
            return b""
        if type(event) is ToolCallDelta:
            return self._take_call(event)
        return self._take_text(event)

    def _take_text(self, event: TextDelta | ReasoningDelta | RefusalDelta) -> bytes:
        is_thought = type(event) is ReasoningDelta
        entries = None
        if self._logprobs is not None and not is_thought:
            entries = [token_entry(entry) for entry in event.logprobs or ()]
        if self.is_stream:
            if is_thought:
                return self._piece("", thinking=event.text)
            return self._piece(event.text, logprobs=entries)
        (self._thought if is_thought else self._text).append(event.text)
        if entries and self._logprobs is not None:
            self._logprobs += entries
        return b""

    def _take_call(self, event: ToolCallDelta) -> bytes:
        call = self._calls.get(event.call_index)
        if call is None:
            call = self._calls[event.call_index] = _Call(event)
        call.arguments.append(event.arguments_fragment)
        if not self.is_stream or len(self._calls) == self._shown + 1:
            return b""
        made = self._made(len(self._calls) - 1)  # those before the one that is being made
        return self._piece("", calls=made) if made else b""

    def _made(self, count: int) -> list[ToolCall]:
        """The first *count* calls, without those that were sent before and one that was cut off."""
        calls = [call.made(index) for index, call in enumerate(self._calls.values())]
        first, self._shown = self._shown, count
        return [call for call in calls[first:count] if call is not None]

    def _piece(
        self,
        text: str,
        *,
        thinking: str | None = None,
        calls: list[ToolCall] | None = None,
        logprobs: list[TokenEntry] | None = None,
        done: bool = False,
        **figures: Any,  # the fields behind `done`
    ) -> bytes:
        thought = msgspec.UNSET if thinking is None else thinking
        if self._kind == "chat":
            shown = msgspec.UNSET if calls is None else calls
            message = AnswerMessage(content=text, thinking=thought, tool_calls=shown)
            answer: dict[str, Any] = {"message": message}
        else:
            answer = {"response": text, "thinking": thought}
        entries = msgspec.UNSET if logprobs is None else logprobs
        return (
            _encode(Answer(model=self._model, created_at=_now(), logprobs=entries, done=done, **answer, **figures))
            + b"\n"
        )


def _now() -> str:
    second, rest_ns = divmod(time.time_ns(), 1_000_000_000)
    return f"{_second(second).decode()}.{rest_ns // 1000:06d}Z"


@lru_cache(maxsize=2)
def _second(second: int) -> bytes:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second)).encode()
