"""Runs of the engine for one choice each, where one run for all would not mean the same.

Four things need this.

- Stop strings: a choice that has ended at one must not run on beside the others, and the engine cannot be left
  to match them. Seen in build 11549: text that it held back is lost when the limit ends the answer, and tokens
  of held-back text come without their bytes.
- A presence penalty counts the output alone, but the engine counts the prompt too. For tokens of the prompt a
  bias gives the penalty back, and once such a token is in the output the run is begun again behind it without
  that bias; the engine still has everything before in its cache.
- Logprobs: the engine sends nothing for a token that ends inside a character, and its logprob has to be asked for.
  That needs a slot, and the only one that a request may count on is its own: the run is broken off, what it did not
  tell is asked for, and the run is begun again behind what was written. What follows such a token is collected for a
  few tokens first: they share one break.
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
from .server import Chunk, Probability, Server
from .vocabulary import Vocabulary

_TOGETHER = 8
"""Chunks that wait for one break: how many do not depend on the pace, so that a seed gives one answer."""

_REST_OF_CHARACTER = 3
"""Tokens that a character may still need, of one byte each."""
_MOST_AGAIN = 256
"""Tokens that are made once more, for those behind them that are not told otherwise."""
_NEXT_SEED = 1_000_003  # a prime: later runs of one choice do not meet the first runs of its neighbours


def are_needed(request: GenerationRequest, slots: int) -> bool:
    """Whether *request* must be run choice by choice on an engine with *slots*."""
    return need_vocabulary(request) or any(request.stop) or request.n > slots


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
        self._banned = [pair for pair in body.get("logit_bias", ()) if pair[1] is False]
        self._needs_tokens = need_vocabulary(request)
        if self._needs_tokens:
            self._body.setdefault("n_probs", 1)  # with them come the bytes of what was sampled
        self._written: list[int] = []
        self._text = ""
        self._matcher = StopMatcher(request.stop)
        self._is_due = False
        self._grammar = grammar
        self._is_lazy = grammar is not None and grammar.is_lazy
        self._progress: GrammarProgress | None = None
        self._followed = 0  # characters of the text that the grammar has read

    async def chunks(self) -> AsyncGenerator[Chunk, None]:
        """Chunks as one run of the engine would give them, cut at stop strings, with all tokens and their logprobs."""
        runs = 0
        while len(self._written) < self._body["n_predict"]:
            before = len(self._written)
            body = await self._run_body(runs)
            waiting: list[Chunk] = []  # from the first that hides tokens on
            is_broken_off = False
            async with aclosing(self._server.complete(body, blame_of(self._request))) as source:
                async for sent in source:
                    if not sent.stop and not sent.tokens_predicted:  # progress on the prompt
                        if not runs:
                            yield sent
                        continue
                    chunk = self._known(sent, before)
                    if chunk.stop and self._request.logprobs and chunk.tokens_predicted > len(self._written):
                        waiting.append(await self._unsaid(body, chunk, before))
                    if waiting or (self._request.logprobs and len(chunk.tokens) > 1):
                        waiting.append(chunk)
                    else:
                        for ready in self._cut(chunk):
                            yield ready
                            if ready.stop:
                                return
                    if self._must_begin_again(len(waiting)):
                        is_broken_off = True
                        break
            if is_broken_off:
                await self._server.released(body)
            for chunk in waiting:
                for ready in self._cut(await self._told(chunk)):
                    yield ready
                    if ready.stop:
                        return
            if not is_broken_off:
                return  # the engine ended without an end; who reads this notices that the choice has none
            runs += 1
        for ready in self._ended(Chunk(stop=True, stop_type="limit", tokens_predicted=len(self._written))):
            yield ready

    async def _run_body(self, runs: int) -> dict[str, Any]:  # JSON
        body = {
            **self._body,
            "prompt": [*self._prompt_ids, *self._written],
            "n_predict": self._body["n_predict"] - len(self._written),
            **self._server.tag(),
        }
        if self._request.presence_penalty:
            bias = translate.output_only(self._request, self._prompt_ids, frozenset(self._written))
            body["logit_bias"] = [*bias.items(), *self._banned]
        if runs:
            body["seed"] = translate.engine_seed(body["seed"] + runs * _NEXT_SEED)
            body["cache_prompt"] = True  # its own prefix, which it has computed in the same way every time
            if self._grammar is not None:  # the engine knows nothing of what has been written
                rest = await asyncio.to_thread(self._rest, self._grammar)
                if rest is not None:
                    body.update(grammar=rest, grammar_lazy=False, grammar_triggers=[])
        return body

    def _must_begin_again(self, waiting: int) -> bool:
        """Whether a token of the prompt has just entered the output, or enough chunks wait for what they hide.

        But not while a mark of a call is half written.
        """
        if not (self._is_due or waiting >= _TOGETHER) or (self._is_lazy and beginning_of_mark(self._text)):
            return False
        self._is_due = False
        return True

    def _rest(self, grammar: OutputGrammar) -> str | None:
        """The grammar of what may follow the text; None while a lazy one has not begun, at the mark of a call."""
        if self._progress is None:
            if self._is_lazy:
                if CALL_OPENS not in self._text:
                    return None
                self._followed = self._text.index(CALL_OPENS)
            self._progress = GrammarProgress(grammar.form)
        self._progress.read(self._text[self._followed :])
        self._followed = len(self._text)
        return gbnf(grammar.form, self._progress.rest())

    def _known(self, chunk: Chunk, before: int) -> Chunk:
        """Find the tokens of a chunk of a run that began after *before* tokens, and count from the first run on."""
        count = before + chunk.tokens_predicted
        if chunk.stop or not self._needs_tokens:
            return msgspec.structs.replace(chunk, tokens_predicted=count)
        ids = self._vocabulary.tokens_of(chunk, count - len(self._written))
        self._is_due |= any(i in self._in_prompt and i not in self._written for i in ids)
        self._written += ids
        self._text += chunk.content
        return msgspec.structs.replace(chunk, tokens=ids, tokens_predicted=count)

    async def _told(self, chunk: Chunk) -> Chunk:
        """Ask for the logprobs of the tokens that *chunk* hides: all but its last."""
        at = chunk.tokens_predicted - len(chunk.tokens)
        found: list[Probability] = []
        for token_id in chunk.tokens[:-1]:
            before = [*self._prompt_ids, *self._written[: at + len(found)]]
            found.append(await self._vocabulary.probability(before, token_id))
        return msgspec.structs.replace(chunk, completion_probabilities=[*found, *chunk.completion_probabilities])

    async def _unsaid(self, body: dict[str, Any], chunk: Chunk, before: int) -> Chunk:
        """The tokens that the engine has sampled last and said nothing of, as the answer ends inside a character.

        The run of *body*, which began after *before* tokens, is made once more, a few tokens longer: it has the same
        seed. Where it takes another way, or would take long, these tokens stay untold.
        """
        count = chunk.tokens_predicted - len(self._written)
        own = self._written[before:]
        is_greedy = self._request.temperature == 0 and self._grammar is None and not self._request.presence_penalty
        if is_greedy:
            again = {**body, "prompt": [*self._prompt_ids, *self._written], "n_predict": count + _REST_OF_CHARACTER}
            own = []
        else:
            again = {**body, "n_predict": body["n_predict"] + _REST_OF_CHARACTER}
        found: list[int] = []
        if len(own) <= _MOST_AGAIN:
            async with aclosing(
                self._server.complete({**again, **self._server.tag()}, blame_of(self._request))
            ) as source:
                async for sent in source:
                    if not sent.stop and sent.tokens_predicted:
                        found += self._vocabulary.tokens_of(sent, sent.tokens_predicted - len(found))
                    if len(found) >= len(own) + count:
                        break
        if found[: len(own)] != own or len(found) < len(own) + count:
            return Chunk(tokens_predicted=chunk.tokens_predicted)
        unsaid = found[len(own) : len(own) + count]
        told: list[Probability] = []
        for token_id in unsaid:
            told.append(await self._vocabulary.probability([*self._prompt_ids, *self._written], token_id))
            self._written.append(token_id)
        return Chunk(tokens=unsaid[-1:], completion_probabilities=told, tokens_predicted=chunk.tokens_predicted)

    def _cut(self, chunk: Chunk) -> Iterator[Chunk]:
        """Cut *chunk* at a stop string, which ends the choice."""
        if chunk.stop:
            yield from self._ended(chunk)
            return
        text, matched = self._matcher.push(chunk.content)
        yield self._mine(chunk, text)
        if matched is not None:
            end = Chunk(stop=True, stop_type="word", stopping_word=matched, tokens_predicted=chunk.tokens_predicted)
            yield from self._ended(end)

    def _ended(self, chunk: Chunk) -> Iterator[Chunk]:
        held = self._matcher.flush()
        if held:
            yield self._mine(Chunk(tokens_predicted=chunk.tokens_predicted), held)
        yield self._mine(chunk, "")

    def _mine(self, chunk: Chunk, text: str) -> Chunk:
        return msgspec.structs.replace(chunk, index=self._choice, content=text)


async def merged(sources: Sequence[AsyncGenerator[Chunk, None]], at_once: int) -> AsyncGenerator[Chunk, None]:
    """Chunks of all *sources* as they come, *at_once* of them in turns; closing it, or an error of one, ends them all.

    One that has begun keeps its turn to its end: between two runs its slot stays its own.
    """
    queue: asyncio.Queue[Chunk | BaseException | None] = asyncio.Queue(maxsize=16)
    turns = asyncio.Semaphore(at_once)

    async def pump(source: AsyncGenerator[Chunk, None]) -> None:
        end: BaseException | None = None
        try:
            async with turns, aclosing(source):
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
