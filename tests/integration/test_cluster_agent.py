"""The agent of a node, without Ray: it starts an engine in a process of its own, watches it, and ends it."""

from __future__ import annotations

import importlib.util
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import psutil
import pytest
from tests.siege.client import Client

from enginehouse.cluster import agent as agent_module
from enginehouse.cluster.agent import Agent
from enginehouse.cluster.messages import Answer, EngineTold, NodeTold, Spec, encode, engine_key
from tests.weights import tiny_gguf

if importlib.util.find_spec("xllamacpp") is None:  # imported it would be found by tests of who must not import it
    pytest.skip("install llama.cpp: pip install -e 'plugins/llamacpp[engine]'", allow_module_level=True)
pytestmark = pytest.mark.engine

TOKEN = "a token of a cluster"


def a_spec(source: str) -> Spec:
    placement = {"backend": "llamacpp", "source": source, "requires": ["cpu"], "options": {"slots": 2}}
    return Spec(model="tiny", table={"context_tokens": 512, "placements": [placement]}, devices=("cpu",))


@pytest.fixture
async def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Agent]:
    (tmp_path / "token").write_text(TOKEN)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setenv("ENGINEHOUSE_DATA", str(tmp_path / "data"))
    made = Agent("127.0.0.1")
    yield made
    if made._looking is not None:
        made._looking.cancel()
    for key in list(made._engines):
        await made._end(key, "the test is over")


async def told(agent: Agent, *wanted: str) -> NodeTold:
    _, encoded = await agent.beat("router", list(wanted), -1)
    return msgspec.json.decode(encoded, type=NodeTold)


async def started(agent: Agent, spec: Spec, router: str = "router") -> Answer:
    return msgspec.json.decode(await agent.start(7, router, "key", encode(spec)), type=Answer)


async def ask(engine: EngineTold, secret: str) -> int:
    host, _, port = engine.url.removeprefix("http://").rpartition(":")
    async with Client((host, int(port)), key=secret) as client:
        body = {"model": "tiny", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 2}
        return (await client.chat(body)).status


async def test_an_engine_is_started_shared_and_ended_when_nobody_wants_it(agent: Agent) -> None:
    """It answers to the key that is made of the token, and to nobody else; a second router gets the same one."""
    spec = a_spec(str(tiny_gguf()))
    answer = await started(agent, spec)
    assert answer.number == 7
    assert answer.engine is not None, answer
    assert answer.engine.capacity == 2
    assert await ask(answer.engine, engine_key(TOKEN)) == 200
    assert await ask(answer.engine, "eh-another") == 401
    assert await ask(answer.engine, TOKEN) == 401

    process = psutil.Process(agent._engines["key"].process.pid)
    assert (await started(agent, spec, "second")).engine == answer.engine
    await agent.stop(8, "router", "key")
    assert process.is_running()
    await agent.stop(9, "second", "key")
    assert not psutil.pid_exists(process.pid) or process.status() == psutil.STATUS_ZOMBIE
    assert (await told(agent)).engines == {}


async def test_an_engine_that_is_killed_is_told_with_its_end(agent: Agent) -> None:
    await started(agent, a_spec(str(tiny_gguf())))
    assert (await told(agent, "key")).engines["key"].state == "ready"
    os.kill(agent._engines["key"].process.pid, signal.SIGKILL)
    await agent._engines["key"].process.wait()
    await agent._engines["key"].task
    engine = (await told(agent, "key")).engines["key"]
    assert engine.state == "ended"
    assert "-9" in engine.reason


async def test_what_cannot_load_is_told_with_its_reason(agent: Agent, tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"no weights")
    spec = a_spec(str(broken))
    answer = await started(agent, spec)
    assert answer.engine is None
    assert answer.problem is not None
    assert "broken.gguf" in answer.problem.message
    fit = msgspec.json.decode(await agent.fit(3, encode(spec)), type=Answer)
    assert fit.number == 3
    assert fit.problem is not None


async def test_a_node_tells_what_it_has_and_weighs_a_placement(agent: Agent) -> None:
    node = await told(agent)
    assert "cpu" in {device.id for device in node.devices}
    assert node.backends["llamacpp"].problem is None
    fit = msgspec.json.decode(await agent.fit(1, encode(a_spec(str(tiny_gguf())))), type=Answer)
    assert fit.footprint["cpu"] > 0


async def test_an_engine_that_no_router_has_named_for_long_is_ended(
    agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A router that was killed says nothing any more."""
    await started(agent, a_spec(str(tiny_gguf())))
    monkeypatch.setattr(agent_module, "LINGER_S", 0.0)
    process = agent._engines["key"].process
    await told(agent)
    await process.wait()
    assert "key" not in agent._engines
