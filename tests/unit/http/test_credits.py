"""Requests of keys that pay: refused, bounded, charged, and answered to the end only when that is written down."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from sqlalchemy import select

from enginehouse import service as services
from enginehouse.accounts import Credits, KeyRing, Ledger, hash_secret
from enginehouse.accounts.credit_desk import CreditDesk
from enginehouse.accounts.store import reading
from enginehouse.accounts.store.journal import Journal, left
from enginehouse.accounts.store.sqlite import SQLiteStore
from enginehouse.accounts.store.tables import usage
from enginehouse.config import AccountsConfig, Config, Defaults, KeyConfig, Prices
from enginehouse.http.app import create_app
from enginehouse.live import Live
from enginehouse.plugins import Plugins
from enginehouse.service import Service

ASKED = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
COST = 5 + 2 * 0.5 + 2 * 100  # of a scripted answer, in millionths of a credit: 7 tokens of a prompt, 2 of them cached
PROMPT = 512  # what the context lets a prompt be


class Bar:
    """A house whose model has prices, with its accounts on a file."""

    def __init__(self, house: Any, folder: Path, **model: Any) -> None:
        accounts = AccountsConfig(url=f"sqlite:///{folder}/a.db")
        keys = tuple(KeyConfig(name=name, sha256=hash_secret(name)) for name in ("payer", "guest"))
        config = house.config("m", "free", **model)
        models = config.models | {
            "m": msgspec.structs.replace(config.models["m"], prices=Prices(input="1", cached="0.5", output="100"))
        }
        self.config: Config = msgspec.structs.replace(config, accounts=accounts, keys=keys, models=models)
        self.desk = CreditDesk(self.config)
        self.desk.grant("payer", "1")
        self.desk.withdraw("payer", "1")  # it pays, and has nothing
        self.path = f"{folder}/a.db"
        self.store = SQLiteStore(self.path)
        credit = Credits()
        credit.set_prices(self.config.models)
        credit.learn(self.store.known_credits(0))
        self.ledger = Ledger(self.store, credit=credit)
        self.service = Service(Plugins(), house.build(self.config), ledger=self.ledger, credit=credit)
        self.app = create_app(Live(self.config), self.service, KeyRing(self.config.keys))
        self.service.fleet.start()
        self.client = httpx.AsyncClient(transport=httpx.ASGITransport(self.app), base_url="http://localhost")

    def grant(self, millionths: int) -> None:
        self.desk.grant("payer", f"0.{millionths:06d}")

    async def ask(self, key: str = "payer", **fields: Any) -> httpx.Response:
        headers = {"authorization": f"Bearer {key}"}
        return await self.client.post("/v1/chat/completions", json={**ASKED, **fields}, headers=headers)

    async def charged(self) -> float:
        """What the key was charged, in millionths of a credit, once it is committed."""
        assert await asyncio.to_thread(self.ledger.flush, 20)
        (key,) = self.audit().keys
        return float(key.charged) * 1e6

    def serials(self) -> set[int]:
        """The requests whose rows outlive the router now, in the database or in its journal."""
        with reading(self.config) as connection:
            committed = connection.execute(select(usage.c.serial)).scalars().all()
        return {*committed, *(serial for rows in left(self.path).values() for serial in rows)}

    def audit(self) -> Any:
        found = self.desk.audit()
        assert found.problems == ()
        return found

    async def close(self) -> None:
        await self.client.aclose()
        self.service.settle()
        await asyncio.to_thread(self.ledger.close)


@pytest.fixture
async def open_bar(house: Any, tmp_path: Path) -> AsyncIterator[Callable[..., Any]]:
    opened: list[Bar] = []

    async def build(**model: Any) -> Bar:
        opened.append(Bar(house, tmp_path, **model))
        await house.until("ready")
        return opened[-1]

    yield build
    for bar in opened:
        await bar.close()


async def test_a_key_without_credit_gets_402_and_others_are_served(open_bar: Callable[..., Any]) -> None:
    bar = await open_bar()
    refused = await bar.ask(max_tokens=5)
    assert refused.status_code == 402
    error = refused.json()["error"]
    assert (error["type"], error["code"]) == ("insufficient_credits", "insufficient_credits")
    assert "up to 0.00101" in error["message"]
    assert (await bar.ask(model="free")).status_code == 200
    assert (await bar.ask("guest")).status_code == 200
    assert bar.audit().requests == 0


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_that_has_arrived_is_paid_for(open_bar: Callable[..., Any], stream: bool) -> None:
    bar = await open_bar()
    bar.grant(5000)
    for asked in range(1, 4):
        assert (await bar.ask(max_tokens=5, stream=stream)).status_code == 200
        assert {*range(1, asked + 1)} == bar.serials()  # before anybody waits for a commit
        assert await bar.charged() == pytest.approx(asked * COST)
    assert bar.audit().uncollected == "0"


async def test_a_request_that_says_no_max_tokens_has_what_the_credit_covers(
    open_bar: Callable[..., Any], house: Any
) -> None:
    bar = await open_bar()
    bar.grant(PROMPT + 350)
    assert (await bar.ask(max_tokens=4)).json()["error"]["param"] == "max_tokens"
    assert (await bar.ask()).status_code == 200
    assert house.script.requests[-1].max_tokens == 3
    assert (await bar.ask()).status_code == 200  # of what the first has left
    assert house.script.requests[-1].max_tokens == 1
    assert (await bar.ask()).status_code == 402


async def test_a_default_counts_as_what_a_request_says(open_bar: Callable[..., Any], house: Any) -> None:
    bar = await open_bar(defaults=Defaults(max_tokens=4))
    bar.grant(PROMPT + 350)
    assert (await bar.ask()).status_code == 402
    assert (await bar.ask(max_tokens=3)).status_code == 200
    assert house.script.requests[-1].max_tokens == 3


async def test_an_answer_whose_row_is_in_the_journal_does_not_wait_for_the_database(
    open_bar: Callable[..., Any],
) -> None:
    bar = await open_bar()
    bar.grant(5000)
    assert (await bar.ask(max_tokens=5)).status_code == 200
    with bar.desk._engine():  # nobody else writes meanwhile
        answer = await bar.ask(max_tokens=5)
        assert answer.status_code == 200
        assert bar.serials() == {1, 2}
    assert await bar.charged() == pytest.approx(2 * COST)


async def test_the_end_of_an_answer_that_no_journal_has_waits_for_the_database_and_not_for_ever(
    open_bar: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "HOLD_S", 0.2)
    monkeypatch.setattr(Journal, "keep", lambda *_: False)  # say, its disk is full
    bar = await open_bar()
    bar.grant(5000)
    assert (await bar.ask(max_tokens=5)).status_code == 200
    with bar.desk._engine():  # nobody else writes meanwhile
        answer = await bar.ask(max_tokens=5)
        assert answer.status_code == 200
        assert bar.audit().requests == 1
    assert await bar.charged() == pytest.approx(2 * COST)


async def test_a_client_that_leaves_pays_for_the_last_counts_seen(
    open_bar: Callable[..., Any], house: Any, eventually: Callable[..., Any]
) -> None:
    bar = await open_bar()
    bar.grant(5000)
    hello = house.script.answer

    async def stuck(instance: Any, request: Any) -> AsyncIterator[Any]:
        async for event in hello(instance, request):
            yield event
            if getattr(event, "completion_tokens", 0) == 1:
                await asyncio.get_running_loop().create_future()

    house.script.answer = stuck
    asking = asyncio.ensure_future(bar.ask(max_tokens=5, stream=True))
    await eventually(lambda: house.script.requests and bar.ledger._running)
    facts = next(iter(bar.ledger._running))
    await eventually(lambda: facts.completion_tokens == 1)
    asking.cancel()
    await asyncio.wait([asking])
    bar.service.finish(facts, 499)  # the transport of this test does not tell that its client has left
    await eventually(lambda: not bar.ledger._running)
    assert await asyncio.to_thread(bar.ledger.flush, 20)
    assert await bar.charged() == pytest.approx(COST - 100)
