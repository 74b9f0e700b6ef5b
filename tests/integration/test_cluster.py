"""Models on the nodes of a Ray cluster: the same file as on one host and two lines more; killed parts come again."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cluster.network import Node, network
from tests.cluster.town import (
    TWO_LINES,
    Router,
    asking,
    config,
    engines_of,
    kill_engines,
    tokens_of,
    told_by_engines,
    verdict,
)

pytest.importorskip("ray", reason="install Ray, which the extra ray brings")
if importlib.util.find_spec("xllamacpp") is None:  # imported it would be found by tests of who must not import it
    pytest.skip("install llama.cpp: pip install -e 'plugins/llamacpp[engine]'", allow_module_level=True)
pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(
        sys.platform != "linux" or os.geteuid() != 0 or shutil.which("ip") is None,
        reason="needs root on Linux and iproute2: nodes are network namespaces",
    ),
]


@pytest.fixture(scope="module")
def nodes() -> Iterator[dict[str, Node]]:
    with (
        tempfile.TemporaryDirectory(prefix="eh-", ignore_cleanup_errors=True) as place,  # sockets want short paths
        network(["one", "two"], Path(place)) as made,
    ):
        yield made


async def test_a_file_serves_one_host_and_with_two_lines_more_a_cluster(nodes: dict[str, Node]) -> None:
    """Replicas are on both nodes; requests survive killed engines and a killed bridge; the ledger agrees."""
    one, two = nodes.values()
    alone = Router(two, config(mlx=False))
    with alone.running():
        await alone.until_ready(2)
        assert await alone.nodes_of("tiny") == {"tiny#0": "cpu", "tiny#1": "cpu"}
        async with alone.client() as client:
            before = await client.chat(asking("tiny", 1))
        assert verdict(before) == "whole"

    one.up()
    two.join(one)
    router = Router(two, config(mlx=False) + TWO_LINES)
    with router.running():
        await router.until_ready(2)
        assert sorted((await router.nodes_of("tiny")).values()) == ["one", "two"]
        async with router.client() as client:
            after = await client.chat(asking("tiny", 1))
        assert verdict(after) == "whole"
        assert tokens_of(after) == tokens_of(before)
        told = tokens_of(before) + tokens_of(after)

        os.kill(router.bridge(), signal.SIGKILL)
        told += await several(router, 8)
        await logged(one, two, told - tokens_of(before))  # an engine's last lines go with it
        assert kill_engines(one) == 1
        told += await several(router, 8)
        await router.until_ready(2)
        assert sorted((await router.nodes_of("tiny")).values()) == ["one", "two"]
        told += await several(router, 8)

        second = Router(one, config(mlx=False) + TWO_LINES)
        with second.running():
            await second.until_ready(2)
            assert sorted((await second.nodes_of("tiny")).values()) == ["one", "two"]
            assert len(engines_of(one)) == len(engines_of(two)) == 1  # the same ones
            told_second = await several(second, 8)
            told += await several(router, 8)
        told += await several(router, 8)  # which the second one has left to the first
    assert second.usage() == {"tiny": (8, told_second)}
    assert router.usage() == {"tiny": (42, told)}
    assert "Traceback" not in router.log()
    await logged(one, two, told + told_second - tokens_of(before))


async def logged(one: Node, two: Node, tokens: int) -> None:
    """Wait until engines have written of *tokens*: of the answer that came without a cluster its host alone has."""
    for _ in range(600):
        if told_by_engines([one, two])["tiny"] == tokens:
            return
        await asyncio.sleep(0.05)
    raise AssertionError((told_by_engines([one, two]), tokens))


async def several(router: Router, count: int) -> int:
    """Ask *count* requests at once, all of which have to be answered; returns their tokens."""

    async def ask(number: int) -> int:
        async with router.client() as client:
            answer = await client.chat(asking("tiny", number))
        assert verdict(answer) == "whole", (answer, router.log()[-4000:])
        return tokens_of(answer)

    return sum(await asyncio.gather(*(ask(number) for number in range(count))))
