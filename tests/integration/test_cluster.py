"""Models on the nodes of a Ray cluster: the same file as on one host and two lines more; killed parts come again."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import signal

import pytest
from tests.cluster.credit import shared
from tests.cluster.network import Node
from tests.cluster.town import (
    ACCOUNTS,
    SERVER,
    TWO_LINES,
    Router,
    asking,
    engines_of,
    kill_engines,
    page,
    tokens_of,
    told_by_engines,
    verdict,
)
from tests.postgres import NEEDED, binaries
from tests.siege.verdict import Verdict

from tests.weights import tiny_gguf

pytest.importorskip("ray", reason="install Ray, which the extra ray brings")
if importlib.util.find_spec("xllamacpp") is None:  # imported it would be found by tests of who must not import it
    pytest.skip("install llama.cpp: pip install -e 'plugins/llamacpp[engine]'", allow_module_level=True)
pytestmark = pytest.mark.engine

MODEL = "assistant"


@pytest.fixture(scope="module")
def cluster(nodes: dict[str, Node]) -> dict[str, Node]:
    """The nodes of a running cluster."""
    one, two = nodes.values()
    one.up()
    two.join(one)
    return nodes


async def test_a_file_serves_one_host_and_with_two_lines_more_a_cluster(cluster: dict[str, Node]) -> None:
    """Replicas are on both nodes; requests survive killed engines and a killed bridge; the ledger agrees."""
    one, two = cluster.values()
    house = SERVER + ACCOUNTS + page("one-host").replace("demo:smollm2-135m", str(tiny_gguf()))
    assert len(TWO_LINES.splitlines()) == 2
    alone = Router(two, house)
    with alone.running():
        await alone.until_ready(2)
        assert await alone.nodes_of(MODEL) == {f"{MODEL}#0": "cpu", f"{MODEL}#1": "cpu"}
        async with alone.client() as client:
            before = await client.chat(asking(MODEL, 1))
        assert verdict(before) == "whole"

    router = Router(two, house + TWO_LINES)
    with router.running():
        await router.until_ready(2)
        assert sorted((await router.nodes_of(MODEL)).values()) == ["one", "two"]
        async with router.client() as client:
            after = await client.chat(asking(MODEL, 1))
        assert verdict(after) == "whole"
        assert tokens_of(after) == tokens_of(before)
        told = tokens_of(before) + tokens_of(after)

        os.kill(router.bridge(), signal.SIGKILL)
        told += await several(router, 8)
        await logged(one, two, told - tokens_of(before))  # an engine's last lines go with it
        assert kill_engines(one) == 1
        told += await several(router, 8)
        await router.until_ready(2)
        assert sorted((await router.nodes_of(MODEL)).values()) == ["one", "two"]
        told += await several(router, 8)

        second = Router(one, house + TWO_LINES)
        with second.running():
            await second.until_ready(2)
            assert sorted((await second.nodes_of(MODEL)).values()) == ["one", "two"]
            assert len(engines_of(one)) == len(engines_of(two)) == 1  # the same ones
            told_second = await several(second, 8)
            told += await several(router, 8)
        told += await several(router, 8)  # which the second one has left to the first
    assert second.usage() == {MODEL: (8, told_second)}
    assert router.usage() == {MODEL: (42, told)}
    assert "Traceback" not in router.log()
    await logged(one, two, told + told_second - tokens_of(before))


@pytest.mark.long
@pytest.mark.skipif(binaries() is None, reason=NEEDED)
async def test_routers_on_nodes_that_are_killed_with_their_database_charge_each_answer_once(
    cluster: dict[str, Node],
) -> None:
    verdict = Verdict("two routers on PostgreSQL")
    await shared(verdict, list(cluster.values()), routers=2, streams=16, keys=4, outages=1)
    assert verdict.failures == []
    assert {"outages", "kills", "whole", "refused for credit"} <= verdict.counts.keys()


async def logged(one: Node, two: Node, tokens: int) -> None:
    """Wait until engines have written of *tokens*: of the answer that came without a cluster its host alone has."""
    for _ in range(600):
        if told_by_engines([one, two])[MODEL] == tokens:
            return
        await asyncio.sleep(0.05)
    raise AssertionError((told_by_engines([one, two]), tokens))


async def several(router: Router, count: int) -> int:
    """Ask *count* requests at once, all of which have to be answered; returns their tokens."""

    async def ask(number: int) -> int:
        async with router.client() as client:
            answer = await client.chat(asking(MODEL, number))
        assert verdict(answer) == "whole", (answer, router.log()[-4000:])
        return tokens_of(answer)

    return sum(await asyncio.gather(*(ask(number) for number in range(count))))
