"""The thread that owns the model: loads it, steps it, and frees it. MLX's streams are bound to their thread.

Requests come and go between steps. A step computes one token for every running sequence and at most
`batch_tokens` of every prompt that is being read, so that neither waits for the other for long.
"""

from __future__ import annotations

import asyncio
import copy
import queue
import threading
import traceback
from collections.abc import Callable
from typing import Any, TypeVar

import mlx.core as mx
from mlx_lm.generate import BatchGenerator, StopSequences
from mlx_lm.models.cache import LRUPromptCache, can_trim_prompt_cache, trim_prompt_cache

from enginehouse_plugin import GenerationRequest
from enginehouse_plugin.errors import EngineDied, EngineFailure, EnginehouseError, EngineOverloaded, InvalidRequest

from .jobs import Begun, Job, Sampled, failure_of
from .loading import LoadedModel, give_back
from .sampling import RowSampling
from .settings import Figures, Settings

_Result = TypeVar("_Result")
_CACHE_KEY = "model"  # of mlx_lm's cache of prompts, which serves several models
_MAX_KEPT = 64  # sequences


class _Row:
    """A choice of a job in the batch."""

    def __init__(self, job: Job, choice: int, sampling: RowSampling) -> None:
        self.job = job
        self.choice = choice
        self.sampling = sampling
        self.has_read = False
        """Its prompt is read: it generates."""


