"""Texts that are filled in between two others, on every engine, by a model whose vocabulary has the tokens for it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from tests.asking import Answer, collected
from tests.parity.engines import ENGINES, Engine, loaded

from enginehouse_plugin import GenerationRequest, Inspectable, Instance, Text, Tokenizer, TokenizeRequest, Tokens
from enginehouse_plugin.request import Prompt
from tests.weights import fill_gguf, fill_hf

pytestmark = [pytest.mark.engine, pytest.mark.asyncio(loop_scope="module")]

BEFORE, BEHIND, BETWEEN, REPOSITORY = "<fim_prefix>", "<fim_suffix>", "<fim_middle>", "<reponame>"
PREFIX, SUFFIX = "def price(cents):\n    return ", "\n\nprint(price(5))"


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=ENGINES, ids=lambda engine: engine.backend)
async def instance(request: pytest.FixtureRequest) -> AsyncIterator[Instance]:
    engine: Engine = request.param
    if engine.missing:
        pytest.skip(engine.missing)
    async with loaded(engine, fill_gguf() if engine.backend == "llamacpp" else fill_hf()) as instance:
        yield instance


async def answer(instance: Instance, prompt: Prompt, **fields: Any) -> Answer:
    asked = {"max_tokens": 12, "temperature": 0.0, **fields}
    return await collected(instance, GenerationRequest(id="r", prompt=prompt, **asked))


async def read(instance: Instance, prompt: Prompt, suffix: str = "") -> list[int]:
    assert isinstance(instance, Tokenizer)
    asked = GenerationRequest(id="r", prompt=prompt, suffix=suffix)
    return list((await instance.tokenize_prompt(TokenizeRequest(request=asked))).token_ids)


async def plain(instance: Instance, text: str) -> list[int]:
    assert isinstance(instance, Inspectable)
    return list(await instance.tokenize(text))


async def control(instance: Instance, text: str) -> int:
    (token_id,) = await read(instance, Text(text))
    return token_id


@pytest.mark.parametrize("inside", ["", BETWEEN])
async def test_a_prompt_is_framed_and_holds_no_control_token_of_its_own(instance: Instance, inside: str) -> None:
    prefix, suffix = PREFIX + inside, inside + SUFFIX
    before, behind, between = [await control(instance, text) for text in (BEFORE, BEHIND, BETWEEN)]
    parts = await plain(instance, prefix), await plain(instance, suffix)
    expected = [before, *parts[0], behind, *parts[1], between]
    assert await read(instance, Text(prefix), suffix) == expected
    assert await read(instance, Tokens(tuple(parts[0])), suffix) == expected
    filled = await answer(instance, Text(prefix), suffix=suffix)
    assert filled.usage is not None
    assert filled.usage.prompt_tokens == len(expected)
    assert filled.text == (await answer(instance, Tokens(tuple(expected)))).text


async def test_another_file_ends_it(instance: Instance) -> None:
    forced = {await control(instance, REPOSITORY): 100.0}
    ended = await answer(instance, Text(PREFIX), suffix=SUFFIX, logit_bias=forced)
    assert (ended.text, ended.reason) == ("", "stop")
