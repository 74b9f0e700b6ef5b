"""The house as it is built: whole, and what another configuration changes in it while it serves."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from contextlib import asynccontextmanager, closing

import httpx
import pytest
from msgspec.structs import replace

from enginehouse.accounts import hash_secret
from enginehouse.assembly import build
from enginehouse.config import AgentConfig, ConfigError, Defaults, KeyConfig, MountConfig, UsageConfig
from enginehouse.http import framework, mounted
from enginehouse.plugins import Plugins
from enginehouse_plugin import API_VERSION, hookimpl

from .conftest import CPU, turn_until

HELLO = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture
def plugins(house):
    """The scripted backend, as a plugin offers it."""

    class Scripted:
        enginehouse_api = API_VERSION

        @hookimpl
        def enginehouse_backends(self):
            return [house.script.type()]

    made = Plugins()
    made.add(Scripted(), "scripted")
    return made


@pytest.fixture
def serving(plugins):
    """Build a house, and give it and a client of it."""

    @asynccontextmanager
    async def serve(config):
        built = build(config, plugins, devices=(CPU,))
        built.fleet.start()
        transport = httpx.ASGITransport(built.app)
        try:
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost", timeout=20) as client:
                yield built, client
        finally:
            await built.fleet.close()
            built.close()

    return serve


def key(name):
    return KeyConfig(name=name, sha256=hash_secret(f"secret of {name}"))


def bearer(name):
    return {"authorization": f"Bearer secret of {name}"}


async def test_what_is_built_serves_and_keeps_usage(house, serving, tmp_path):
    path = str(tmp_path / "usage.db")
    async with serving(replace(house.config(), usage=UsageConfig(path=path), keys=(key("alice"),))) as (_, client):
        answer = await client.post("/v1/chat/completions", json=HELLO, headers=bearer("alice"))
        assert answer.json()["choices"][0]["message"]["content"] == "hello"
    with closing(sqlite3.connect(path)) as file:
        assert file.execute("SELECT key, endpoint, completion_tokens FROM usage").fetchall() == [("alice", "chat", 2)]


def test_usage_that_cannot_be_kept_stops_the_building(house, plugins, tmp_path):
    config = replace(house.config(), usage=UsageConfig(path=str(tmp_path / "absent" / "usage.db")))
    with pytest.raises(ConfigError, match=r"usage\.path"):
        build(config, plugins, devices=(CPU,))


async def test_keys_change_while_it_serves(house, serving):
    old = replace(house.config(), keys=(key("alice"), key("bob")))
    async with serving(old) as (built, client):
        changes = built.live.apply(replace(old, keys=(key("bob"), key("carol"))))
        assert {change.where for change in changes.now} == {'keys."alice"', 'keys."carol"'}
        statuses = [
            (await client.get("/v1/models", headers=bearer(name))).status_code for name in ("alice", "bob", "carol")
        ]
        assert statuses == [401, 200, 200]
        answer = await client.post("/v1/chat/completions", json=HELLO, headers=bearer("alice"))
        assert answer.status_code == 401


async def test_the_policy_for_unknown_fields_changes_while_it_serves(house, serving):
    old = house.config()
    async with serving(old) as (built, client):
        assert (await client.post("/v1/chat/completions", json=HELLO | {"odd": 1})).status_code == 400
        built.live.apply(replace(old, server=replace(old.server, unknown_fields="report")))
        answer = await client.post("/v1/chat/completions", json=HELLO | {"odd": 1})
        assert (answer.status_code, answer.headers["x-enginehouse-ignored"]) == (200, "odd")


async def test_the_policy_for_what_a_model_lacks_changes_while_it_serves(house, serving):
    old = house.config()
    asked = HELLO | {"seed": 1}
    async with serving(old) as (built, client):
        assert (await client.post("/v1/chat/completions", json=asked)).status_code == 400
        built.live.apply(house.config(unsupported="report"))
        answer = await client.post("/v1/chat/completions", json=asked)
        assert (answer.status_code, answer.headers["x-enginehouse-ignored"]) == (200, "seed")


async def test_a_models_defaults_change_while_it_serves(house, serving):
    old = house.config(defaults=Defaults(max_tokens=5))
    async with serving(old) as (built, client):
        await client.post("/v1/chat/completions", json=HELLO)
        model = replace(old.models["m"], defaults=Defaults(max_tokens=9))
        built.live.apply(replace(old, models={"m": model}))
        await client.post("/v1/chat/completions", json=HELLO)
        assert [request.max_tokens for request in house.script.requests] == [5, 9]
        card = (await client.get("/v1/models/m")).json()
        assert (card["defaults"]["max_tokens"], card["defaults_from"]["max_tokens"]) == (9, "configuration")


async def test_whether_metrics_are_public_changes_while_it_serves(house, serving):
    old = replace(house.config(), keys=(key("alice"),))
    async with serving(old) as (built, client):
        assert (await client.get("/metrics")).status_code == 401
        built.live.apply(replace(old, server=replace(old.server, metrics_public=True)))
        assert (await client.get("/metrics")).status_code == 200


async def test_deadlines_change_while_it_serves(house, serving):
    async def says_nothing(instance, request):
        await asyncio.get_running_loop().create_future()
        yield

    old = house.config()
    house.script.answer = says_nothing
    async with serving(old) as (built, client):
        await turn_until(lambda: built.fleet.snapshot().models["m"].state == "ready")
        built.live.apply(replace(old, server=replace(old.server, first_token_timeout_s=0.05)))
        assert (await client.post("/v1/chat/completions", json=HELLO)).status_code == 504


async def test_models_come_and_go_while_it_serves(house, serving):
    async with serving(house.config()) as (built, client):
        built.live.apply(house.config("n", "o"))
        listed = (await client.get("/v1/models")).json()["data"]
        assert [card["id"] for card in listed] == ["n", "o"]
        assert (await client.post("/v1/chat/completions", json=HELLO | {"model": "o"})).status_code == 200
        gone = await client.post("/v1/chat/completions", json=HELLO)
        assert (gone.status_code, gone.json()["error"]["code"]) == (404, "model_not_found")


async def test_mounts_and_agents_come_and_go_while_it_serves(house, serving):
    old = house.config()
    async with serving(old) as (built, client):
        built.live.apply(
            replace(
                old,
                agents={"guide": AgentConfig(model="m", instructions="Be brief.")},
                mounts=(MountConfig(profile="openai", path="/team", models={"small": "m", "guide": "guide"}),),
            )
        )
        answer = await client.post("/team/v1/chat/completions", json=HELLO | {"model": "guide"})
        assert answer.status_code == 200
        assert house.script.requests[-1].prompt.messages[0].content == "Be brief."
        assert {card["id"] for card in (await client.get("/team/v1/models")).json()["data"]} == {"small", "guide"}
        built.live.apply(old)
        for path in ("/team/v1/chat/completions", "/team/v1/models"):
            gone = await client.post(path, json=HELLO) if "chat" in path else await client.get(path)
            assert (gone.status_code, gone.json()["error"]["code"]) == (404, "not_found")
        built.live.apply(replace(old, mounts=(MountConfig(profile="openai", path="/team"),)))
        assert (await client.post("/team/v1/chat/completions", json=HELLO)).status_code == 200


async def test_what_a_reload_mounts_is_made_in_a_thread(house, serving, monkeypatch):
    """Routes of several profiles take tens of milliseconds, in which the loop would do nothing else."""
    old = house.config()
    new = replace(old, mounts=tuple(MountConfig(profile=name, path=f"/{name}") for name in ("openai", "ollama")))
    made_by: list[int] = []

    def recorded(make):
        def record(*args, **fields):
            made_by.append(threading.get_ident())
            return make(*args, **fields)

        return record

    async with serving(old) as (built, client):
        built.live._read = lambda: new
        monkeypatch.setattr(framework, "Litestar", recorded(framework.Litestar))
        monkeypatch.setattr(mounted, "mounts", recorded(mounted.mounts))
        await built.live.reload(is_trial=True)
        assert (await client.get("/ollama/api/version")).status_code == 404
        await built.live.reload()
        assert len(made_by) > 2
        assert threading.get_ident() not in made_by
        assert (await client.get("/ollama/api/version")).status_code == 200
        for path in ("/v1/chat/completions", "/openai/v1/chat/completions"):
            assert (await client.post(path, json=HELLO)).status_code == 200
        assert [(await client.get(path)).status_code for path in ("/health", "/v1/models")] == [200, 200]


async def test_origins_that_are_allowed_change_while_it_serves(house, serving):
    old = house.config()
    page = {"origin": "https://chat.example.org"}
    async with serving(old) as (built, client):
        assert (await client.post("/v1/chat/completions", json=HELLO, headers=page)).status_code == 403
        built.live.apply(replace(old, server=replace(old.server, cors_origins=("https://chat.example.org",))))
        answer = await client.post("/v1/chat/completions", json=HELLO, headers=page)
        assert answer.headers["access-control-allow-origin"] == "https://chat.example.org"


async def test_what_nobody_follows_is_said_to_need_a_restart_and_stays(house, serving):
    old = house.config()
    async with serving(old) as (built, _):
        changes = built.live.apply(replace(old, server=replace(old.server, port=1, max_body_bytes=1)))
        assert {change.where for change in changes.at_restart} == {"server.port", "server.max_body_bytes"}
        assert built.live.config == old
