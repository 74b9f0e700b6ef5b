"""Scores of the same reranker on every engine that has them, judged by their definition in numpy."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import msgspec
import pytest
import pytest_asyncio
from tests.parity.engines import ENGINES, Engine, loaded
from tests.weights.rank import pair, score

from enginehouse_plugin import (
    Chat,
    Embeds,
    GenerationRequest,
    Inspectable,
    Instance,
    RerankRequest,
    Reranks,
    Scores,
    UserMessage,
)
from enginehouse_plugin.errors import InputTooLong, InvalidRequest, LoadFailed, RequestError
from tests.weights import rank_gguf, rank_hf

pytestmark = [pytest.mark.engine, pytest.mark.asyncio(loop_scope="module")]

CONTEXT_TOKENS = 64
QUERY = "What do foxes jump over?"
FOX, DOG = "The quick brown fox jumps.", "A dog sleeps in the sun, all day."
CLOSE = 5e-3
"""Of scores from 0 to 1. llama.cpp looks the activation up in 16 bits, and takes its approximation by tanh."""
HERE = ("llamacpp", "vllm")
"""Engines whose adapter scores."""


class Model:
    """An instance that scores, and what the tests ask it."""

    def __init__(self, instance: Instance) -> None:
        self.instance = instance

    async def ids(self, text: str) -> Sequence[int]:
        assert isinstance(self.instance, Inspectable)
        return await self.instance.tokenize(text)

    async def scored(self, *documents: str, query: str = QUERY, truncate_tokens: int | None = None) -> Scores:
        assert isinstance(self.instance, Reranks)
        request = RerankRequest(id="r", query=query, documents=documents, truncate_tokens=truncate_tokens)
        return await self.instance.rerank(request)

    async def expected(self, document: str, document_tokens: int | None = None) -> float:
        return score(rank_hf(), pair(await self.ids(QUERY), (await self.ids(document))[:document_tokens]))


def weights(engine: Engine) -> Any:
    return rank_gguf() if engine.backend == "llamacpp" else rank_hf()


@pytest_asyncio.fixture(
    scope="module",
    loop_scope="module",
    params=[engine for engine in ENGINES if engine.backend in HERE],
    ids=lambda engine: engine.backend,
)
async def model(request: pytest.FixtureRequest) -> AsyncIterator[Model]:
    engine: Engine = request.param
    if engine.missing:
        pytest.skip(engine.missing)
    async with loaded(engine, weights(engine), context_tokens=CONTEXT_TOKENS) as instance:
        yield Model(instance)


async def test_the_weights_say_the_task_and_it_is_the_only_ability(model: Model) -> None:
    assert model.instance.capabilities.tasks == {"rerank"}
    assert isinstance(model.instance, Reranks)
    assert not isinstance(model.instance, Embeds)
    chat = GenerationRequest(id="r", prompt=Chat((UserMessage("Hi"),)))
    with pytest.raises(RequestError, match="rerank"):
        await anext(model.instance.generate(chat))
    await model.instance.check_ready()


async def test_scores_are_those_of_the_definition_in_the_documents_order(model: Model) -> None:
    texts = [f"{FOX} {number} {DOG}"[: 20 + number] for number in range(40)]  # more than go at once
    made = (await model.scored(*texts)).scores
    expected = [await model.expected(text) for text in texts]
    assert made == pytest.approx(expected, abs=CLOSE)
    assert all(0 <= one <= 1 for one in made)
    assert max(expected) - min(expected) > 20 * CLOSE  # or any order would do


async def test_alone_and_together_they_are_the_same(model: Model) -> None:
    fox, dog = (await model.scored(FOX, DOG)).scores
    assert (await model.scored(DOG)).scores == pytest.approx((dog,), abs=CLOSE)
    assert (await model.scored(DOG, FOX)).scores == pytest.approx((dog, fox), abs=CLOSE)
    other = (await model.scored(FOX, query="Is it night?")).scores[0]
    assert abs(other - fox) > 2 * CLOSE  # the query matters


async def test_tokens_are_counted_over_all_documents_each_with_the_query(model: Model) -> None:
    made = await model.scored(FOX, DOG)
    assert made.prompt_tokens == sum([len(pair(await model.ids(QUERY), await model.ids(one))) for one in (FOX, DOG)])


async def test_a_long_document_is_refused_or_cut_where_that_is_asked_for(model: Model) -> None:
    long = FOX * 20
    whole = len(pair(await model.ids(QUERY), await model.ids(long)))
    with pytest.raises(InputTooLong) as refused:
        await model.scored(DOG, long)
    assert (refused.value.index, refused.value.tokens, refused.value.limit_tokens) == (1, whole, CONTEXT_TOKENS)
    frame = len(pair(await model.ids(QUERY), []))
    for asked, kept in ((10_000, CONTEXT_TOKENS - frame), (frame + 5, 5)):
        made = await model.scored(DOG, long, truncate_tokens=asked)
        expected = [await model.expected(DOG, kept), await model.expected(long, kept)]
        assert made.scores == pytest.approx(expected, abs=CLOSE), asked
    assert abs(await model.expected(long, 5) - await model.expected(long, CONTEXT_TOKENS - frame)) > 2 * CLOSE


async def test_a_query_that_leaves_no_room_is_refused(model: Model) -> None:
    for cut in (None, 10_000):
        with pytest.raises(InvalidRequest, match="query"):
            await model.scored(FOX, query=QUERY * 20, truncate_tokens=cut)


async def test_cancelling_frees_the_engine(model: Model) -> None:
    assert isinstance(model.instance, Inspectable)
    many = asyncio.gather(model.scored(*(FOX * 5 for _ in range(200))))
    while not await model.instance.active_requests():
        assert not many.done()
    many.cancel()
    with pytest.raises(asyncio.CancelledError):
        await many
    async with asyncio.timeout(10):
        await model.instance.drain(10)
        while await model.instance.active_requests():  # noqa: ASYNC110  # another process
            await asyncio.sleep(0.01)
    assert len((await model.scored(FOX)).scores) == 1


@pytest.mark.parametrize("engine", [one for one in ENGINES if one.backend == "mlx"], ids=lambda one: one.backend)
async def test_an_engine_without_rerankers_says_so_and_names_one_that_has_them(engine: Engine) -> None:
    with pytest.raises(LoadFailed, match=r"rerankers.*llama\.cpp"):
        async with loaded(msgspec.structs.replace(engine), rank_hf(), task="rerank"):
            pass
