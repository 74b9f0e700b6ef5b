"""One choice of the stub as it is generated, token by token."""

from __future__ import annotations

import random
from collections.abc import Generator, Iterator
from functools import lru_cache

from enginehouse_plugin import (
    AnyEvent,
    Finished,
    FinishReason,
    GenerationRequest,
    ReasoningDelta,
    TextDelta,
    TokenLogprob,
    Tool,
    ToolCallDelta,
)

from . import grammar, model, sampling, vocabulary
from .engine_parts import EngineParts
from .output import TextOutput

Step = list[AnyEvent]


class Choice:
    """State of one choice. `run` yields the events of one token at a time."""

    def __init__(
        self, parts: EngineParts, request: GenerationRequest, prompt: list[int], index: int, entropy: random.Random
    ) -> None:
        self.index = index
        self.completion_tokens = 0
        self.reasoning_tokens = 0
        self._parts = parts
        self._request = request
        self._prompt = prompt
        self._state = model.feed(model.start(), prompt)
        self._entropy = entropy
        self._rng = parts.rng(request, index, entropy)
        self._output: list[int] = []

    def run(self, budget: int) -> Iterator[Step]:
        """Reasoning, then calls or content, in at most *budget* tokens."""
        yield from self._reasoning(min(budget, self._parts.reasoning_tokens(self._request)))
        tools = self._parts.tools_to_call(self._request, self._rng)
        reason: FinishReason = "length"
        if budget > self.completion_tokens:
            steps = self._calls(tools, budget) if tools else self._content(budget)
            reason, matched = yield from steps
        else:
            matched = None
        yield [Finished(self.index, self._parts.finish(reason, is_call=bool(tools)), matched)]

    def _reasoning(self, budget: int) -> Iterator[Step]:
        for _ in range(budget):
            token, _ = self._next(None)
            if self._parts.ends(token):
                return
            self.reasoning_tokens += 1
            text = vocabulary.text_of(token).decode("utf-8", "replace")
            yield [ReasoningDelta(self.index, text, self.completion_tokens)]

    def _content(self, budget: int) -> Generator[Step, None, tuple[FinishReason, str | None]]:
        node = self._parts.output_grammar(self._request)
        state = None if node is None else grammar.begin(node)
        output = self._parts.text_output(self._request)
        reason: FinishReason = "length"
        while self.completion_tokens < budget:
            token, entry = self._next(state)
            if self._parts.ends(token):
                reason = "stop"
                break
            data = vocabulary.text_of(token)
            if state is not None:
                state = grammar.advance(state, data)
            yield self._text(*output.push(data, entry))
            if output.matched is not None:
                return "stop", output.matched
            if state is not None and _is_complete(state):
                reason = "stop"
                break
        yield self._text(*output.finish())
        return reason, None

    def _text(self, text: str, entries: tuple[TokenLogprob, ...]) -> Step:
        if not text and not entries:
            return []
        logprobs = entries if self._request.logprobs else None
        return [TextDelta(self.index, text, self.completion_tokens, logprobs)]

    def _calls(self, tools: tuple[Tool, ...], budget: int) -> Generator[Step, None, tuple[FinishReason, str | None]]:
        for at, tool in enumerate(tools):
            call_id = self._parts.call_id(self.index, at, self._entropy)
            yield [ToolCallDelta(self.index, at, self.completion_tokens, id=call_id, name=tool.name)]
            output = TextOutput(())
            state = grammar.begin(self._parts.arguments_grammar(tool))
            while not _is_complete(state):
                if self.completion_tokens >= budget:
                    return "length", None
                token, _ = self._next(state)
                if self._parts.ends(token):
                    break
                data = vocabulary.text_of(token)
                state = grammar.advance(state, data)
                text, _ = output.push(data, None)
                if text:
                    yield [ToolCallDelta(self.index, at, self.completion_tokens, arguments_fragment=text)]
        return "stop", None

    def _next(self, state: grammar.State | None) -> tuple[int, TokenLogprob | None]:
        """Sample a token that *state* allows, and count it."""
        position = len(self._output)
        raw = self._parts.logits(self._state, position, self._request, state is not None)
        values = self._parts.adjusted(raw, self._request, self._output)
        values = self._parts.repeated(values, self._request, self._prompt, self._output)
        if state is not None:
            _mask(values, state)
        else:
            values = self._parts.held_open(values, self._request, self._output)
        token = self._parts.sampled(values, self._request, self._rng)
        entry = self._parts.entry(raw, token, self._request) if self._request.logprobs else None
        self._state = model.feed(self._state, (token,))
        self._output.append(token)
        self.completion_tokens += 1
        return token, entry


def _is_complete(state: grammar.State) -> bool:
    """Whether nothing can follow."""
    return not grammar.allowed(state)


def _mask(values: list[float], state: grammar.State) -> None:
    """Ban what *state* does not allow; the end is allowed where nothing more is needed."""
    for token in _banned(state):
        values[token] = sampling.BANNED


@lru_cache(maxsize=4096)
def _banned(state: grammar.State) -> tuple[int, ...]:
    first = grammar.allowed(state)
    banned = [token for token in range(256) if not first >> token & 1]
    for at, word in enumerate(vocabulary.WORDS, start=256):
        if not (first >> word[0] & 1 and grammar.advance(state, word)):
            banned.append(at)
    banned += [vocabulary.TURN, vocabulary.END_TURN]
    return (*banned, *(() if grammar.may_end(state) else (vocabulary.EOS,)))
