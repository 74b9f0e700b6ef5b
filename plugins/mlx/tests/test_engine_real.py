"""What only weights that mean something can show; all else is shown on random ones.

On real weights in f32: a fact is known, and an answer by schema tells it too.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio
from tests.asking import ask

from enginehouse_mlx.backend import MlxBackend
from enginehouse_plugin import Instance, JsonSchema, Placement
from tests.weights import smollm2_hf

pytestmark = [pytest.mark.engine, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def real(placement: Callable[..., Placement]) -> AsyncIterator[Instance]:
    instance = await MlxBackend().load(placement(smollm2_hf("f32"), context_tokens=512), (), lambda _: None)
    try:
        yield instance
    finally:
        await instance.unload()


async def test_the_capital_of_france(real: Instance) -> None:
    answer = await ask(real, max_tokens=7, logprobs=True)
    assert "Paris" in answer.text
    (paris,) = [token for token in answer.logprobs if token.token == " Paris"]
    assert paris.logprob > -0.5


async def test_an_answer_by_schema(real: Instance) -> None:
    city = {"type": "object", "properties": {"city": {"enum": ["London", "Paris", "Rome"]}}, "required": ["city"]}
    answer = await ask(real, output=JsonSchema("s", city), max_tokens=20)
    assert json.loads(answer.text) == {"city": "Paris"}
