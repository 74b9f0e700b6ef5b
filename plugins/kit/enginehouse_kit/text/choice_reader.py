"""From the text of one choice, and the tokens that made it, to its events."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Protocol

import msgspec

from enginehouse_plugin.events import AnyEvent, Finished, FinishReason, ReasoningDelta, TextDelta, TokenLogprob

from .thinking import MARKS, Marks, Part, State, ThinkSplitter


class ReadsCalls(Protocol):
    """Tells the calls in the text of a choice from the rest of it (see `marked_calls.CallReader`)."""

    def read(self, text: str, choice: int, completion_tokens: int) -> Iterator[AnyEvent]:
        """Take more text."""
        ...

    def finish(self, choice: int, completion_tokens: int) -> Iterator[AnyEvent]:
        """Give what was held back: the text has ended."""
        ...

    def reason(self, reason: FinishReason) -> FinishReason:
        """The finish reason of the choice, where *reason* is why the text ended."""
        ...


class ChoiceReader:
    """Turns the text of one choice into deltas, each with the logprobs of the tokens that made it."""

    def __init__(self, choice: int, calls: ReadsCalls | None, thinking: State, marks: Marks = MARKS) -> None:
        self.choice = choice
        self.completion_tokens = 0
        self.reasoning_tokens = 0
        self.is_finished = False
        self._calls = calls
        self._thinking = ThinkSplitter(thinking, marks) if thinking != "never" else None
        self._waiting: deque[tuple[int, TokenLogprob]] = deque()  # each with the byte that it begins at
        self._received_bytes = 0
        self._emitted_bytes = 0

    def read(self, text: str, completion_tokens: int, logprobs: Iterable[TokenLogprob] = ()) -> Iterator[AnyEvent]:
        """Take more text of the engine, which has sampled *completion_tokens* for this choice by now."""
        self.completion_tokens = completion_tokens
        for logprob in logprobs:
            self._waiting.append((self._received_bytes, logprob))
            self._received_bytes += len(logprob.token_bytes)
        if self._thinking is not None:
            yield from self._parts(self._thinking.push(text))
        elif text:
            yield from self._content(text)

    def finish(
        self, reason: FinishReason, completion_tokens: int, matched_stop: str | None = None
    ) -> Iterator[AnyEvent]:
        """End the choice: *reason* is why its text ended, `tool_calls` is found out here."""
        self.completion_tokens = completion_tokens
        self.is_finished = True
        if self._thinking is not None:
            yield from self._parts(self._thinking.flush())
        if self._calls is not None:
            for event in self._calls.finish(self.choice, self.completion_tokens):
                yield self._with_logprobs(event) if isinstance(event, TextDelta) else event
            reason = self._calls.reason(reason)
        elif reason == "length" and self._waiting and self._thinking is None:
            # The last tokens end inside a character, which is no text: they keep their place all the same.
            rest = tuple(logprob for _, logprob in self._waiting)
            self._waiting.clear()
            yield TextDelta(self.choice, "", self.completion_tokens, rest)
        yield Finished(choice=self.choice, reason=reason, matched_stop=matched_stop)

    def _parts(self, parts: Iterable[Part]) -> Iterator[AnyEvent]:
        for kind, text in parts:
            if kind == "content":
                yield from self._content(text)
            elif kind == "reasoning":
                self.reasoning_tokens = self.completion_tokens
                delta = ReasoningDelta(self.choice, text, self.completion_tokens)
                tokens = self._tokens(text)
                if tokens:
                    marked = tuple(msgspec.structs.replace(token, channel="reasoning") for token in tokens)
                    delta = ReasoningDelta(self.choice, text, self.completion_tokens, marked)
                yield delta
            else:
                self._tokens(text)  # the tokens of a mark belong to no text

    def _content(self, text: str) -> Iterator[AnyEvent]:
        if self._calls is None:
            yield self._with_logprobs(TextDelta(self.choice, text, self.completion_tokens))
            return
        for event in self._calls.read(text, self.choice, self.completion_tokens):
            yield self._with_logprobs(event) if isinstance(event, TextDelta) else event

    def _with_logprobs(self, delta: TextDelta) -> TextDelta:
        tokens = self._tokens(delta.text)
        return TextDelta(delta.choice, delta.text, delta.completion_tokens, tokens) if tokens else delta

    def _tokens(self, text: str) -> tuple[TokenLogprob, ...]:
        """Take the tokens that begin in *text*."""
        if not self._waiting:
            return ()
        self._emitted_bytes += len(text.encode())
        begun = []
        while self._waiting and self._waiting[0][0] < self._emitted_bytes:
            begun.append(self._waiting.popleft()[1])
        return tuple(begun)
