"""One request, from its prompt's token ids to its events, over `/v1/completions`."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from contextlib import aclosing

import msgspec

from enginehouse_kit.grammar import OutputGrammar, blame_of
from enginehouse_kit.http.openai_schema import read_error
from enginehouse_kit.text.bounds import room_for
from enginehouse_kit.text.forced_calls import new_call_id
from enginehouse_plugin import (
    AnyEvent,
    GeneratedRun,
    GenerationRequest,
    Run,
    Sink,
    Started,
    TokenLogprob,
    ToolCallDelta,
    UsageReport,
)
from enginehouse_plugin.errors import EnginehouseError, EngineProtocolError

from .body import completion_body, is_copied, raw_body
from .model import Model
from .prompt import Prompt
from .reading import ChoiceReading, read_logprobs
from .server import Body, Choice, Chunk, Server, decode_chunk, error_of


class Generation:
    """Generates for one request."""

    def __init__(
        self,
        server: Server,
        model: Model,
        request: GenerationRequest,
        prompt: Prompt,
        grammar: OutputGrammar | None,
    ) -> None:
        self._server = server
        self._model = model
        self._request = request
        self._prompt_ids = prompt.token_ids
        self._grammar = grammar
        choices = 1 if is_copied(request) else request.n
        self._readings = [ChoiceReading(request, choice, prompt.thinking) for choice in range(choices)]
        self._written: list[list[int]] = [[] for _ in range(choices)]
        self._cached_tokens = 0

    def start(self, sink: Sink) -> Run:
        """Begin to generate; what the engine sends goes straight on, except where more must be asked of it."""
        if self._must_ask_more:
            return GeneratedRun(self.events(), sink)
        return self._server.start(self._body(), self, sink)

    async def events(self) -> AsyncGenerator[AnyEvent, None]:
        """The events, where the engine is asked more than once."""
        events: list[AnyEvent] = []
        is_begun = False
        async with aclosing(self._server.complete(self._body(), blame_of(self._request))) as chunks:
            async for chunk in chunks:
                if not is_begun:
                    is_begun = True
                    self.begin(events)
                for choice in self._choices(chunk):
                    logprobs = await self._logprobs(choice) if self._request.logprobs else ()
                    self._take(choice, chunk, logprobs, events)
                for event in events:
                    yield event
                events.clear()
        self.finish(events)
        for event in events:
            yield event

    # ---- as a reader of one answer (`enginehouse_kit.http.run.Reader`) ----

    def begin(self, events: list[AnyEvent], headers: Sequence[tuple[bytes, bytes]] = ()) -> None:  # noqa: ARG002
        """See `Reader.begin`."""
        ignored = () if self._grammar is None else self._grammar.ignored
        events.append(Started(len(self._prompt_ids), ignored=ignored))

    def take(self, payload: bytes, events: list[AnyEvent]) -> None:
        """See `Reader.take`."""
        chunk = decode_chunk(payload, blame_of(self._request))
        for choice in self._choices(chunk):
            logprobs = self._visible(self._raw_logprobs(choice)) if self._request.logprobs else ()
            self._take(choice, chunk, logprobs, events)

    def finish(self, events: list[AnyEvent]) -> None:
        """See `Reader.finish`."""
        readings = self._readings
        if not all(reading.is_finished for reading in readings):
            raise EngineProtocolError("vLLM ended the stream before the answer was complete.")
        events.append(
            UsageReport(
                prompt_tokens=len(self._prompt_ids),
                completion_tokens=sum(reading.reader.completion_tokens for reading in readings),
                cached_tokens=self._cached_tokens,
                reasoning_tokens=sum(reading.reader.reasoning_tokens for reading in readings),
            )
        )

    def refusal(self, status: int, body: bytes) -> EnginehouseError:
        """See `Reader.refusal`."""
        return error_of(status, read_error(body), blame=blame_of(self._request))

    # ---- inside ----

    @property
    def _must_ask_more(self) -> bool:
        # vLLM takes the grammar's mask for logits (seen in 0.32), so logprobs are asked for without it.
        return self._request.logprobs and self._grammar is not None

    def _body(self) -> Body:
        request = self._request
        max_tokens = room_for(request, len(self._prompt_ids), self._model.context_tokens)
        model = self._model
        ends = model.filling.ends if request.suffix and model.filling is not None else ()
        body = completion_body(request, self._prompt_ids, max_tokens, self._grammar, model.silent_ids, ends)
        if self._model.has_control_marks:
            body.update(skip_special_tokens=False, spaces_between_special_tokens=False)
        return body

    def _choices(self, chunk: Chunk) -> Iterator[Choice]:
        """The choices of *chunk* that go on."""
        if chunk.usage is not None and not chunk.choices:
            self._cached_tokens = chunk.usage.cached_tokens
        for choice in chunk.choices:
            if not 0 <= choice.index < len(self._readings):
                raise EngineProtocolError(f"vLLM answered with choice {choice.index}, which was not asked for.")
            if not self._readings[choice.index].is_finished:
                yield choice

    def _take(self, choice: Choice, chunk: Chunk, logprobs: Iterable[TokenLogprob], events: list[AnyEvent]) -> None:
        reading = self._readings[choice.index]
        count = chunk.usage.completion_tokens if chunk.usage else reading.reader.completion_tokens
        hidden = self._model.hidden if self._model.has_control_marks else None
        text = choice.text if hidden is None else hidden.sub("", choice.text)
        events += reading.read(text, count, logprobs, choice.finish_reason)

    def _raw_logprobs(self, choice: Choice) -> list[TokenLogprob]:
        if choice.logprobs is None:
            return []
        return read_logprobs(choice.logprobs, self._request.top_logprobs, self._model.vocabulary)

    def _visible(self, tokens: Iterable[TokenLogprob]) -> list[TokenLogprob]:
        return [token for token in tokens if token.token_id not in self._model.hidden_ids]

    async def _logprobs(self, choice: Choice) -> list[TokenLogprob]:
        """Logprobs of the tokens of a chunk, each asked for without the grammar."""
        written = self._written[choice.index]
        found = []
        for token in self._raw_logprobs(choice):
            found.append(await self._raw([*self._prompt_ids, *written], token.token_id))
            written.append(token.token_id)
        return self._visible(found)

    async def _raw(self, token_ids: list[int], token_id: int) -> TokenLogprob:
        """The logprob of *token_id* behind *token_ids*, without a grammar."""
        top = self._request.top_logprobs
        async with aclosing(self._server.complete(raw_body(token_ids, token_id, top))) as chunks:
            async for chunk in chunks:
                for choice in chunk.choices:
                    if choice.logprobs is not None and choice.logprobs.tokens:
                        return read_logprobs(choice.logprobs, top, self._model.vocabulary)[0]
        raise EngineProtocolError("vLLM gave no logprob of a token that it was asked for.")


class Copies:
    """A sink that takes the events of one choice for *sink*, once for each of *n* choices that are equal."""

    def __init__(self, sink: Sink, n: int) -> None:
        self.end = sink.end
        self._sink = sink
        self._n = n

    def events(self, batch: Sequence[AnyEvent]) -> None:
        """See `Sink.events`."""
        self._sink.events([own for event in batch for own in self._copies(event)])

    def _copies(self, event: AnyEvent) -> Iterator[AnyEvent]:
        n = self._n
        if isinstance(event, UsageReport):
            yield msgspec.structs.replace(
                event, completion_tokens=event.completion_tokens * n, reasoning_tokens=event.reasoning_tokens * n
            )
        elif isinstance(event, Started):
            yield event
        else:
            for choice in range(n):
                own = msgspec.structs.replace(event, choice=choice)
                if isinstance(own, ToolCallDelta) and own.id is not None and choice:
                    own = msgspec.structs.replace(own, id=new_call_id())
                yield own
