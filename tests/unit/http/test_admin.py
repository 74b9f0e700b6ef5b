"""Keys under `/admin`, and what keys with a scope may do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from enginehouse.accounts import Desk, KeyRing, Limiter, StoreError, hash_secret
from enginehouse.config import AccountsConfig, KeyConfig
from enginehouse.http.app import create_app
from enginehouse.live import Live
from enginehouse.plugins import Plugins
from enginehouse.service import Service

KEYS = (
    KeyConfig(name="owner", sha256=hash_secret("owner"), admin=True),
    KeyConfig(name="user", sha256=hash_secret("user")),
    KeyConfig(name="narrow", sha256=hash_secret("narrow"), models=("n",)),
)
ASKED = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


def by(secret: str) -> dict[str, str]:
    return {"authorization": f"Bearer {secret}"}


@pytest.fixture
async def client(house: Any, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    accounts = AccountsConfig(url=f"sqlite:///{tmp_path}/a.db", keys=True)
    config = msgspec.structs.replace(house.config("m", "n"), accounts=accounts, keys=KEYS)
    fleet = house.build(config)
    limiter = Limiter()
    keys = KeyRing(config.keys, is_closed=True, limiter=limiter)
    app = create_app(Live(config), Service(Plugins(), fleet, limiter=limiter), keys)
    fleet.start()
    await house.until("ready")
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
        yield client


async def chat(client: httpx.AsyncClient, secret: str, model: str = "m") -> httpx.Response:
    return await client.post("/v1/chat/completions", json={**ASKED, "model": model}, headers=by(secret))


async def test_only_a_key_for_it_opens_the_routes(client: httpx.AsyncClient) -> None:
    assert (await client.get("/admin/keys")).status_code == 401
    answer = await client.get("/admin/keys", headers=by("user"))
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "key_not_allowed")
    assert (await client.get("/admin/keys", headers=by("owner"))).json() == {"keys": []}


async def test_a_key_is_good_from_its_making_to_its_revocation_and_its_secret_is_told_once(
    client: httpx.AsyncClient,
) -> None:
    made = await client.post("/admin/keys", json={"name": "a/b c", "models": ["m"]}, headers=by("owner"))
    assert made.status_code == 200
    secret = made.json()["secret"]
    assert (await chat(client, secret)).status_code == 200
    (listed,) = (await client.get("/admin/keys", headers=by("owner"))).json()["keys"]
    assert (listed["name"], listed["models"]) == ("a/b c", ["m"])
    assert "secret" not in listed
    named = {"name": "a/b c"}
    turned = await client.post("/admin/keys/rotate", json={**named, "overlap_s": 60}, headers=by("owner"))
    newer = turned.json()["secret"]
    assert [(await chat(client, each)).status_code for each in (secret, newer)] == [200, 200]
    for expires_in_s, status in ((1e-6, 401), (None, 200)):
        changed = {**named, "expires_in_s": expires_in_s}
        assert (await client.post("/admin/keys/expire", json=changed, headers=by("owner"))).status_code == 200
        assert (await chat(client, newer)).status_code == status
    assert (await client.post("/admin/keys/expire", json=named, headers=by("owner"))).status_code == 400
    revoked = await client.post("/admin/keys/revoke", json=named, headers=by("owner"))
    assert revoked.json()["revoked_at"] > 0
    assert [(await chat(client, each)).status_code for each in (secret, newer)] == [401, 401]


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b'{"name": "owner"}', 409, "key_exists"),
        (b'{"name": ""}', 400, "empty_string"),
        (b'{"nam": "x"}', 400, None),
        (b"{", 400, None),
    ],
)
async def test_what_is_wrong_with_a_new_key_is_said(
    client: httpx.AsyncClient, body: bytes, status: int, code: str | None
) -> None:
    answer = await client.post("/admin/keys", content=body, headers=by("owner"))
    assert answer.status_code == status
    assert code in (None, answer.json()["error"]["code"])


@pytest.mark.parametrize(
    ("field", "wrong", "said"),
    [
        ("models", ["m", "mm"], "no model 'mm' is served here. Did you mean 'm'?"),
        ("endpoints", ["chatt"], "no endpoint 'chatt' is served here. Did you mean 'chat'?"),
        ("profiles", ["krosai"], "no profile 'krosai' is served here. Known here: openai."),
    ],
)
async def test_a_key_for_what_is_not_served_is_refused_by_field_unless_it_is_to_come(
    client: httpx.AsyncClient, field: str, wrong: list[str], said: str
) -> None:
    answer = await client.post("/admin/keys", json={"name": "k", field: wrong}, headers=by("owner"))
    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (400, field)
    assert said in error["message"]
    assert "allow_unknown" in error["message"]
    assert (await client.get("/admin/keys", headers=by("owner"))).json() == {"keys": []}
    ahead = {"name": "k", field: wrong, "allow_unknown": True}
    assert (await client.post("/admin/keys", json=ahead, headers=by("owner"))).json()[field] == wrong


async def test_what_is_not_there_is_404_and_a_database_that_is_away_503(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = await client.post("/admin/keys/revoke", json={"name": "nobody"}, headers=by("owner"))
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "key_not_found")

    def away(_: Desk) -> None:
        raise StoreError("locked")

    monkeypatch.setattr(Desk, "all_keys", away)
    answer = await client.get("/admin/keys", headers=by("owner"))
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "accounts_unavailable")


async def test_a_key_for_other_models_gets_403_and_does_not_see_them(client: httpx.AsyncClient) -> None:
    answer = await chat(client, "narrow")
    assert (answer.status_code, answer.json()["error"]["param"]) == (403, "model")
    listed = (await client.get("/v1/models", headers=by("narrow"))).json()["data"]
    assert [card["id"] for card in listed] == ["n"]
    assert (await client.get("/v1/models/m", headers=by("narrow"))).status_code == 404
    assert (await client.get("/v1/models/m", headers=by("user"))).status_code == 200


async def test_limits_hold_to_the_request_under_64_clients_and_each_is_told_what_is_left(
    client: httpx.AsyncClient,
) -> None:
    limits = {"requests_per_minute": 40, "tokens_per_minute": 10**9}
    made = await client.post("/admin/keys", json={"name": "limited", "limits": limits}, headers=by("owner"))
    secret = made.json()["secret"]

    async def keep_asking() -> list[httpx.Response]:
        return [await chat(client, secret) for _ in range(3)]

    answers = [each for some in await asyncio.gather(*(keep_asking() for _ in range(64))) for each in some]
    passed = [each for each in answers if each.status_code == 200]
    refused = [each for each in answers if each.status_code == 429]
    assert (len(passed), len(refused)) == (40, 64 * 3 - 40)
    assert sorted(int(each.headers["x-ratelimit-remaining-requests"]) for each in passed) == list(range(40))
    for each in refused:
        assert 61 >= int(each.headers["retry-after"]) >= 1
        assert each.headers["x-ratelimit-limit-requests"] == "40"
        assert each.headers["x-ratelimit-remaining-requests"] == "0"
        assert each.headers["x-ratelimit-limit-tokens"] == str(10**9)
        assert each.json()["error"]["code"] == "rate_limit_exceeded"
    changed = {"name": "limited", "limits": {"requests_per_minute": 41}}
    answer = await client.post("/admin/limits", json=changed, headers=by("owner"))
    assert answer.json()["limits"] == {"requests_per_minute": 41}
    assert [(await chat(client, secret)).status_code for _ in range(2)] == [200, 429]
    listed = (await client.get("/admin/limits", headers=by("owner"))).json()
    assert {key["name"]: key.get("limits") for key in listed["keys"]} == {"limited": {"requests_per_minute": 41}}
    assert listed == (await client.get("/admin/keys", headers=by("owner"))).json()
    assert (await client.get("/admin/limits", headers=by("user"))).status_code == 403


async def test_a_key_without_limits_is_told_of_none(client: httpx.AsyncClient) -> None:
    assert not any(name.startswith("x-ratelimit") for name in (await chat(client, "user")).headers)
