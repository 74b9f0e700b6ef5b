import asyncio
from pathlib import Path
from typing import cast

import pytest

from enginehouse_plugin import Sleepable
from enginehouse_plugin.errors import EngineFailure, EngineOverloaded, EngineUnavailable, InvalidRequest
from enginehouse_plugin.hosting.child import Child
from enginehouse_plugin.hosting.openai_schema import WireError
from enginehouse_vllm import checkpoint as checkpoints
from enginehouse_vllm import vocabulary
from enginehouse_vllm.families import Parsers
from enginehouse_vllm.instance import SleepableVllmInstance
from enginehouse_vllm.model import describe
from enginehouse_vllm.server import Load, Server, error_of, read_load

METRICS = """# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="tiny"} 3.0
vllm:num_requests_running{engine="1",model_name="tiny"} 2.0
vllm:num_requests_waiting{engine="0",model_name="tiny"} 7.0
vllm:num_requests_waiting_by_reason{engine="0",model_name="tiny",reason="capacity"} 7.0
vllm:kv_cache_usage_perc{engine="0",model_name="tiny"} 0.25
"""


def test_the_load_is_read_from_the_engines_metrics() -> None:
    assert read_load(METRICS) == Load(running=5, waiting=7, cache_used=0.25)
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


async def test_sleep_and_wake_are_asked_of_the_engine(tiny: Path, tmp_path: Path) -> None:
    """Scripted, because vLLM sleeps on GPUs only."""
    asked = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append((await reader.readuntil(b"\r\n\r\n")).split(b" HTTP")[0].decode())
        status = b"200 OK" if len(asked) < 3 else b"500 Internal Server Error"
        writer.write(b"HTTP/1.1 " + status + b"\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}")
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    path = str(tmp_path / "s.sock")
    checkpoint = checkpoints.read(tiny)
    pieces = vocabulary.read(checkpoint.tokenizer or {})
    model = describe(checkpoint, "", Parsers(), pieces, context_tokens=64, sequences=1, prefix_cache=True)
    engine = await asyncio.start_unix_server(answer, path)
    server = Server(path, "m")
    instance = SleepableVllmInstance(cast("Child", None), server, model)
    try:
        assert isinstance(instance, Sleepable)
        await instance.sleep()
        await instance.wake()
        with pytest.raises(EngineFailure):
            await instance.sleep()
    finally:
        await server.close()
        engine.close()
        await engine.wait_closed()
    assert asked == ["POST /sleep?level=1&mode=wait", "POST /wake_up", "POST /sleep?level=1&mode=wait"]
