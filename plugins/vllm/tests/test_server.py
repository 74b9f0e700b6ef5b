import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import pytest
import pytest_asyncio
from tests.asking import request

from enginehouse_kit.http.openai_schema import WireError
from enginehouse_kit.process.child import Child
from enginehouse_plugin import Sleepable
from enginehouse_plugin.errors import EngineFailure, EngineOverloaded, EngineUnavailable, InvalidRequest
from enginehouse_vllm import checkpoint as checkpoints
from enginehouse_vllm import vocabulary
from enginehouse_vllm.families import Parsers
from enginehouse_vllm.instance import SleepableVllmInstance
from enginehouse_vllm.model import describe
from enginehouse_vllm.server import Load, error_of, read_load

from .scripted import reply, scripted

METRICS = """# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="tiny"} 3.0
vllm:num_requests_running{engine="1",model_name="tiny"} 2.0
vllm:num_requests_waiting{engine="0",model_name="tiny"} 7.0
vllm:num_requests_waiting_by_reason{engine="0",model_name="tiny",reason="capacity"} 7.0
vllm:kv_cache_usage_perc{engine="0",model_name="tiny"} 0.25
vllm:kv_cache_usage_perc{engine="1",model_name="tiny"} 0.75
"""


def test_the_load_is_read_from_the_engines_metrics() -> None:
    assert read_load(METRICS) == Load(running=5, waiting=7, cache_used=0.5)
    assert read_load("") == Load()
    assert read_load("vllm:gpu_cache_usage_perc 0.5\n").cache_used == 0.5


@pytest.mark.parametrize(
    ("status", "message", "kind"),
    [
        (400, "token_id(s) out of vocabulary", InvalidRequest),
        (422, "bad", InvalidRequest),
        (429, "busy", EngineOverloaded),
        (503, "not now", EngineUnavailable),
        (500, "EngineCore encountered an issue", EngineFailure),
    ],
)
def test_an_error_of_the_engine_is_one_of_the_contract(status: int, message: str, kind: type[Exception]) -> None:
    found = error_of(status, WireError(message=message, param="logit_bias"))
    assert isinstance(found, kind)
    assert message in found.message


def test_a_grammar_that_the_engine_refuses_names_the_requests_field() -> None:
    found = error_of(400, WireError(message="Invalid grammar specification."), blame="tools")
    assert isinstance(found, InvalidRequest)
    assert (found.param, found.code) == ("tools", "unsupported_schema")


class Sleeper:
    """A scripted engine, because vLLM sleeps on GPUs only; it refuses the calls in *refused*."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.refused: set[str] = set()
        self.is_sleeping = False

    def answer(self, method: str, target: str, body: bytes) -> bytes:
        self.asked.append(f"{method} {target}")
        call = target.partition("?")[0]
        if call in self.refused:
            return reply(b"{}", status="500 Internal Server Error")
        self.is_sleeping = call == "/sleep" or (self.is_sleeping and call != "/wake_up")
        return reply(b'{"is_sleeping": %s}' % str(self.is_sleeping).lower().encode())


class Lasting:
    """Stands for the engine's process, which does not end."""

    async def wait_closed(self) -> None:
        await asyncio.get_running_loop().create_future()


@pytest_asyncio.fixture
async def sleeper() -> AsyncIterator[Sleeper]:
    """The scripted engine; `instance` of the next fixture is on it."""
    yield Sleeper()


@pytest_asyncio.fixture
async def instance(sleeper: Sleeper, tiny: Path, tmp_path: Path) -> AsyncIterator[SleepableVllmInstance]:
    """An instance that can sleep."""
    checkpoint = checkpoints.read(tiny)
    pieces = vocabulary.read(checkpoint.tokenizer or {})
    model = describe(checkpoint, "", Parsers(), pieces, context_tokens=64, sequences=1, prefix_cache=True)
    async with scripted(sleeper.answer, tmp_path) as server:
        yield SleepableVllmInstance(cast("Child", Lasting()), server, model)


async def test_sleep_and_wake_are_asked_of_the_engine(sleeper: Sleeper, instance: SleepableVllmInstance) -> None:
    assert isinstance(instance, Sleepable)
    await instance.sleep()
    await instance.wake()
    await instance.check_ready()
    assert sleeper.asked == ["POST /sleep?level=1&mode=wait", "POST /wake_up", "GET /health", "POST /collective_rpc"]


async def test_a_model_that_sleeps_refuses_requests_which_the_engine_would_keep(
    sleeper: Sleeper, instance: SleepableVllmInstance
) -> None:
    await instance.sleep()
    with pytest.raises(EngineUnavailable, match="The model sleeps"):
        await anext(instance.generate(request("Hi")))
    with pytest.raises(EngineUnavailable, match="The model sleeps"):
        await instance.check_ready()
    assert sleeper.asked == ["POST /sleep?level=1&mode=wait", "GET /health", "POST /collective_rpc"]


async def test_a_model_that_cannot_wake_sleeps_on(sleeper: Sleeper, instance: SleepableVllmInstance) -> None:
    await instance.sleep()
    sleeper.refused = {"/wake_up"}
    with pytest.raises(EngineFailure):
        await instance.wake()
    with pytest.raises(EngineUnavailable, match="The model sleeps"):
        await instance.check_ready()
    sleeper.refused = set()
    await instance.wake()
    await instance.check_ready()


async def test_a_model_that_cannot_sleep_stays_ready(sleeper: Sleeper, instance: SleepableVllmInstance) -> None:
    sleeper.refused = {"/sleep"}
    with pytest.raises(EngineFailure):
        await instance.sleep()
    await instance.check_ready()
