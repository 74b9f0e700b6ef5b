"""Requests that generate nothing go the way of all others: queue, failures, accounts, limits, log line, metrics."""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from tests.unit.conftest import ScriptedInstance

from enginehouse.accounts import Credits, KeyRing, Ledger, Limiter, hash_secret
from enginehouse.accounts.credit_desk import CreditDesk
from enginehouse.accounts.store.sqlite import SQLiteStore
from enginehouse.config import AccountsConfig, Config, KeyConfig, Prices
from enginehouse.http.app import create_app
from enginehouse.live import Live
from enginehouse.plugins import Plugins
from enginehouse.service import Service
from enginehouse_plugin import Capabilities, EmbeddingRequest, Embeddings
from enginehouse_plugin.errors import EngineDied

KEY = {"authorization": "Bearer k"}


class EmbeddingInstance(ScriptedInstance):
    """Makes vectors when it `may`; `errors` are raised first, one a request."""

    def __init__(self, script: Any) -> None:
        super().__init__(script)
        self.may = asyncio.Event()
        self.may.set()
        self.errors: list[Exception] = []
        self.asked: list[EmbeddingRequest] = []

    async def embed(self, request: EmbeddingRequest) -> Embeddings:
        self.active += 1
        self.asked.append(request)
        try:
            await self.may.wait()
        finally:
            self.active -= 1
        if self.errors:
            raise self.errors.pop(0)
        vectors = tuple(array("f", [0.6, 0.8]).tobytes() for _ in request.inputs)
        return Embeddings(vectors=vectors, prompt_tokens=7 * len(request.inputs))


class Here:
    """A house with a model that makes vectors, all accounts kept, and a client."""

    def __init__(self, house: Any, folder: Path, key: dict[str, Any], model: dict[str, Any]) -> None:
        house.script.makes = EmbeddingInstance
        house.script.capabilities = Capabilities(
            context_tokens=16, max_concurrent_requests=1, tasks=frozenset({"embed"}), dimensions=(2, 1)
        )
        accounts = AccountsConfig(url=f"sqlite:///{folder}/a.db")
        config = house.config("m", **model)
        keys = (KeyConfig(name="k", sha256=hash_secret("k"), **key),)
        self.config: Config = msgspec.structs.replace(config, accounts=accounts, keys=keys)
        self.house = house
        self.desk = CreditDesk(self.config)
        self.store = SQLiteStore(f"{folder}/a.db")
        self.credit, limiter = Credits(), Limiter()
        self.credit.set_prices(self.config.models)
        limiter.set_models(self.config.models)
        self.ledger = Ledger(self.store, credit=self.credit, limiter=limiter)
        fleet = house.build(self.config)
        self.service = Service(Plugins(), fleet, ledger=self.ledger, limiter=limiter, credit=self.credit)
        app = create_app(Live(self.config), self.service, KeyRing(self.config.keys, limiter=limiter))
        fleet.start()
        self.client = httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://localhost", headers=KEY, timeout=30
        )

    @property
    def instance(self) -> EmbeddingInstance:
        found = self.house.script.instances[-1]
        assert isinstance(found, EmbeddingInstance)
        return found

    async def ask(self, **fields: Any) -> httpx.Response:
        return await self.client.post("/v1/embeddings", json={"model": "m", "input": ["a", "b"], **fields})

    async def close(self) -> None:
        await self.client.aclose()
        self.service.settle()
        await asyncio.to_thread(self.ledger.close)


Open = Callable[..., Any]


@pytest.fixture
async def opened(house: Any, tmp_path: Path) -> AsyncIterator[Open]:
    made: list[Here] = []

    async def build(key: dict[str, Any] | None = None, **model: Any) -> Here:
        made.append(Here(house, tmp_path, key or {}, model))
        if model.get("load") != "first_request":
            await house.until("ready")
        return made[-1]

    yield build
    for here in made:
        await here.close()


