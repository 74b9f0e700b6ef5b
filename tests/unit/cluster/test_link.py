"""The router's side of the bridge, and what is told over it."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from enginehouse import __version__
from enginehouse.cluster.link import Link, device_on, is_usable
from enginehouse.cluster.messages import (
    Answer,
    EngineTold,
    Fit,
    Keep,
    Nodes,
    NodeSeen,
    NodeTold,
    Problem,
    Spec,
    Start,
    Stop,
    decode_asked,
    encode,
    engine_key,
)
from enginehouse.config import ClusterConfig
from enginehouse_plugin import Device
from enginehouse_plugin.errors import LoadFailed

SPEC = Spec(model="m", table={"context_tokens": 8}, devices=("cpu",))


class Pipe:
    """Stands for the connection to the bridge: keeps what the router asks."""

    def __init__(self) -> None:
        self.asked = []

    def is_closing(self) -> bool:
        return False

    def write(self, line: bytes) -> None:
        self.asked.append(decode_asked(line))


@pytest.fixture
def link() -> Link:
    made = Link(ClusterConfig(engine="ray"), lambda: None)
    made._writer = Pipe()
    return made


def hear(link: Link, told) -> None:
    link._hear(encode(told), [])


def a_node(state="up", version=__version__, **engines: EngineTold) -> NodeSeen:
    return NodeSeen(name="n", address="a", state=state, told=NodeTold(enginehouse=version, engines=engines))


async def started(link: Link) -> tuple[asyncio.Task, Start]:
    task = asyncio.create_task(link.run("n", SPEC))
    await asyncio.sleep(0)
    return task, link._writer.asked[-1]


async def test_an_engine_is_wanted_from_its_start_to_its_stop(link):
    task, asked = await started(link)
    assert isinstance(asked, Start)
    assert Keep({"n": (asked.key,)}) in link._writer.asked
    told = EngineTold(state="ready", url="http://a:1", capacity=3)
    hear(link, Answer(asked.number, engine=told))
    assert await task == (asked.key, told)
    again, second = await started(link)
    assert second.key != asked.key  # a replica is another engine
    again.cancel()
    stopping = asyncio.create_task(link.stop("n", asked.key))
    await asyncio.sleep(0)
    stop = link._writer.asked[-1]
    assert (type(stop), stop.key) == (Stop, asked.key)
    hear(link, Answer(stop.number))
    await stopping


async def test_a_load_that_is_cancelled_leaves_nothing_wanted(link):
    task, _ = await started(link)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [type(one) for one in link._writer.asked[-2:]] == [Keep, Stop]
    assert link._writer.asked[-2].wanted == {}


async def test_a_problem_there_is_a_failed_load_here(link):
    task, asked = await started(link)
    hear(link, Answer(asked.number, problem=Problem(message="no", code="c", last_words=("w",))))
    with pytest.raises(LoadFailed, match="no") as failed:
        await task
    assert (failed.value.code, failed.value.last_words) == ("c", ("w",))


async def test_without_a_bridge_it_is_said_at_once(link):
    link._writer = None
    with pytest.raises(LoadFailed, match="the cluster cannot be asked"):
        await link.fit("n", SPEC)


@pytest.mark.parametrize(
    ("then", "reason"),
    [
        ((), "the node 'n' is gone"),
        ((a_node(),), "the node 'n' does not run it any more"),
        ((a_node(KEY=EngineTold(state="ended", reason="it fell")),), "it fell"),
    ],
)
async def test_an_engine_ends_with_its_node_or_as_that_says(link, then, reason):
    task, asked = await started(link)
    hear(link, Answer(asked.number, engine=EngineTold(state="ready", url="u")))
    await task
    ready = EngineTold(state="ready", url="u")
    hear(link, Nodes((a_node(**{asked.key: ready}),)))
    ended = asyncio.create_task(link.wait_ended("n", asked.key))
    await asyncio.sleep(0)
    assert not ended.done()
    nodes = tuple(
        msgspec.structs.replace(
            node,
            told=msgspec.structs.replace(
                node.told, engines=dict(zip([asked.key], node.told.engines.values(), strict=False))
            ),
        )
        for node in then
    )
    hear(link, Nodes(nodes))
    assert (await ended).reason == reason


async def test_an_engine_that_was_just_begun_is_not_missed(link):
    """The node may have told before it heard of the engine."""
    hear(link, Nodes((a_node(),)))
    task, asked = await started(link)
    hear(link, Nodes((a_node(),)))
    hear(link, Answer(asked.number, engine=EngineTold(state="ready", url="u")))
    await task
    ended = asyncio.create_task(link.wait_ended("n", asked.key))
    await asyncio.sleep(0)
    assert not ended.done()
    ended.cancel()


async def test_an_engine_of_a_node_that_does_not_answer_goes_on(link):
    """Requests go to it directly: they tell sooner than the bridge whether it is there."""
    task, asked = await started(link)
    hear(link, Answer(asked.number, engine=EngineTold(state="ready", url="u")))
    await task
    hear(link, Nodes((a_node(**{asked.key: EngineTold(state="ready")}),)))
    ended = asyncio.create_task(link.wait_ended("n", asked.key))
    hear(link, Nodes((a_node("away", **{asked.key: EngineTold(state="ready")}),)))
    await asyncio.sleep(0)
    assert not ended.done()
    ended.cancel()


def test_a_node_of_another_version_gets_nothing():
    assert is_usable(a_node()) is None
    assert "it has Enginehouse 0.1" in str(is_usable(a_node(version="0.1")))
    assert is_usable(NodeSeen(name="n", address="a", state="away", reason="r")) == "r"


def test_the_key_for_engines_is_made_of_the_token_and_does_not_tell_it():
    assert engine_key("token\n") == engine_key("token")
    assert engine_key("token") != engine_key("other")
    assert "token" not in engine_key("token")


def test_devices_carry_the_name_of_their_node():
    assert device_on("n", Device(id="cuda:0", kind="cuda", name="G", memory_bytes=1)).id == "n/cuda:0"


def test_what_is_asked_is_read_as_it_was_written():
    assert decode_asked(encode(Fit(1, "n", SPEC))) == Fit(1, "n", SPEC)
    assert SPEC.key(0) == msgspec.structs.replace(SPEC).key(0) != SPEC.key(1)
