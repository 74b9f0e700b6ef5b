"""From events to answers: one JSON body, or the chunks of a stream.

A chunk is put together from bytes made once per stream and the encoding of what is new: a relayed token costs
one encode of its text.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Final

import msgspec

from enginehouse.dialects.endpoint import Errors, Origin
from enginehouse.dialects.openai import errors
from enginehouse.dialects.openai.chat.answers import (
    AnswerHead,
    AnswerMessage,
    CalledFunction,
    ChatAnswer,
    Choice,
    ChoiceLogprobs,
    CompletionDetails,
    PromptDetails,
    TokenEntry,
    ToolCallAnswer,
    TopEntry,
    Usage,
)
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

DONE = sse.event(b"[DONE]")


def _end_with(usage: bytes) -> tuple[bytes, bytes]:
    """Ends of a chunk that tells *usage*: after its choices, and after the delta of a choice that goes on."""
    end = b',"usage":' + usage + b"}" + sse.END
    return end, b',"logprobs":null,"finish_reason":null}]' + end


_NO_USAGE = (b"}" + sse.END, b',"logprobs":null,"finish_reason":null}]}' + sse.END)
_USAGE_TO_COME = _end_with(b"null")

_NO_FINGERPRINT = b',"system_fingerprint":null'
_encode: Final = msgspec.json.Encoder().encode
_LOWEST_LOGPROB = -9999.0  # stands for minus infinity, which JSON does not have
_OBFUSCATION_STEP = 64
_OBFUSCATION = "".join(random.Random(0).choices("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", k=64))  # noqa: S311  # padding, no secret


class ChatStream:
    """Writes one streamed answer: a chunk for each event that has a form of its own."""

    __slots__ = (
        "_begun",
        "_choices",
        "_end",
        "_ended",
        "_errors",
        "_has_failed",
        "_held",
        "_holds_last",
        "_logprobs",
        "_obfuscation",
        "_plain",
        "_prefix",
        "_running",
        "_text",
        "_text_end",
        "_wants_usage",
        "origin",
    )
    content_type = sse.CONTENT_TYPE
    is_stream = True
    keep_alive = sse.KEEP_ALIVE

    def __init__(
        self,
        head: AnswerHead,
        *,
        n: int = 1,
        logprobs: bool = False,
        usage: bool = False,
        usage_on_last: bool = False,
        obfuscation: bool = False,
        running_usage: bool = False,
        errors: Errors = errors,
    ) -> None:
        self._errors = errors
        self._running = RunningUsage(n) if running_usage else None
        self._held: bytes | None = None  # the last chunk of the last choice, until the usage is known
        self._holds_last = usage_on_last
        self._logprobs = logprobs
        self._wants_usage = usage
        self._obfuscation = obfuscation
        tier = b"" if head.service_tier is None else b',"service_tier":' + _encode(head.service_tier)
        self._prefix = (
            sse.BEGIN
            + b'{"id":%b,"object":"chat.completion.chunk","created":%d,"model":%b%b%b,"choices":['
            % (_encode(head.id), head.created, _encode(head.model), _NO_FINGERPRINT, tier)
        )
        self._choices = [self._prefix + b'{"index":0,"delta":']
        for index in range(1, n):
            self._choices.append(self._prefix + b'{"index":%d,"delta":' % index)
        self._begun = [False] * n
        self._ended = [False] * n
        self._text: dict[int, bytes] = {}  # of choices that go on: how a chunk begins which has text and nothing else
        self._end, self._plain = _USAGE_TO_COME if usage else _NO_USAGE
        self._text_end = b"}" + self._plain  # and how it ends
        self._has_failed = False
        self.origin: Origin | None = None

    def events(self, batch: Sequence[AnyEvent]) -> bytes:
        """See `Encoder.events`. The first chunk of a choice brings its role."""
        if len(batch) == 1:
            event = batch[0]
            if type(event) is TextDelta and (beginning := self._text.get(event.choice)) is not None:
                return beginning + _encode(event.text) + self._text_end
            return self._chunk(event)
        return b"".join([self._chunk(event) for event in batch])

    def end(self) -> bytes:
        """See `Encoder.end`."""
        if self._has_failed:
            return b""
        if not all(self._ended):
            raise EngineProtocolError("The engine's answer ended before every choice had finished.")
        if self._held is not None:
            raise EngineProtocolError("The engine's answer ended before the usage had come.")
        return DONE

    def fail(self, error: BaseException) -> bytes:
        """See `Encoder.fail`."""
        self._has_failed = True
        self._text.clear()
        self._held = None
        self._ended = [True] * len(self._ended)
        return sse.event(self._errors.describe(error).body)

    def _chunk(self, event: AnyEvent) -> bytes:
        if self._running is not None and (of := self._running.note(event)) is not None:
            self._end, self._plain = _end_with(self._running.told(of))
        if type(event) is TextDelta:
            delta = b'{"content":' + _encode(event.text) + b"}"
            logprobs = event.logprobs
        elif type(event) is ToolCallDelta:
            delta = _tool_call_delta(event)
            logprobs = None
        elif type(event) is ReasoningDelta:
            delta = b'{"reasoning_content":' + _encode(event.text) + b"}"
            logprobs = None
        elif type(event) is RefusalDelta:
            delta = b'{"refusal":' + _encode(event.text) + b"}"
            logprobs = event.logprobs
        elif type(event) is Finished:
            return self._finish(event)
        elif type(event) is UsageReport:
            return self._usage(event)
        else:
            return b""
        choice = event.choice
        opening = b"" if self._is_open(choice) else self._open(choice, type(event) is TextDelta)
        if not self._logprobs and not self._obfuscation:
            return opening + self._choices[choice] + delta + self._plain
        entries = _encode(_choice_logprobs(logprobs or ())) if self._logprobs else b"null"
        chunk = self._choices[choice] + delta + b',"logprobs":' + entries + b',"finish_reason":null}]' + self._end
        return opening + (self._obfuscated(chunk) if self._obfuscation else chunk)

    def _is_open(self, choice: int) -> bool:
        """Whether *choice* has begun; refuse one that does not exist or has finished."""
        if not 0 <= choice < len(self._begun) or self._ended[choice]:
            raise EngineProtocolError(f"The engine sent more for choice {choice}, which does not exist or has ended.")
        return self._begun[choice]

    def _open(self, choice: int, has_text: bool) -> bytes:
        if self.origin is not None and True not in self._begun:  # no other instance is tried from here on
            named = b',"system_fingerprint":' + _encode(self.origin.fingerprint)
            self._prefix = self._prefix.replace(_NO_FINGERPRINT, named, 1)
            self._choices = [beginning.replace(_NO_FINGERPRINT, named, 1) for beginning in self._choices]
        self._begun[choice] = True
        if not self._logprobs and not self._obfuscation and self._running is None:
            self._text[choice] = self._choices[choice] + b'{"content":'
        content = b'""' if has_text else b"null"
        plain = self._plain
        if self._running is not None:
            plain = _end_with(self._running.told(choice, is_opening=True))[1]
        return self._choices[choice] + b'{"role":"assistant","content":' + content + b"}" + plain

    def _finish(self, event: Finished) -> bytes:
        opening = b"" if self._is_open(event.choice) else self._open(event.choice, True)
        self._ended[event.choice] = True
        self._text.pop(event.choice, None)
        told = _encode(event.reason) + stop_reason(event)
        chunk = self._choices[event.choice] + b'{},"logprobs":null,"finish_reason":' + told + b"}]"
        if self._holds_last and all(self._ended):
            self._held = chunk
            return opening
        return opening + chunk + self._end

    def _usage(self, event: UsageReport) -> bytes:
        if self._has_failed or not all(self._ended):
            raise EngineProtocolError("The engine sent the usage before every choice had finished.")
        if self._held is not None:
            chunk, self._held = self._held, None
            return chunk + b',"usage":' + _encode(usage_of(event)) + b"}" + sse.END
        if not self._wants_usage:
            return b""
        return self._prefix + b'],"usage":' + _encode(usage_of(event)) + b"}" + sse.END

    def _obfuscated(self, chunk: bytes) -> bytes:
        """Pad *chunk* to a multiple of a step, so that its size tells less about its text."""
        padding = _OBFUSCATION[: -len(chunk) % _OBFUSCATION_STEP]
        return chunk[: -len(sse.END) - 1] + b',"obfuscation":"' + padding.encode() + b'"}' + sse.END


class ChatBody:
    """Writes one answer as a whole."""

    __slots__ = ("_choices", "_errors", "_head", "_logprobs", "_usage", "origin")
    content_type = b"application/json"
    is_stream = False
    keep_alive = b""

    def __init__(self, head: AnswerHead, *, n: int = 1, logprobs: bool = False, errors: Errors = errors) -> None:
        self._errors = errors
        self._head = head
        self.origin: Origin | None = None
        self._logprobs = logprobs
        self._choices = [_GatheredChoice() for _ in range(n)]
        self._usage: UsageReport | None = None

    def events(self, batch: Sequence[AnyEvent]) -> bytes:
        """See `Encoder.events`."""
        for event in batch:
            if type(event) is UsageReport:
                self._usage = event
            elif type(event) is not Started:
                at = event.choice
                if not 0 <= at < len(self._choices) or self._choices[at].finish_reason is not None:
                    raise EngineProtocolError(
                        f"The engine sent more for choice {at}, which does not exist or has ended."
                    )
                self._choices[at].add(event)
        return b""

    def fail(self, error: BaseException) -> bytes:
        """See `Encoder.fail`: nothing of a whole answer is sent before its end, so the error has its own answer."""
        return self._errors.describe(error).body

    def end(self) -> bytes:
        """See `Encoder.end`."""
        choices = [choice.answer(index, self._logprobs) for index, choice in enumerate(self._choices)]
        if self._usage is None:
            raise EngineProtocolError("The engine's answer ended before the usage had come.")
        head = self._head
        return _encode(
            ChatAnswer(
                id=head.id,
                created=head.created,
                model=head.model,
                choices=choices,
                usage=usage_of(self._usage),
                system_fingerprint=self.origin.fingerprint if self.origin is not None else None,
                service_tier=msgspec.UNSET if head.service_tier is None else head.service_tier,
            )
        )


class _GatheredChoice:
    """What has come of one choice."""

    __slots__ = ("calls", "finish_reason", "logprobs", "matched_stop", "reasoning", "refusal", "text")

    def __init__(self) -> None:
        self.text: list[str] = []
        self.reasoning: list[str] = []
        self.refusal: list[str] = []
        self.calls: dict[int, ToolCallAnswer] = {}
        self.logprobs: list[TokenLogprob] = []
        self.finish_reason: FinishReason | None = None
        self.matched_stop: str | None = None

    def add(self, event: TextDelta | ReasoningDelta | RefusalDelta | ToolCallDelta | Finished) -> None:
        """Take the next event of this choice."""
        if type(event) is Finished:
            self.finish_reason = event.reason
            self.matched_stop = event.matched_stop
        elif type(event) is ToolCallDelta:
            self._add_call(event)
        else:
            if type(event) is TextDelta:
                self.text.append(event.text)
            elif type(event) is ReasoningDelta:
                self.reasoning.append(event.text)
            else:
                self.refusal.append(event.text)
            if event.logprobs:
                self.logprobs.extend(event.logprobs)

    def _add_call(self, event: ToolCallDelta) -> None:
        call = self.calls.get(event.call_index)
        if call is None:
            call = ToolCallAnswer(id=event.id or "", function=CalledFunction(name=event.name or "", arguments=""))
            self.calls[event.call_index] = call
        call.function.arguments += event.arguments_fragment

    def answer(self, index: int, logprobs: bool) -> Choice:
        """Put the choice together. Content is null where something else came in place of text."""
        if self.finish_reason is None:
            raise EngineProtocolError("The engine's answer ended before every choice had finished.")
        text = "".join(self.text)
        calls = [self.calls[at] for at in sorted(self.calls)] if self.calls else None
        return Choice(
            index=index,
            message=AnswerMessage(
                content=text if text or not (calls or self.refusal or self.reasoning) else None,
                refusal="".join(self.refusal) if self.refusal else None,
                reasoning_content="".join(self.reasoning) if self.reasoning else msgspec.UNSET,
                tool_calls=calls or msgspec.UNSET,
            ),
            logprobs=_choice_logprobs(self.logprobs) if logprobs else None,
            finish_reason=self.finish_reason,
            stop_reason=msgspec.UNSET if self.matched_stop is None else self.matched_stop,
        )


def _tool_call_delta(event: ToolCallDelta) -> bytes:
    arguments = _encode(event.arguments_fragment)
    if event.name is None:
        return b'{"tool_calls":[{"index":%d,"function":{"arguments":%b}}]}' % (event.call_index, arguments)
    return b'{"tool_calls":[{"index":%d,"id":%b,"type":"function","function":{"name":%b,"arguments":%b}}]}' % (
        event.call_index,
        _encode(event.id),
        _encode(event.name),
        arguments,
    )


def _choice_logprobs(entries: Sequence[TokenLogprob]) -> ChoiceLogprobs:
    """Sort entries by channel; tokens of reasoning are not part of the answer and have no place in the API."""
    refusal = [token_entry(entry) for entry in entries if entry.channel == "refusal"]
    return ChoiceLogprobs(
        content=[token_entry(entry) for entry in entries if entry.channel == "content"], refusal=refusal or None
    )


def stop_reason(event: Finished) -> bytes:
    """What follows the reason of a choice that has ended: the stop string that matched, if one did."""
    return b"" if event.matched_stop is None else b',"stop_reason":' + _encode(event.matched_stop)


def token_entry(entry: TokenLogprob) -> TokenEntry:
    """A token as the API has it."""
    return TokenEntry(
        token=entry.token,
        logprob=finite(entry.logprob),
        bytes=list(entry.token_bytes),
        top_logprobs=[TopEntry(top.token, finite(top.logprob), list(top.token_bytes)) for top in entry.top],
    )


def finite(logprob: float) -> float:
    """*logprob*, or what stands for minus infinity."""
    return logprob if logprob > _LOWEST_LOGPROB else _LOWEST_LOGPROB


def usage_of(report: UsageReport) -> Usage:
    """What the API tells of *report*."""
    return Usage(
        prompt_tokens=report.prompt_tokens,
        completion_tokens=report.completion_tokens,
        total_tokens=report.prompt_tokens + report.completion_tokens,
        prompt_tokens_details=PromptDetails(report.cached_tokens),
        completion_tokens_details=CompletionDetails(report.reasoning_tokens),
    )
