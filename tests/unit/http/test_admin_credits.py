"""Credit and usage under `/admin`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from tests.unit.accounts.facts import ended

from enginehouse.accounts import KeyRing, hash_secret
from enginehouse.accounts.prices import PerToken
from enginehouse.accounts.store.columns import HOST, row
from enginehouse.accounts.store.sqlite import SQLiteStore
from enginehouse.config import AccountsConfig, KeyConfig
from enginehouse.http.app import create_app
from enginehouse.live import Live
from enginehouse.plugins import Plugins
from enginehouse.service import Service

KEYS = (
    KeyConfig(name="owner", sha256=hash_secret("owner"), admin=True),
    KeyConfig(name="user", sha256=hash_secret("user")),
)


@pytest.fixture
async def client(house: Any, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    accounts = AccountsConfig(url=f"sqlite:///{tmp_path}/a.db")
    config = msgspec.structs.replace(house.config(), accounts=accounts, keys=KEYS)
    app = create_app(Live(config), Service(Plugins(), house.build(config)), KeyRing(config.keys))
    by_owner = {"authorization": "Bearer owner"}
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost", headers=by_owner) as client:
        yield client


async def test_only_a_key_for_it_may_look_or_grant(client: httpx.AsyncClient) -> None:
    by_user = {"authorization": "Bearer user"}
    paths = (
        ("GET", ""), ("POST", "/grant"), ("POST", "/withdraw"), ("POST", "/budget"), ("GET", "/history"),
        ("GET", "/audit"),
    )  # fmt: skip
    for method, path in paths:
        assert (await client.request(method, f"/admin/credits{path}", headers=by_user, json={})).status_code == 403
    assert (await client.get("/admin/usage", headers=by_user)).status_code == 403


async def test_credit_is_granted_once_withdrawn_bounded_and_audited(client: httpx.AsyncClient) -> None:
    for _ in range(2):
        asked = {"key": "user", "amount": "2.50", "reference": "r"}
        granted = (await client.post("/admin/credits/grant", json=asked)).json()
    assert (granted["key"], granted["balance"], granted["leased"]) == ("user", "2.5", "0")
    assert (await client.post("/admin/credits/withdraw", json={"key": "user", "amount": "1"})).json()[
        "balance"
    ] == "1.5"
    for monthly in ("1", None):
        bounded = await client.post("/admin/credits/budget", json={"key": "user", "monthly": monthly})
        assert bounded.json()["monthly"] == monthly
    assert [one["key"] for one in (await client.get("/admin/credits")).json()["keys"]] == ["user"]
    entries = (await client.get("/admin/credits/history?key=user&last=1")).json()["entries"]
    assert [(entry["kind"], entry["amount"]) for entry in entries] == [("withdrawal", "-1")]
    audit = (await client.get("/admin/credits/audit")).json()
    assert (audit["agrees"], audit["entries"], audit["problems"]) == (True, 2, [])


@pytest.mark.parametrize(
    ("path", "body", "status", "param"),
    [
        ("/admin/credits/grant", {"key": "user", "amount": 1}, 400, "amount"),
        ("/admin/credits/grant", {"key": "user", "amount": "-1"}, 400, "amount"),
        ("/admin/credits/grant", {"key": "nobody", "amount": "1"}, 404, "key"),
        ("/admin/credits/withdraw", {"key": "user", "amount": "1"}, 402, "amount"),
        ("/admin/credits/budget", {"key": "user"}, 400, "monthly"),
        ("/admin/credits/history", None, 400, "key"),
        ("/admin/credits/history?key=user", None, 404, "key"),
        ("/admin/credits/history?key=user&last=0", None, 400, "last"),
        ("/admin/usage?by=colour", None, 400, "by"),
        ("/admin/usage?days=0", None, 400, "days"),
        ("/admin/usage?since=1", None, 400, "since"),
    ],
)
async def test_what_cannot_be_names_its_place(
    client: httpx.AsyncClient, path: str, body: dict[str, Any] | None, status: int, param: str
) -> None:
    answer = await client.get(path) if body is None else await client.post(path, json=body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (status, param)


async def test_usage_is_told_apart_as_asked(client: httpx.AsyncClient, tmp_path: Path) -> None:
    store = SQLiteStore(f"{tmp_path}/a.db")
    facts = ended(key="user", prices=PerToken.of("1000000/500000/2000000"))
    store.commit({1: row(facts), 2: row(ended(key="owner"))}, {})
    store.close()
    found = (await client.get("/admin/usage?by=host&by=key&days=1")).json()["usage"]
    assert [(one["host"], one["key"], one["cost"], "model" in one) for one in found] == [
        (HOST, "owner", "0", False), (HOST, "user", "0.000048", False),
    ]  # fmt: skip
    assert len((await client.get("/admin/usage")).json()["usage"]) == 2
