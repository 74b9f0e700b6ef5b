"""Vectors of the same weights on every engine, judged by their definition in numpy."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack

import numpy as np
import pytest
import pytest_asyncio
from tests.parity.engines import ENGINES, Engine, loaded
from tests.weights.hidden import Numbers, vector

from enginehouse_plugin import (
    Chat,
    EmbeddingRequest,
    Embeds,
    GenerationRequest,
    Inspectable,
    Instance,
    Reranks,
    Text,
    Tokens,
    UserMessage,
)
from enginehouse_plugin.errors import InputTooLong, RequestError
from tests.weights import tiny_hf

pytestmark = [pytest.mark.engine, pytest.mark.asyncio(loop_scope="module")]

CONTEXT_TOKENS = 64
FOX, DOG = "The quick brown fox jumps.", "A dog sleeps in the sun, all day."
CLOSE = 1e-3
"""Numbers are about 0.1. Attention on a processor is not of 32 bits everywhere."""
HERE = ("llamacpp", "mlx", "vllm")
"""Engines whose adapter makes vectors."""


class Model:
    """An instance that makes vectors, and what the tests ask it."""

    def __init__(self, instance: Instance) -> None:
        self.instance = instance

    async def ids(self, text: str) -> Sequence[int]:
        assert isinstance(self.instance, Inspectable)
        return await self.instance.tokenize(text)

    async def vectors(self, *inputs: Text | Tokens, truncate_tokens: int | None = None) -> list[Numbers]:
        assert isinstance(self.instance, Embeds)
        request = EmbeddingRequest(id="r", inputs=inputs, truncate_tokens=truncate_tokens)
        made = await self.instance.embed(request)
        return [np.frombuffer(one, "<f4").astype(np.float64) for one in made.vectors]


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
    fields = {"context_tokens": CONTEXT_TOKENS, "task": "embed", "dimensions": (16,)}
    options = {**engine.options, "pooling": "mean"}
    async with loaded(engine, engine.tiny(), options=options, **fields) as instance:
        yield Model(instance)


async def test_it_has_the_task_and_the_ability_alone(model: Model) -> None:
    assert model.instance.capabilities.tasks == {"embed"}
    assert model.instance.capabilities.dimensions == (64, 16)
    assert isinstance(model.instance, Embeds)
    assert not isinstance(model.instance, Reranks)
    chat = GenerationRequest(id="r", prompt=Chat((UserMessage("Hi"),)))
    with pytest.raises(RequestError, match="embed"):
        await anext(model.instance.generate(chat))
    await model.instance.check(chat)
    await model.instance.check_ready()


async def test_vectors_are_those_of_the_definition_in_the_inputs_order(model: Model) -> None:
    texts = [f"{FOX} {number} {DOG}"[: 20 + number] for number in range(20)]  # more than go at once
    made = await model.vectors(*(Text(text) for text in texts))
    assert len(made) == len(texts)
    for one, text in zip(made, texts, strict=True):
        assert np.linalg.norm(one) == pytest.approx(1.0, abs=1e-5)
        assert np.abs(one - vector(tiny_hf(), await model.ids(text))).max() < CLOSE
    assert np.abs(made[0] - made[19]).max() > 20 * CLOSE  # or any order would do


async def test_alone_together_and_as_tokens_they_are_the_same(model: Model) -> None:
    fox, dog = await model.vectors(Text(FOX), Text(DOG))
    (alone,) = await model.vectors(Text(DOG))
    (by_ids,) = await model.vectors(Tokens(tuple(await model.ids(FOX))))
    assert np.abs(alone - dog).max() < CLOSE
    assert np.abs(by_ids - fox).max() < CLOSE


async def test_tokens_are_counted_over_all_inputs(model: Model) -> None:
    assert isinstance(model.instance, Embeds)
    made = await model.instance.embed(EmbeddingRequest(id="r", inputs=(Text(FOX), Text(DOG))))
    counts = [len(await model.ids(text)) for text in (FOX, DOG)]
    assert made.prompt_tokens == sum(counts)
    assert await model.instance.count_tokens(GenerationRequest(id="r", prompt=Text(FOX))) == counts[0]


@pytest.mark.parametrize("as_tokens", [False, True])
async def test_a_long_input_is_refused_or_cut_where_that_is_asked_for(model: Model, as_tokens: bool) -> None:
    text = FOX * 20
    ids = tuple(await model.ids(text))
    long = Tokens(ids) if as_tokens else Text(text)
    with pytest.raises(InputTooLong) as refused:
        await model.vectors(Text(DOG) if not as_tokens else Tokens((1, 2)), long)
    assert (refused.value.index, refused.value.tokens) == (1, len(ids))
    assert refused.value.limit_tokens == CONTEXT_TOKENS
    (whole,) = await model.vectors(long, truncate_tokens=10_000)
    assert np.abs(whole - vector(tiny_hf(), ids[:CONTEXT_TOKENS])).max() < CLOSE
    (short,) = await model.vectors(long, truncate_tokens=5)
    assert np.abs(short - vector(tiny_hf(), ids[:5])).max() < CLOSE


async def test_control_tokens_in_a_text_act_as_such(model: Model) -> None:
    """As with every library that trains such models; there is no template to protect."""
    (made,) = await model.vectors(Text(f"{FOX}<|im_end|>"))
    assert isinstance(model.instance, Instance)
    end = 2  # the embedded model's `<|im_end|>`
    assert np.abs(made - vector(tiny_hf(), [*await model.ids(FOX), end])).max() < CLOSE


async def test_cancelling_frees_the_engine(model: Model) -> None:
    assert isinstance(model.instance, Inspectable)
    many = asyncio.gather(model.vectors(*(Text(FOX * 5) for _ in range(200))))
    while not await model.instance.active_requests():
        assert not many.done()
    many.cancel()
    with pytest.raises(asyncio.CancelledError):
        await many
    async with asyncio.timeout(10):
        await model.instance.drain(10)
        while await model.instance.active_requests():  # noqa: ASYNC110  # another process
            await asyncio.sleep(0.01)
    assert len(await model.vectors(Text(FOX))) == 1


@pytest.mark.long
@pytest.mark.parametrize("engine", [one for one in ENGINES if one.backend in HERE], ids=lambda one: one.backend)
async def test_the_last_token_may_stand_for_the_text(engine: Engine) -> None:
    if engine.missing:
        pytest.skip(engine.missing)
    async with AsyncExitStack() as stack:
        fields = {"context_tokens": CONTEXT_TOKENS, "task": "embed"}
        options = {**engine.options, "pooling": "last"}
        model = Model(await stack.enter_async_context(loaded(engine, engine.tiny(), options=options, **fields)))
        (made,) = await model.vectors(Text(FOX))
        assert np.abs(made - vector(tiny_hf(), await model.ids(FOX), "last")).max() < CLOSE
