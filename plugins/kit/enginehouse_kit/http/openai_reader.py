"""From the chunks of an answer on the OpenAI chat wire to events."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import msgspec

from enginehouse_kit.text.forced_calls import new_call_id
from enginehouse_plugin.errors import EngineFailure, EnginehouseError, EngineProtocolError
from enginehouse_plugin.events import (
    AnyEvent,
    Channel,
    Finished,
    FinishReason,
    ReasoningDelta,
    RefusalDelta,
    Started,
    TextDelta,
    ToolCallDelta,
    UsageReport,
)

from .likeness import TextLikeness, text_likeness
from .openai_schema import WireChoice, WireDelta, WireError, WireToolCall, WireUsage, read_error

if TYPE_CHECKING:
    from .openai import OpenAIDialect

_REASONS: dict[str, FinishReason] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
}

_TRIES: Final = 2
"""Chunks in a row that are looked at for a likeness: an engine of which none are alike pays for no more."""


class AnswerReader:
    """Reads one answer: what has come of it, and whether that is in order (see `run.Reader`)."""

    __slots__ = (
        "_announced",
        "_completion_tokens",
        "_dialect",
        "_ignored",
        "_is_plain",
        "_is_started",
        "_likeness",
        "_likeness_tries",
        "_n",
        "_stops",
        "_unfinished",
        "_usage",
    )

    def __init__(self, dialect: OpenAIDialect, n: int, stops: Sequence[str] = ()) -> None:
        self._dialect = dialect
        self._ignored: tuple[str, ...] = ()
        self._stops = stops
        self._is_plain = dialect.is_plain
        self._n = n
        self._is_started = False
        self._unfinished = set(range(n))
        self._completion_tokens = [0] * n
        self._announced: set[tuple[int, int]] = set()  # calls whose id and name have been given
        self._usage: WireUsage | None = None
        self._likeness: TextLikeness | None = None  # of the one choice's last chunk to the next
        self._likeness_tries = _TRIES if self._is_plain and n == 1 else 0

    def begin(self, events: list[AnyEvent], headers: Sequence[tuple[bytes, bytes]]) -> None:  # noqa: ARG002
        """See `Reader.begin`; the first chunk may tell of the prompt, so that it is waited for."""
        self._ignored = self._dialect.ignored_of(headers)

    def refusal(self, status: int, body: bytes) -> EnginehouseError:
        """See `Reader.refusal`."""
        return self._dialect.error_of(status, read_error(body))

    def take(self, payload: bytes, events: list[AnyEvent]) -> None:
        """See `Reader.take`."""
        dialect = self._dialect
        try:
            if self._likeness is not None and (text := self._likeness.text_of(payload)) is not None:
                count = self._completion_tokens[0] = self._completion_tokens[0] + 1
                events.append(TextDelta(0, text, count))
                self._likeness_tries = _TRIES
                return
            chunk = dialect.decode(payload)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as problem:
            raise EngineProtocolError(f"The engine's answer cannot be read: {problem}") from problem
        if chunk.error is not None:
            error = WireError(message=chunk.error) if isinstance(chunk.error, str) else chunk.error
            raise dialect.error_of(error.code if isinstance(error.code, int) else 500, error)
        usage: WireUsage | None = chunk.usage if self._is_plain else dialect.usage_of(chunk)
        choices = chunk.choices
        if self._is_started and usage is None and len(choices) == 1:
            choice = choices[0]
            at, delta = choice.index, choice.delta
            if (  # most chunks of a stream: more text of a choice that goes on, and nothing else
                delta is not None
                and delta.content
                and choice.finish_reason is None
                and choice.logprobs is None
                and delta.tool_calls is None
                and not delta.refusal
                and at in self._unfinished
                and not (
                    (delta.reasoning_content or delta.reasoning) if self._is_plain else dialect.reasoning_of(delta)
                )
            ):
                count = self._completion_tokens[at] = self._completion_tokens[at] + 1
                events.append(TextDelta(at, delta.content, count))
                if self._likeness_tries:
                    self._likeness_tries -= 1
                    self._likeness = text_likeness(payload, delta.content, self._text_of) or self._likeness
                return
        found: list[AnyEvent] = events if self._is_started else []
        for choice in choices:
            self._take_choice(choice, usage, len(choices), found)
        if usage is not None:
            self._usage = usage
        if not self._is_started and (found or usage is not None):
            self._is_started = True
            ignored = self._ignored
            if usage is None:
                events.append(Started(ignored=ignored))
            else:
                events.append(Started(usage.prompt_tokens, usage.cached_tokens, ignored))
            events += found

    def finish(self, events: list[AnyEvent]) -> None:
        """See `Reader.finish`: the total, once every choice has finished."""
        if self._unfinished:
            raise EngineProtocolError("The engine's answer ended before its choices had finished.")
        usage = self._usage
        if usage is None:
            raise EngineProtocolError("The engine gave no usage with its answer.")
        events.append(
            UsageReport(usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens, usage.reasoning_tokens)
        )

    def _text_of(self, payload: bytes) -> str | None:
        try:
            delta = self._dialect.decode(payload).choices[0].delta
        except msgspec.MsgspecError:
            return None
        return None if delta is None else delta.content

    def _take_choice(self, choice: WireChoice, usage: WireUsage | None, together: int, events: list[AnyEvent]) -> None:
        at = choice.index
        if not 0 <= at < self._n:
            raise EngineProtocolError(f"The engine answered with choice {at}; {self._n} were asked for.")
        before = len(events)
        delta = choice.delta or choice.message
        if delta is not None:
            self._take_delta(at, choice, delta, usage, together, events)
        if at not in self._unfinished:
            if len(events) > before:
                raise EngineProtocolError(f"The engine went on with choice {at} after it had finished.")
        elif choice.finish_reason is not None:
            reason = _REASONS.get(choice.finish_reason)
            if reason is None:
                raise EngineFailure(f"The engine ended the answer with '{choice.finish_reason}'.")
            self._unfinished.discard(at)
            self._likeness = None  # nothing more may come
            matched = self._dialect.matched_stop(choice)
            # Servers put other words into the same field, such as why the answer ended.
            events.append(Finished(at, reason, matched if matched in self._stops else None))

    def _take_delta(
        self,
        at: int,
        choice: WireChoice,
        delta: WireDelta,
        usage: WireUsage | None,
        together: int,
        events: list[AnyEvent],
    ) -> None:
        text = delta.content
        reasoning = self._dialect.reasoning_of(delta)
        logprobs = None
        wire = choice.logprobs
        if wire is not None and (wire.content or wire.refusal):
            # A reasoning token's logprob stands with the content's; its chunk tells which it is.
            channel: Channel = "refusal" if wire.refusal else "reasoning" if reasoning and not text else "content"
            logprobs = tuple(self._dialect.token_logprob(one, channel) for one in wire.refusal or wire.content or ())
        if not (text or reasoning or delta.refusal or delta.tool_calls or logprobs):
            if usage is not None and together == 1:
                self._completion_tokens[at] = max(self._completion_tokens[at], usage.completion_tokens)
            return
        count = self._count(at, usage, together, len(logprobs) if logprobs else 1)
        # Logprobs go with the first that is there of text, reasoning, refusal.
        if reasoning:
            events.append(ReasoningDelta(at, reasoning, count, None if text else logprobs))
        if delta.refusal:
            events.append(RefusalDelta(at, delta.refusal, count, None if text or reasoning else logprobs))
        if text or (logprobs and not reasoning and not delta.refusal):
            events.append(TextDelta(at, text or "", count, logprobs))
        for index, call in enumerate(delta.tool_calls or ()):
            events.append(self._call(at, index, call, count))

    def _count(self, at: int, usage: WireUsage | None, together: int, tokens: int) -> int:
        if usage is None:  # no running counts: each chunk holds a token at least
            count = self._completion_tokens[at] + tokens
        elif together == 1:
            count = usage.completion_tokens
        else:  # a whole answer tells the sum alone: the parts are known from logprobs, or taken as equal
            count = tokens if tokens > 1 else usage.completion_tokens // together
        self._completion_tokens[at] = count
        return count

    def _call(self, at: int, index: int, call: WireToolCall, count: int) -> ToolCallDelta:
        call_index = index if call.index is None else call.index
        arguments = call.function.arguments or ""
        if (at, call_index) in self._announced:
            return ToolCallDelta(at, call_index, count, arguments_fragment=arguments)
        if not call.function.name:
            raise EngineProtocolError("The engine began a tool call without a name.")
        self._announced.add((at, call_index))
        return ToolCallDelta(at, call_index, count, call.id or new_call_id(), call.function.name, arguments)
