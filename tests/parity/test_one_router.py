"""Three model IDs on three engines behind one router at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx
import openai
import pytest
import pytest_asyncio
from tests.integration.served import Served
from tests.parity.engines import ENGINES, LOAD_S, MODELS

pytestmark = [pytest.mark.engine, pytest.mark.asyncio(loop_scope="module")]

_PATIENCE_S = 300.0
NO_END = {"0": -100, "2": -100}


@pytest.fixture(scope="module")
def served(request: pytest.FixtureRequest) -> Served:
    for engine in ENGINES:
        if engine.missing:
            pytest.skip(engine.missing)
    running: Served = request.getfixturevalue("router")
    return running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(served: Served) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(
        base_url=f"{served.url}/v1", api_key="none", max_retries=0, timeout=_PATIENCE_S
    ) as made:
        yield made


async def _plain(client: openai.AsyncOpenAI, model: str, text: str) -> tuple[str, int, int]:
    """Text, prompt tokens and completion tokens of a greedy answer of 16 tokens."""
    answer = await client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": text}], max_tokens=16, temperature=0, logit_bias=NO_END
    )
    (choice,) = answer.choices
    assert answer.model == model
    assert choice.finish_reason == "length"
    assert answer.usage is not None
    return choice.message.content or "", answer.usage.prompt_tokens, answer.usage.completion_tokens


async def _streamed(client: openai.AsyncOpenAI, model: str, text: str) -> tuple[str, int, int]:
    """The same, in a stream."""
    stream = await client.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": text}],
        max_tokens=16,
        temperature=0,
        logit_bias=NO_END,
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = [chunk async for chunk in stream]
    pieces = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices]
    assert sum(map(bool, pieces)) > 2
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "length"
    usage = chunks[-1].usage
    assert usage is not None
    return "".join(piece or "" for piece in pieces), usage.prompt_tokens, usage.completion_tokens


async def test_the_three_are_listed(served: Served) -> None:
    async with httpx.AsyncClient(trust_env=False, timeout=_PATIENCE_S) as http:
        listed = (await http.get(f"{served.url}/v1/models")).json()["data"]
    assert sorted(model["id"] for model in listed) == sorted(MODELS)


@pytest.mark.parametrize("model", MODELS)
async def test_each_answers_plain_and_streamed(client: openai.AsyncOpenAI, model: str) -> None:
    plain = await _plain(client, model, "Tell me of the sea.")
    assert plain == await _streamed(client, model, "Tell me of the sea.")
    assert plain[2] == 16


async def test_all_answer_at_once(client: openai.AsyncOpenAI) -> None:
    """Plain and streamed requests of all models together, several of each; each gets its own model's answer."""
    texts = [f"Lamp {number}." for number in range(3)]
    asked = [(ask, model, text) for ask in (_plain, _streamed) for model in MODELS for text in texts]
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(ask(client, model, text)) for ask, model, text in asked]
    found = {key: task.result() for key, task in zip(asked, tasks, strict=True)}
    for model in MODELS:
        for text in texts:
            assert found[_plain, model, text] == found[_streamed, model, text]
    for text in texts:  # the same weights and prompt
        assert len({found[_plain, model, text][1:] for model in MODELS}) == 1


async def test_each_engine_runs_below_the_router(served: Served, client: openai.AsyncOpenAI) -> None:
    """One engine that is killed costs its own model; the others answer meanwhile."""
    running = {model: await _plain(client, model, "Before.") for model in MODELS}
    first, *others = MODELS
    victim = [process for process in served.descendants() if str(ENGINES[0].tiny()) in " ".join(process.cmdline())]
    assert victim
    for process in victim:
        process.kill()
    for model in others:
        assert await _plain(client, model, "Before.") == running[model]
    await asyncio.to_thread(served.wait_ready, LOAD_S)
    assert await _plain(client, first, "Before.") == running[first]
