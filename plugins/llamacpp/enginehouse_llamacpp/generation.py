"""One request, from its prompt's token ids to its events."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing
from typing import Any

from enginehouse_kit.grammar import OutputGrammar, blame_of
from enginehouse_kit.text.bounds import room_for
from enginehouse_kit.text.choice_reader import ChoiceReader
from enginehouse_kit.text.marked_calls import call_reader
from enginehouse_kit.text.thinking import State
from enginehouse_plugin import (
    AnyEvent,
    FinishReason,
    GeneratedRun,
    GenerationRequest,
    Run,
    Sink,
    Started,
    TokenLogprob,
    TopLogprob,
    UsageReport,
)
from enginehouse_plugin.errors import EnginehouseError, EngineProtocolError

from . import runs, translate
from .model import Model
from .prompt import Prompt
from .server import Chunk, Probability, Server, decode_chunk, error_of, failure
from .vocabulary import Vocabulary

_LOGPROB_FLOOR = -9999.0  # for probabilities that a 32-bit float cannot hold


class Generation:
    """Generates for one request."""

    def __init__(
        self,
        server: Server,
        vocabulary: Vocabulary,
        model: Model,
        request: GenerationRequest,
        prompt: Prompt,
        grammar: OutputGrammar | None,
    ) -> None:
        self._server = server
        self._vocabulary = vocabulary
        self._model = model
        self._request = request
        self._prompt_ids = prompt.token_ids
        self._grammar = grammar
        self._thinking: State = prompt.thinking
        self._readers = [ChoiceReader(choice, call_reader(request), prompt.thinking) for choice in range(request.n)]
        self._cached_tokens: int | None = None  # None until the engine has begun

    def start(self, sink: Sink) -> Run:
        """Begin to generate; what the engine sends goes straight on, except where more must be asked of it."""
        if runs.are_needed(self._request, self._slots):
            return GeneratedRun(self.events(), sink)
        return self._server.start(self._body(), self, sink)

    async def events(self) -> AsyncGenerator[AnyEvent, None]:
        """The events, where each choice is run by itself."""
        request = self._request
        body = self._body()
        if runs.need_vocabulary(request):
            await self._vocabulary.load()
        events: list[AnyEvent] = []
        async with aclosing(self._chunks(body)) as chunks:
            async for chunk in chunks:
                self._take(chunk, self._logprobs(chunk) if request.logprobs else (), events)
                for event in events:
                    yield event
                events.clear()
        self.finish(events)
        for event in events:
            yield event

    # ---- as a reader of one answer (`enginehouse_kit.http.run.Reader`) ----

    def begin(self, events: list[AnyEvent], headers: Sequence[tuple[bytes, bytes]]) -> None:
        """See `Reader.begin`; the first chunk tells what of the prompt was cached."""

    def take(self, payload: bytes, events: list[AnyEvent]) -> None:
        """See `Reader.take`."""
        chunk = decode_chunk(payload)
        if chunk.error is not None:
            raise failure(chunk.error)
        self._take(chunk, (), events)

    def finish(self, events: list[AnyEvent]) -> None:
        """See `Reader.finish`."""
        readers = self._readers
        if not all(reader.is_finished for reader in readers):
            raise EngineProtocolError("llama.cpp ended the stream before the answer was complete.")
        events.append(
            UsageReport(
                prompt_tokens=len(self._prompt_ids),
                completion_tokens=sum(reader.completion_tokens for reader in readers),
                cached_tokens=self._cached_tokens or 0,
                reasoning_tokens=sum(reader.reasoning_tokens for reader in readers),
            )
        )

    def refusal(self, status: int, body: bytes) -> EnginehouseError:  # noqa: ARG002  # the body has it
        """See `Reader.refusal`."""
        return failure(error_of(body), blame=blame_of(self._request))

    def _take(self, chunk: Chunk, logprobs: Iterable[TokenLogprob], events: list[AnyEvent]) -> None:
        if self._cached_tokens is None:
            self._cached_tokens = chunk.prompt_progress.cache if chunk.prompt_progress else 0
            ignored = () if self._grammar is None else self._grammar.ignored
            events.append(Started(len(self._prompt_ids), self._cached_tokens, ignored))
        reader = self._readers[chunk.index]
        if chunk.stop:
            matched = chunk.stopping_word if chunk.stop_type == "word" else None
            reason: FinishReason = "length" if chunk.stop_type == "limit" else "stop"
            events += reader.finish(reason, chunk.tokens_predicted, matched)
        elif chunk.tokens_predicted:
            events += reader.read(chunk.content, chunk.tokens_predicted, logprobs)

    # ---- inside ----

    @property
    def _slots(self) -> int:
        return self._model.capabilities.max_concurrent_requests

    def _body(self) -> dict[str, Any]:  # JSON
        request, prompt_ids, model = self._request, self._prompt_ids, self._model
        max_tokens = room_for(request, len(prompt_ids), model.context_tokens)
        bias = translate.output_only(request, prompt_ids) if request.frequency_penalty else request.logit_bias
        return translate.completion_body(
            request,
            prompt_ids,
            max_tokens=max_tokens,
            context_tokens=model.context_tokens,
            bias=bias,
            prefix_cache=model.prefix_cache,
            grammar=self._grammar,
            silent_ids=model.silent_ids,
        )

    def _chunks(self, body: dict[str, Any]) -> AsyncGenerator[Chunk, None]:  # JSON
        choices = [
            runs.ChoiceRun(self._server, self._vocabulary, self._request, body, self._grammar, choice).chunks()
            for choice in range(self._request.n)
        ]
        return choices[0] if len(choices) == 1 else runs.merged(choices, self._slots)

    def _logprobs(self, chunk: Chunk) -> Iterable[TokenLogprob]:
        """Logprobs of the tokens that are new with *chunk*."""
        shown = (token for token in chunk.completion_probabilities if token.id not in self._model.control_ids)
        return [self._logprob(token) for token in shown]

    def _logprob(self, token: Probability) -> TokenLogprob:
        piece = self._vocabulary.piece(token.id)
        # The engine writes control tokens as nothing: they are spelled out, as by the other engines.
        likeliest = token.top_logprobs[: self._request.top_logprobs]
        pieces = [bytes(other.bytes) or self._vocabulary.piece(other.id) for other in likeliest]
        top = [
            TopLogprob(
                token=own.decode(errors="replace"),
                token_id=other.id,
                token_bytes=own,
                logprob=max(other.logprob, _LOGPROB_FLOOR),
            )
            for other, own in zip(likeliest, pieces, strict=True)
        ]
        return TokenLogprob(
            token=piece.decode(errors="replace"),
            token_id=token.id,
            token_bytes=piece,
            logprob=max(token.logprob, _LOGPROB_FLOOR),
            top=tuple(top),
        )
