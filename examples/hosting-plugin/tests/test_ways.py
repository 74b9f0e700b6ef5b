"""The same chain in every way of hosting: what it says, refuses, and leaves behind."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import enginehouse_markov as markov
import enginehouse_markov_hosted as hosted
import pytest
from enginehouse_markov_hosted.remote import RemoteOptions

import enginehouse_plugin as eh
from enginehouse_plugin.errors import ContextTooLong, EngineError, LoadFailed, UnsupportedFeature

FABLES = Path(__file__).parents[2] / "fables.txt"
BACKENDS = {kind.name: kind for kind in hosted.enginehouse_backends()}
IN_PROCESS = eh.BackendType(name="markov", version="1", create=markov.MarkovBackend, options=markov.Options)


def placed(backend: str, source: str = str(FABLES), step_s: float = 0.0) -> eh.Placement:
    options = RemoteOptions() if backend == "markov-remote" else markov.Options(step_s=step_s)
    path = None if backend == "markov-remote" else source
    return eh.Placement(model="parrot", backend=backend, source=source, path=path, context_tokens=64, options=options)


async def load(backend: str, source: str = str(FABLES), step_s: float = 0.0) -> eh.Instance:
    kind = BACKENDS.get(backend, IN_PROCESS)
    return await kind.create().load(placed(backend, source, step_s), (), lambda _: None)


@pytest.fixture
def server(unused_tcp_port: int) -> Iterator[subprocess.Popen[bytes]]:
    argv = [sys.executable, "-m", "enginehouse_markov_hosted.server", str(FABLES), "64", "0.01", str(unused_tcp_port)]
    with subprocess.Popen(argv) as process:
        yield process
        process.kill()


@pytest.fixture
def address(server: subprocess.Popen[bytes], unused_tcp_port: int) -> str:
    return f"http://127.0.0.1:{unused_tcp_port}"


@pytest.fixture(params=sorted(BACKENDS))
async def instance(request: pytest.FixtureRequest) -> AsyncIterator[eh.Instance]:
    """The chain, a word each 10 ms."""
    if request.param == "markov-remote":
        loaded = await load_when_it_answers(request.getfixturevalue("address"))
    else:
        loaded = await load(request.param, step_s=0.01)
    yield loaded
    await loaded.unload()


async def load_when_it_answers(address: str) -> eh.Instance:
    async with asyncio.timeout(30):
        while True:
            try:
                return await load("markov-remote", address)
            except LoadFailed:
                await asyncio.sleep(0.05)


def asking(text: str = "The fox", **fields: object) -> eh.GenerationRequest:
    return eh.GenerationRequest(id="r", prompt=eh.Chat((eh.UserMessage(text),)), seed=7, **fields)  # type: ignore[arg-type]


async def events_of(instance: eh.Instance, request: eh.GenerationRequest) -> list[eh.AnyEvent]:
    return [event async for event in instance.generate(request)]


def text_of(events: list[eh.AnyEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, eh.TextDelta))


@pytest.mark.parametrize("stream", [False, True])
async def test_it_says_what_it_says_in_the_routers_own_process(instance: eh.Instance, stream: bool) -> None:
    request = asking(max_tokens=12, stream=stream)
    here, there = await events_of(await load("markov"), request), await events_of(instance, request)
    assert text_of(there) == text_of(here)
    assert there[-2:] == here[-2:]
    assert isinstance(there[0], eh.Started)


async def test_a_prompt_beyond_the_context_is_refused_with_its_error(instance: eh.Instance) -> None:
    with pytest.raises(ContextTooLong):
        await events_of(instance, asking("word " * 100))


async def test_what_is_not_declared_is_refused(instance: eh.Instance) -> None:
    with pytest.raises(UnsupportedFeature):
        await events_of(instance, asking(stop=("x",)))


async def test_who_leaves_in_the_middle_waits_for_nothing(instance: eh.Instance) -> None:
    stream = instance.generate(asking(stream=True))
    await anext(stream)
    await anext(stream)
    async with asyncio.timeout(5):
        await stream.aclose()
    assert text_of(await events_of(instance, asking(max_tokens=3)))


async def test_it_ends_when_it_is_unloaded(instance: eh.Instance) -> None:
    await instance.check_ready()
    await instance.unload()
    assert (await instance.wait_closed()).is_expected


async def test_a_child_that_cannot_start_fails_with_its_last_words() -> None:
    with pytest.raises(LoadFailed) as caught:
        await load("markov-child", "/there/is/no/text")
    assert "/there/is/no/text" in "\n".join(caught.value.last_words)


async def test_a_server_that_is_not_there_is_a_failed_load(unused_tcp_port: int) -> None:
    with pytest.raises(LoadFailed):
        await load("markov-remote", f"http://127.0.0.1:{unused_tcp_port}")


async def test_a_server_that_ends_in_mid_answer_is_an_error_of_the_engine(
    server: subprocess.Popen[bytes], address: str
) -> None:
    instance = await load_when_it_answers(address)
    stream = instance.generate(asking(stream=True))
    await anext(stream)
    server.kill()
    with pytest.raises(EngineError):
        async for _ in stream:
            pass
    await instance.unload()