async def test_vectors_are_answered_logged_counted_and_shown(opened: Open, logs: list[dict[str, Any]]) -> None:
    here = await opened()
    answer = await here.ask(user="u")
    assert answer.status_code == 200, answer.text
    assert answer.json()["usage"] == {"prompt_tokens": 14, "total_tokens": 14}
    assert len(answer.json()["data"]) == 2
    assert answer.headers["x-enginehouse-instance"] == "m#0"
    here.service.settle()
    (line,) = [line for line in logs if line["event"] == "request"]
    assert (line["endpoint"], line["prompt_tokens"], line["completion_tokens"]) == ("embeddings", 14, 0)
    assert line["status"] == 200
    card = (await here.client.get("/v1/models/m")).json()
    assert (card["task"], card["dimensions"]) == ("embed", [2, 1])
    metrics = here.service.metrics_text()
    assert 'endpoint="embeddings"' in metrics or 'model="m"' in metrics


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions", "/v1/messages", "/v1/responses"])
async def test_a_model_for_vectors_refuses_to_generate(opened: Open, path: str) -> None:
    here = await opened()
    said = {"messages": [{"role": "user", "content": "hi"}]}
    body: dict[str, Any] = {"/v1/completions": {"prompt": "a"}, "/v1/responses": {"input": "a"}}.get(path, said)
    answer = await here.client.post(path, json={"model": "m", "max_tokens": 5, **body} if "resp" not in path else {
        "model": "m", **body})  # fmt: skip
    assert answer.status_code == 400, answer.text
    for word in ("'m'", "'embed'", "/v1/embeddings"):
        assert word in answer.text
    assert not here.instance.asked


@pytest.mark.parametrize("told_by", ["configuration", "instance"])
async def test_a_model_that_generates_refuses_to_make_vectors(opened: Open, house: Any, told_by: str) -> None:
    """Also where it is not loaded yet, and loads first where its configuration does not say."""
    here = await opened(load="first_request", task="chat" if told_by == "configuration" else None)
    house.script.capabilities = Capabilities(context_tokens=16, max_concurrent_requests=1)
    answer = await here.ask()
    error = answer.json()["error"]
    assert (answer.status_code, error["param"], error["code"]) == (400, "model", "wrong_task")
    for word in ("'m'", "'chat'", "/v1/chat/completions"):
        assert word in error["message"]
    assert bool(house.script.placements) == (told_by == "instance")


async def test_the_backend_hears_what_the_owner_says(opened: Open, house: Any) -> None:
    await opened(task="embed", dimensions=(8,))
    assert (house.script.placements[0].task, house.script.placements[0].dimensions) == ("embed", (8,))


async def test_one_waits_for_another_and_a_client_that_leaves_frees_its_slot(opened: Open, eventually: Any) -> None:
    here = await opened()
    here.instance.may.clear()
    first, second = asyncio.create_task(here.ask()), asyncio.create_task(here.ask())
    gate = here.house.hosted.gate
    await eventually(lambda: here.instance.active == 1 and gate.waiting == 1)
    first.cancel()
    await eventually(lambda: len(here.instance.asked) == 2 and here.instance.active == 1)
    here.instance.may.set()
    assert (await second).status_code == 200
    assert (gate.running, gate.waiting) == (0, 0)


async def test_a_death_is_tried_once_more(opened: Open) -> None:
    here = await opened()
    here.instance.errors = [EngineDied("gone")]
    answer = await here.ask()
    assert answer.status_code == 200
    assert len(here.instance.asked) == 2


async def test_a_request_that_takes_too_long_is_a_504(opened: Open, house: Any) -> None:
    here = await opened(server={"first_token_timeout_s": 0.05})
    here.instance.may.clear()
    answer = await here.ask()
    assert answer.status_code == 504
    assert here.instance.active == 0


async def test_the_key_pays_for_the_prompt_alone(opened: Open) -> None:
    here = await opened(prices=Prices(input="1", cached="1", output="100"))
    here.desk.grant("k", "0.001000")
    here.credit.learn(here.store.known_credits(0))
    answer = await here.ask(input=["word " * 10] * 4)
    assert answer.status_code == 200, answer.text
    assert await asyncio.to_thread(here.ledger.flush, 20)
    (key,) = here.desk.audit().keys
    assert float(key.charged) * 1e6 == 28


async def test_what_several_long_inputs_may_cost_is_more_than_one_context(opened: Open) -> None:
    here = await opened(prices=Prices(input="1", cached="1", output="100"))
    here.desk.grant("k", "0.000600")
    here.credit.learn(here.store.known_credits(0))
    answer = await here.ask(input=["word " * 10] * 4)
    assert answer.status_code == 402
    assert not here.instance.asked


async def test_limits_count_its_tokens(opened: Open) -> None:
    here = await opened(key={"tokens_per_minute": 20})
    assert (await here.ask()).status_code == 200
    assert (await here.ask()).status_code == 200  # 14 so far
    refused = await here.ask()
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "rate_limit_exceeded")


async def test_a_key_for_other_endpoints_is_refused(opened: Open) -> None:
    here = await opened(key={"endpoints": ("chat",)})
    assert (await here.ask()).status_code == 403
