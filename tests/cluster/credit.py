"""Credit under kills on a cluster: routers on its nodes, which share PostgreSQL, in front of llama.cpp on all of them.

`python -m tests.cluster --routers 2 --store postgresql`: the database is killed and started again under streams of keys
with little credit, then one router is killed for good. What `tests.siege.credit` adds up afterwards is held beside what
the engines have counted: each answer that came whole, and all of their logs together.
"""

from __future__ import annotations

import contextlib
import json
import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import RowMapping
from tests.cluster.network import Node
from tests.cluster.town import SERVER, TWO_LINES, Router, asking, engine_requests, model_of
from tests.postgres import PostgreSQL
from tests.siege.client import Answer
from tests.siege.credit import PRICES, Campaign, ordeal
from tests.siege.verdict import Verdict

from enginehouse.accounts.credit_desk import CreditDesk
from enginehouse.config import load_config
from tests.weights import tiny_gguf


class OnNodes:
    """llama.cpp with tiny weights on each of *nodes*: what it has counted is in its answers and in its logs."""

    most_tokens = 300
    about = 0.008

    def __init__(self, nodes: Sequence[Node]) -> None:
        self._nodes = nodes
        self._whole: dict[int, tuple[int, int]] = {}
        self._asked: dict[int, int] = {}

    def house(self) -> str:
        """See `Engines`."""
        return SERVER + TWO_LINES + model_of("tiny", "llamacpp", tiny_gguf(), replicas=len(self._nodes), more=PRICES)

    def body(self, number: int, choice: random.Random) -> dict[str, Any]:
        """See `Engines`."""
        self._asked[number] = tokens = choice.choice((1, 20, 80, self.most_tokens))
        return asking("tiny", number, tokens)

    def heard(self, number: int, answer: Answer) -> None:
        """See `Engines`."""
        (used,) = [usage for event in answer.events()[:-1] if (usage := json.loads(event).get("usage"))]
        self._whole[number] = used["prompt_tokens"], used["completion_tokens"]

    def counted(self, number: int) -> tuple[int, int] | None:
        """See `Engines`."""
        return self._whole.get(number) or (0, self._asked[number])

    def _logged(self) -> Iterator[dict[str, Any]]:
        return (row for row in engine_requests(self._nodes) if row["model"] == "tiny")

    def sum_up(self, verdict: Verdict, rows: Mapping[int, RowMapping]) -> None:
        """See `Engines`: in the engines' logs requests have no numbers, so that all are held together."""
        logged = Counter((row["prompt_tokens"], row["completion_tokens"]) for row in self._logged())
        kept = Counter((row["prompt_tokens"], row["completion_tokens"]) for row in rows.values())
        whole = Counter(self._whole.values())
        verdict.expect(whole <= logged, f"answers came that no engine has logged: {dict(whole - logged)}")
        verdict.expect(kept.total() <= logged.total(), "the ledger has more requests than the engines")
        verdict.expect(_tokens(kept) <= _tokens(logged), "the ledger has more tokens than the engines")
        verdict.counts |= {
            "tokens of whole answers, as clients were told": _tokens(whole),
            "the same in the ledger": sum(
                rows[number]["completion_tokens"] for number in self._whole if number in rows
            ),
            "requests and tokens in the ledger": f"{kept.total()}, {_tokens(kept)}",
            "requests and tokens in the engines' logs": f"{logged.total()}, {_tokens(logged)}",
        }


def _tokens(counted: Counter[tuple[int, int]]) -> int:
    return sum(tokens * times for (_, tokens), times in counted.items())


async def shared(
    verdict: Verdict,
    nodes: Sequence[Node],
    *,
    routers: int,
    streams: int,
    keys: int,
    outages: int = 2,
    dies: bool = True,
) -> None:
    """So many *routers*, each on a node of its own, under `ordeal`."""
    with contextlib.closing(PostgreSQL(nodes[0].outside)) as server:
        campaign = Campaign(verdict, OnNodes(nodes), streams, keys)
        text = campaign.configuration(server.new_database())
        doors = [Router(node, text) for node in nodes[-routers:]]
        config = load_config(doors[0].file)
        desk = CreditDesk(config)
        await campaign.grant(desk)
        with contextlib.ExitStack() as running:
            for door in doors:
                running.enter_context(door.running())
            for door in doors:
                await door.until_ready(len(nodes))
            campaign.doors = doors
            await ordeal(campaign, desk, server, dies=dies, outages=outages, least_s=5.0)
        campaign.judge(config, is_spent=True)