class Owner(threading.Thread):
    """Runs *load*, then jobs until `stop`. `loaded` tells what came of loading, without the weights, which are this
    thread's own; `ended` tells that the thread is over.
    """

    def __init__(self, load: Callable[[], LoadedModel], settings: Settings) -> None:
        super().__init__(name="model owner", daemon=True)
        self._load = load
        self._settings = settings
        self._loop = asyncio.get_running_loop()
        self.loaded: asyncio.Future[LoadedModel] = self._loop.create_future()
        self.ended: asyncio.Future[str] = self._loop.create_future()
        self._inbox: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._is_stopping = False
        self._rows: dict[int, _Row] = {}
        self._leaders: dict[int, Job] = {}
        """Jobs of several choices whose prompt the first one still reads, by the uid of that one."""
        self._news: list[tuple[Job, Begun | Sampled | EnginehouseError]] = []
        self._weight_bytes = 0
        self._has_model = False

    # ---- on the event loop ----

    def submit(self, job: Job) -> None:
        """Begin *job*."""
        self._inbox.put(lambda: self._add(job))

    def end_choice(self, job: Job, choice: int) -> None:
        """Nobody needs more of *choice*: its text has ended at a stop string."""
        self._inbox.put(lambda: self._drop([u for u, row in self._rows_of(job) if row.choice == choice], keep=True))

    def cancel(self, job: Job) -> None:
        """Nobody waits for *job* any more."""
        self._inbox.put(lambda: self._cancel(job))

    async def figures(self) -> Figures:
        """Ask how busy it is; answered between two steps."""
        answer: asyncio.Future[Figures] = self._loop.create_future()
        self._inbox.put(lambda: self._post(answer, self._figures()))
        return await answer

    async def apart(self, work: Callable[[LoadedModel], _Result]) -> _Result:
        """Run *work* on the model between two steps, and return what comes of it.

        Raises:
            EngineFailure, EngineOverloaded, EngineDied: it failed, or the thread has ended.
        """
        return await self._asked(lambda: work(self._model))

    async def _asked(self, work: Callable[[], _Result]) -> _Result:
        answer: asyncio.Future[_Result] = self._loop.create_future()
        self._inbox.put(lambda: self._work(work, answer))
        await asyncio.wait((answer, self.ended), return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            raise EngineDied(f"The engine has ended: {self.ended.result()}.")
        return answer.result()

    async def sleep(self) -> None:
        """Free the model, and all that it has read; jobs may come again after `wake`.

        Raises:
            EngineFailure, EngineDied: as `apart`.
        """
        await self._asked(self._free)

    async def wake(self) -> None:
        """Load the model again.

        Raises:
            LoadFailed, DoesNotFit, EngineFailure, EngineOverloaded, EngineDied: as loading, and `apart`.
        """
        await self._asked(lambda: self._begin(self._load()))

    async def stop(self) -> None:
        """End the thread; the model is freed. Idempotent."""
        self._is_stopping = True
        self._inbox.put(lambda: None)
        await asyncio.shield(self.ended)

    # ---- on this thread ----

    def run(self) -> None:
        """Load and serve."""
        reason = "the model was unloaded"
        try:
            self._begin(self._load())
        except Exception as error:  # noqa: BLE001  # whoever waits for the model gets it
            self._post_error(self.loaded, error)
            self._post(self.ended, "loading failed")
            return
        self._post(self.loaded, self._model.beside())
        try:
            self._serve()
        except Exception as error:  # noqa: BLE001  # outermost handler of the thread
            traceback.print_exc()
            reason = f"{type(error).__name__}: {error}"
        self._fail_all(EngineDied(f"The engine has ended: {reason}."))
        self._free()
        self._post(self.ended, reason)

    def _begin(self, model: LoadedModel) -> None:
        """Take *model* for what comes."""
        self._model = model
        self._weight_bytes = mx.get_active_memory()
        self._generator: Any = self._new_generator()  # Any: mlx_lm has no types
        self._kept: Any = LRUPromptCache(_MAX_KEPT, self._settings.prefix_cache_bytes)
        self._has_model = True

    def _free(self) -> None:
        """Let go of the model, of its batch and of what is kept of prompts."""
        if self._has_model:
            self._has_model = False
            del self._model, self._generator, self._kept
            give_back()

    def _serve(self) -> None:
        while not self._is_stopping:
            failure = self._turn()
            if failure is not None:  # the batch is lost, the model is not
                self._fail_all(failure)
                self._kept.trim_to(n_sequences=0)
                self._generator.close()
                self._generator = self._new_generator()
                mx.clear_cache()
            self._tell()

    def _turn(self) -> EnginehouseError | None:
        """Run commands and a step; what they failed with, free of the traceback that would hold the batch's memory."""
        try:
            self._take_commands()
            if self._rows and not self._is_stopping:
                self._step()
        except Exception as error:  # noqa: BLE001  # whoever waits for an answer gets it
            traceback.print_exc()
            return failure_of(error)
        return None

    def _work(self, work: Callable[[], _Result], answer: asyncio.Future[_Result]) -> None:
        if answer.cancelled():
            return
        try:
            self._post(answer, work())
        except Exception as error:  # noqa: BLE001  # whoever waits for it gets it
            self._post_error(answer, error if isinstance(error, EnginehouseError) else failure_of(error))

    def _new_generator(self) -> Any:  # Any: mlx_lm has no types
        settings = self._settings
        return BatchGenerator(
            self._model.model,
            completion_batch_size=settings.slots,
            prefill_batch_size=settings.slots,
            prefill_step_size=settings.batch_tokens,
            stream=mx.default_stream(mx.default_device()),
        )

    def _take_commands(self) -> None:
        """Run what was asked for; wait for something if there is nothing to do."""
        if not self._rows:
            self._inbox.get()()
        while True:
            try:
                self._inbox.get_nowait()()
            except queue.Empty:
                return

    # ---- jobs ----

    def _add(self, job: Job) -> None:
        try:
            self._make_room(job)
            self._insert(job)
        except EnginehouseError as error:
            self._news.append((job, error))
        except Exception as error:  # noqa: BLE001  # the fault of this job alone
            traceback.print_exc()
            self._drop([uid for uid, _ in self._rows_of(job)], keep=False)
            self._news.append((job, failure_of(error)))

    def _make_room(self, job: Job) -> None:
        """Hold the memory limit: kept prefixes give way, and what still does not fit is refused.

        Raises:
            EngineOverloaded: running sequences need the memory.
            InvalidRequest: it would not fit alone.
        """
        limit = self._settings.memory_limit_bytes
        if limit is None:
            return
        reserved = self._needed_bytes(job) * job.request.n + self._weight_bytes
        if reserved > limit:
            raise InvalidRequest(
                f"This request may come to need {reserved} bytes with the model, and the memory limit of this model is "
                f"{limit}. Ask for fewer choices ('n') or tokens ('max_tokens').",
                param="n" if job.request.n > 1 else "max_tokens",
            )
        reserved += sum(self._needed_bytes(row.job) for row in self._rows.values())
        reserved += sum(self._needed_bytes(leading) * (leading.request.n - 1) for leading in self._leaders.values())
        if reserved > limit:
            raise EngineOverloaded(
                f"The memory limit of this model ({limit} bytes) leaves no room for this request beside those that run."
            )
        self._kept.trim_to(n_bytes=limit - reserved)

    def _needed_bytes(self, job: Job) -> int:
        """Bytes that one sequence of *job* may come to need."""
        return (len(job.prompt_ids) + job.max_tokens) * self._settings.token_bytes

    def _insert(self, job: Job) -> None:
        """Put *job* into the batch. Its prompt is read once, whatever the number of choices."""
        cache, rest = self._fetch(job)
        cached = len(job.prompt_ids) - len(rest)
        if len(rest) == 1:
            for choice in range(job.request.n):
                self._insert_choice(job, choice, copy.deepcopy(cache), rest)
        else:
            uid = self._insert_choice(job, 0, cache, rest)
            if job.request.n > 1:
                self._leaders[uid] = job
        self._news.append((job, Begun(cached)))

    def _fetch(self, job: Job) -> tuple[Any, list[int]]:  # Any: a cache of mlx_lm
        """The nearest kept cache, and the tokens that it lacks: at least one, to have logits from."""
        prompt = job.prompt_ids
        if job.request.seed is not None:
            return None, prompt
        cache, rest = self._kept.fetch_nearest_cache(_CACHE_KEY, prompt)
        if rest:
            return cache, rest
        if cache is None or not can_trim_prompt_cache(cache):
            return None, prompt
        trim_prompt_cache(cache, 1)
        return (cache, prompt[-1:]) if len(prompt) > 1 else (None, prompt)

    def _insert_choice(self, job: Job, choice: int, cache: Any, rest: list[int]) -> int:  # Any: a cache of mlx_lm
        vocabulary = self._model.vocabulary
        sampling = RowSampling(
            job.request,
            job.first + choice,
            job.prompt_ids,
            vocabulary.size,
            sorted(vocabulary.ends_of(job.request)),
            job.matchers[choice],
        )
        (uid,) = self._generator.insert(
            [rest],
            max_tokens=[job.max_tokens],
            caches=[cache],
            all_tokens=[job.prompt_ids[: len(job.prompt_ids) - len(rest)]],
            samplers=[sampling.sampler],
            logits_processors=[sampling.processors],
            stop_sequences=[self._stops(job.request)],
        )
        self._rows[uid] = _Row(job, choice, sampling)
        return int(uid)

    def _stops(self, request: GenerationRequest) -> Any:  # Any: mlx_lm has no types
        return StopSequences([(identity,) for identity in self._model.vocabulary.ends_of(request)])

    def _cancel(self, job: Job) -> None:
        self._drop([uid for uid, _ in self._rows_of(job)], keep=False)

    def _drop(self, uids: list[int], *, keep: bool) -> None:
        """Take rows out of the batch; *keep* what they have computed for later prompts."""
        present = [uid for uid in uids if uid in self._rows]
        if not present:
            return
        caches = self._generator.remove(present, return_prompt_caches=keep)
        for uid in present:
            del self._rows[uid]
            self._leaders.pop(uid, None)
        for cache, tokens in caches.values():
            self._keep(tokens, cache)

    def _keep(self, tokens: list[int], cache: Any) -> None:  # Any: a cache of mlx_lm
        if self._settings.prefix_cache_bytes and tokens:
            mx.eval([part.state for part in cache])  # or it would hold the batch that it was taken from
            self._kept.insert_cache(_CACHE_KEY, list(tokens), cache)

    def _rows_of(self, job: Job) -> list[tuple[int, _Row]]:
        return [(uid, row) for uid, row in self._rows.items() if row.job is job]

    # ---- steps ----

    def _step(self) -> None:
        # mlx_lm bounds sequences that generate and sequences whose prompt is being read, but not both together.
        generating = sum(row.has_read for row in self._rows.values())
        self._generator.prefill_batch_size = self._settings.slots - generating
        prompts, tokens = self._generator.next()
        for response in prompts:
            if response.end_of_prompt:
                self._rows[response.uid].has_read = True
            elif response.uid in self._leaders and response.progress[0] == response.progress[1] - 1:
                self._follow(response.uid)
        for response in tokens:
            row = self._rows.get(response.uid)
            if row is None:
                continue
            measured = row.sampling.measured(response.token) if row.job.request.logprobs else None
            if row.sampling.problem is not None and response.finish_reason is not None:
                problem = EngineFailure(f"The grammar of the answer could not be followed: {row.sampling.problem}")
                self._news.append((row.job, problem))
                self._cancel(row.job)
                continue
            self._news.append((row.job, Sampled(row.choice, response.token, measured, response.finish_reason)))
            if response.finish_reason is not None:
                del self._rows[response.uid]
                if response.prompt_cache is not None:
                    self._keep(response.all_tokens, response.prompt_cache)

    def _follow(self, uid: int) -> None:
        """The first choice has read the prompt but for its last token: the others go on from there."""
        job = self._leaders.pop(uid)
        cache, _ = self._generator.extract_cache([uid])[uid]
        for choice in range(1, job.request.n):
            self._insert_choice(job, choice, copy.deepcopy(cache), job.prompt_ids[-1:])

    # ---- news ----

    def _fail_all(self, error: EnginehouseError) -> None:
        for job in {id(row.job): row.job for row in self._rows.values()}.values():
            self._news.append((job, error))
        self._rows.clear()
        self._leaders.clear()
        self._tell()

    def _tell(self) -> None:
        if self._news:
            news, self._news = self._news, []
            self._call(lambda: _put(news))

    def _figures(self) -> Figures:
        if not self._has_model:
            return Figures(0, 0, 0.0)
        settings = self._settings
        waiting = sum(job.request.n - 1 for job in self._leaders.values())
        count = len(self._rows) + waiting
        running = min(count, settings.slots)
        room = settings.slots * settings.context_tokens * settings.token_bytes
        return Figures(running, count - running, min(self._generator.prompt_cache_nbytes / max(room, 1), 1.0))

    def _post(self, future: asyncio.Future[Any], result: object) -> None:
        self._call(lambda: None if future.done() else future.set_result(result))

    def _post_error(self, future: asyncio.Future[Any], error: Exception) -> None:
        self._call(lambda: None if future.done() else future.set_exception(error))

    def _call(self, function: Callable[[], object]) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(function)


def _put(news: list[tuple[Job, Begun | Sampled | EnginehouseError]]) -> None:
    for job, item in news:
        job.put(item)
