"""One request, from its prompt's token ids to its events, over `/v1/completions`."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

import msgspec

from enginehouse_kit.grammar import blame_of, output_grammar
from enginehouse_kit.text.bounds import room_for
from enginehouse_kit.text.forced_calls import new_call_id
from enginehouse_plugin import AnyEvent, GenerationRequest, Started, TokenLogprob, ToolCallDelta, UsageReport
from enginehouse_plugin.errors import EngineProtocolError

from .body import completion_body, is_copied, raw_body
from .model import Model
from .prompt import Prompt
from .reading import ChoiceReading, read_logprobs
from .server import Choice, Server


class Generation:
    """Generates for one request."""

    def __init__(self, server: Server, model: Model, request: GenerationRequest, prompt: Prompt) -> None:
        self._server = server
        self._model = model
        self._request = request
        self._prompt_ids = prompt.token_ids
        self._grammar = output_grammar(request, prompt.thinking)
        choices = 1 if is_copied(request) else request.n
        self._readings = [ChoiceReading(request, choice, prompt.thinking) for choice in range(choices)]
        self._written: list[list[int]] = [[] for _ in range(choices)]

    async def events(self) -> AsyncGenerator[AnyEvent, None]:
        """See `Instance.generate`."""
        request, readings = self._request, self._readings
        max_tokens = room_for(request, len(self._prompt_ids), self._model.context_tokens)
        body = completion_body(request, self._prompt_ids, max_tokens, self._grammar)
        hidden = self._model.hidden if self._model.has_control_marks else None
        if self._model.has_control_marks:
            body.update(skip_special_tokens=False, spaces_between_special_tokens=False)
        is_started = False
        cached_tokens = 0
        async with aclosing(self._server.complete(body, blame_of(request))) as chunks:
            async for chunk in chunks:
                if not is_started:
                    is_started = True
                    yield Started(len(self._prompt_ids))
                if chunk.usage is not None and not chunk.choices:
                    cached_tokens = chunk.usage.cached_tokens
                for choice in chunk.choices:
                    if not 0 <= choice.index < len(readings):
                        raise EngineProtocolError(f"vLLM answered with choice {choice.index}, which was not asked for.")
                    reading = readings[choice.index]
                    if reading.is_finished:
                        continue
                    count = chunk.usage.completion_tokens if chunk.usage else reading.reader.completion_tokens
                    logprobs = await self._logprobs(choice) if request.logprobs else ()
                    text = choice.text if hidden is None else hidden.sub("", choice.text)
                    for event in reading.read(text, count, logprobs, choice.finish_reason):
                        yield event
        if not all(reading.is_finished for reading in readings):
            raise EngineProtocolError("vLLM ended the stream before the answer was complete.")
        yield UsageReport(
            prompt_tokens=len(self._prompt_ids),
            completion_tokens=sum(reading.reader.completion_tokens for reading in readings),
            cached_tokens=cached_tokens,
            reasoning_tokens=sum(reading.reader.reasoning_tokens for reading in readings),
        )

    async def _logprobs(self, choice: Choice) -> list[TokenLogprob]:
        """Logprobs of the tokens of a chunk, from raw logits."""
        if choice.logprobs is None:
            return []
        written = self._written[choice.index]
        found = read_logprobs(choice.logprobs, self._request.top_logprobs, self._model.vocabulary)
        if self._grammar is not None:
            # vLLM takes the grammar's mask for logits (seen in 0.32), so these are asked for without it.
            for at, token in enumerate(found):
                found[at] = await self._raw([*self._prompt_ids, *written], token.token_id)
                written.append(token.token_id)
        return [token for token in found if token.token_id not in self._model.hidden_ids]

    async def _raw(self, token_ids: list[int], token_id: int) -> TokenLogprob:
        """The logprob of *token_id* behind *token_ids*, without a grammar."""
        top = self._request.top_logprobs
        async with aclosing(self._server.complete(raw_body(token_ids, token_id, top))) as chunks:
            async for chunk in chunks:
                for choice in chunk.choices:
                    if choice.logprobs is not None and choice.logprobs.tokens:
                        return read_logprobs(choice.logprobs, top, self._model.vocabulary)[0]
        raise EngineProtocolError("vLLM gave no logprob of a token that it was asked for.")


async def copied(events: AsyncGenerator[AnyEvent, None], n: int) -> AsyncGenerator[AnyEvent, None]:
    """The *events* of one choice, for each of *n* choices that are equal."""
    async with aclosing(events):
        async for event in events:
            if isinstance(event, UsageReport):
                yield msgspec.structs.replace(
                    event,
                    completion_tokens=event.completion_tokens * n,
                    reasoning_tokens=event.reasoning_tokens * n,
                )
            elif isinstance(event, Started):
                yield event
            else:
                for choice in range(n):
                    own = msgspec.structs.replace(event, choice=choice)
                    if isinstance(own, ToolCallDelta) and own.id is not None and choice:
                        own = msgspec.structs.replace(own, id=new_call_id())
                    yield own
