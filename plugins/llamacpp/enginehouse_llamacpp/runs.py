"""Runs of the engine for one choice each, where one run for all would not mean the same.

Three things need this.

- Stop strings: a choice that has ended at one must not run on beside the others, and the engine cannot be left
  to match them. Seen in build 11549: text that it held back is lost when the limit ends the answer, and tokens
  of held-back text come without their bytes.
- A presence penalty counts the output alone, but the engine counts the prompt too. For tokens of the prompt a
  bias gives the penalty back, and once such a token is in the output the run is begun again behind it without
  that bias; the engine still has everything before in its cache.
- More choices than the engine has slots are refused as one task; as tasks of their own they are run in turns.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from typing import Any

import msgspec

from enginehouse_kit.grammar import OutputGrammar, blame_of
from enginehouse_kit.grammar.gbnf import gbnf
from enginehouse_kit.grammar.progress import GrammarProgress
from enginehouse_kit.text.chat_messages import CALL_OPENS
from enginehouse_kit.text.marked_calls import beginning_of_mark
from enginehouse_kit.text.stops import StopMatcher
from enginehouse_plugin import GenerationRequest
from enginehouse_plugin.errors import EnginehouseError

from . import translate
from .server import Chunk, Server
from .vocabulary import Vocabulary

_NEXT_SEED = 1_000_003  # a prime: later runs of one choice do not meet the first runs of its neighbours


def are_needed(request: GenerationRequest, slots: int) -> bool:
    """Whether *request* must be run choice by choice on an engine with *slots*."""
    return bool(request.presence_penalty) or any(request.stop) or request.n > slots


def need_vocabulary(request: GenerationRequest) -> bool:
    """Whether the tokens of the output must be known."""
    return bool(request.presence_penalty) or request.logprobs


class ChoiceRun:
    """Runs one choice of a request, in as many runs of the engine as it takes."""

    def __init__(
        self,
        server: Server,
        vocabulary: Vocabulary,
        request: GenerationRequest,
        body: dict[str, Any],  # JSON
        grammar: OutputGrammar | None,
        choice: int,
    ) -> None:
        self._server = server
        self._vocabulary = vocabulary
        self._request = request
        self._choice = choice
        self._prompt_ids: Sequence[int] = body["prompt"]
        self._in_prompt = frozenset(self._prompt_ids) if request.presence_penalty else frozenset()
        self._body = {**body, "n_cmpl": 1, "seed": body["seed"] + choice}
        self._needs_tokens = need_vocabulary(request)
        if self._needs_tokens:
            self._body.setdefault("n_probs", 1)  # with them come the bytes of what was sampled
        self._written: list[int] = []
        self._count = 0  # tokens; more than are written if the last ones are no whole character
        self._text = ""
        self._matcher = StopMatcher(request.stop)
        self._is_due = False
        self._grammar = grammar
        self._is_lazy = grammar is not None and grammar.is_lazy
        self._progress: GrammarProgress | None = None
        if request.presence_penalty and grammar is not None and not self._is_lazy:
            self._progress = GrammarProgress(grammar.form)

    async def chunks(self) -> AsyncGenerator[Chunk, None]:
        """Chunks as one run of the engine would give them, cut at stop strings."""
        runs = 0
        is_first = True
        while len(self._written) < self._body["n_predict"]:
            before = len(self._written)
            async with aclosing(self._server.complete(self._run_body(runs), blame_of(self._request))) as source:
                async for chunk in source:
                    if chunk.stop or chunk.tokens_predicted:
                        for ready in self._taken(chunk, before):
                            yield ready
                            if ready.stop:
                                return
                        if self._must_begin_again():
                            break
                    elif is_first:  # progress on the prompt
                        yield chunk
                else:
                    return  # the engine broke off; who reads this notices that the choice has no end
            runs += 1
            is_first = False
        for ready in self._ended(Chunk(stop=True, stop_type="limit")):
            yield ready

    def _run_body(self, runs: int) -> dict[str, Any]:  # JSON
        request, body = self._request, self._body
        bias = translate.output_only(request, self._prompt_ids, frozenset(self._written))
        again = {
            "prompt": [*self._prompt_ids, *self._written],
            "n_predict": body["n_predict"] - len(self._written),
            "logit_bias": list(bias.items()),
        }
        if runs:
            again["seed"] = translate.engine_seed(body["seed"] + runs * _NEXT_SEED)
            again["cache_prompt"] = True  # its own prefix, which it has computed in the same way every time
            if (
                self._grammar is not None and self._progress is not None
            ):  # the engine knows nothing of what has been written
                again["grammar"] = gbnf(self._grammar.form, self._progress.rest())
                again["grammar_lazy"] = False
                again["grammar_triggers"] = []
        return {**body, **again}

    def _must_begin_again(self) -> bool:
        """Whether a token of the prompt has just entered the output, and no mark of a call is half written."""
        if not self._is_due or (self._is_lazy and beginning_of_mark(self._text)):
            return False
        self._is_due = False
        return True

    def _follow(self, text: str) -> None:
        """Follow the grammar; a lazy one begins at the mark of a call."""
        self._text += text
        if self._progress is not None:
            self._progress.read(text)
        elif self._grammar is not None and self._is_lazy and CALL_OPENS in self._text:
            self._progress = GrammarProgress(self._grammar.form)
            self._progress.read(self._text[self._text.index(CALL_OPENS) :])

    def _taken(self, chunk: Chunk, before: int) -> Iterator[Chunk]:
        """Take a chunk of a run that began after *before* tokens."""
        self._count = before + chunk.tokens_predicted
        if chunk.stop:
            yield from self._ended(chunk)
            return
        if self._needs_tokens:
            ids = self._vocabulary.tokens_of(chunk, self._count - len(self._written))
            self._is_due |= any(i in self._in_prompt and i not in self._written for i in ids)
            self._written += ids
            self._follow(chunk.content)
            chunk = msgspec.structs.replace(chunk, tokens=ids)
        text, matched = self._matcher.push(chunk.content)
        yield self._mine(chunk, text)
        if matched is not None:
            yield from self._ended(Chunk(stop=True, stop_type="word", stopping_word=matched))

    def _ended(self, chunk: Chunk) -> Iterator[Chunk]:
        held = self._matcher.flush()
        if held:
            yield self._mine(Chunk(), held)
        yield self._mine(chunk, "")

    def _mine(self, chunk: Chunk, text: str) -> Chunk:
        return msgspec.structs.replace(chunk, index=self._choice, content=text, tokens_predicted=self._count)


async def merged(sources: Sequence[AsyncGenerator[Chunk, None]]) -> AsyncGenerator[Chunk, None]:
    """Chunks of all *sources* as they come; closing it, or an error of one, ends them all."""
    queue: asyncio.Queue[Chunk | BaseException | None] = asyncio.Queue(maxsize=16)

    async def pump(source: AsyncGenerator[Chunk, None]) -> None:
        end: BaseException | None = None
        try:
            async with aclosing(source):
                async for chunk in source:
                    await queue.put(chunk)
        except EnginehouseError as error:
            end = error
        await queue.put(end)

    tasks = [asyncio.create_task(pump(source)) for source in sources]
    try:
        left = len(tasks)
        while left:
            item = await queue.get()
            if isinstance(item, Chunk):
                yield item
            elif item is None:
                left -= 1
            else:
                raise item
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
