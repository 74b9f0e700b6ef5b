"""From the engine's chunks to the events of one choice."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

from enginehouse_plugin import AnyEvent, Finished, FinishReason, TextDelta, TokenLogprob
from enginehouse_plugin.hosting.stops import StopMatcher

from .calls import CallReader
from .server import Chunk


class ChoiceReader:
    """Turns the text of one choice into deltas, each with the logprobs of the tokens that made it.

    The engine cuts the text at a stop string and holds back what may become one; *matcher* does so where
    the engine cannot. *calls* takes text that may be tool calls.
    """

    def __init__(self, choice: int, *, matcher: StopMatcher | None = None, calls: CallReader | None = None) -> None:
        self.choice = choice
        self.completion_tokens = 0
        self.is_finished = False
        self._matcher = matcher
        self._calls = calls
        self._matched_stop: str | None = None
        self._waiting: deque[tuple[int, TokenLogprob]] = deque()  # each with the byte that it begins at
        self._received_bytes = 0
        self._emitted_bytes = 0

    @property
    def is_stopped(self) -> bool:
        """Whether the matcher has found a stop string: the engine's further text is of no use."""
        return self._matched_stop is not None

    def read(self, text: str, completion_tokens: int, logprobs: Iterable[TokenLogprob] = ()) -> Iterator[AnyEvent]:
        """Take more text of the engine, which has sampled *completion_tokens* for this choice by now."""
        self.completion_tokens = completion_tokens
        for logprob in logprobs:
            self._waiting.append((self._received_bytes, logprob))
            self._received_bytes += len(logprob.token_bytes)
        if self._matcher is not None:
            text, self._matched_stop = self._matcher.push(text)
        if text:
            yield from self._emit(text)

    def finish(self, chunk: Chunk) -> Iterator[AnyEvent]:
        """Take the last chunk of the choice."""
        self.completion_tokens = chunk.tokens_predicted
        matched = self._matched_stop or (chunk.stopping_word if chunk.stop_type == "word" else None)
        if self._matcher is not None and matched is None:
            held = self._matcher.flush()
            if held:
                yield from self._emit(held)
        reason: FinishReason = "length" if chunk.stop_type == "limit" and matched is None else "stop"
        if self._calls is not None:
            for event in self._calls.finish(self.choice, self.completion_tokens):
                yield self._with_logprobs(event) if isinstance(event, TextDelta) else event
            reason = self._calls.reason(reason)
        self.is_finished = True
        yield Finished(choice=self.choice, reason=reason, matched_stop=matched or None)

    def _emit(self, text: str) -> Iterator[AnyEvent]:
        if self._calls is None:
            yield self._with_logprobs(TextDelta(self.choice, text, self.completion_tokens))
            return
        for event in self._calls.read(text, self.choice, self.completion_tokens):
            yield self._with_logprobs(event) if isinstance(event, TextDelta) else event

    def _with_logprobs(self, delta: TextDelta) -> TextDelta:
        """Attach the tokens that begin in *delta*'s text."""
        if not self._waiting:
            return delta
        self._emitted_bytes += len(delta.text.encode())
        begun = []
        while self._waiting and self._waiting[0][0] < self._emitted_bytes:
            begun.append(self._waiting.popleft()[1])
        return TextDelta(delta.choice, delta.text, delta.completion_tokens, tuple(begun))
