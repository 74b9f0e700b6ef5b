"""The routes under `/admin` that steer a running router, and who may use them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Any

import httpx
import msgspec
import pytest
from tests.unit.conftest import CPU, House, turn_until

from enginehouse.accounts import hash_secret
from enginehouse.assembly import build
from enginehouse.config import Config, ConfigError, KeyConfig, MountConfig
from enginehouse.http.decoding import READ_APART_BYTES
from enginehouse.plugins import Plugins
from enginehouse.wire import decode
from enginehouse_plugin import API_VERSION, hookimpl

OWNER = {"authorization": "Bearer owner"}
KEYS = tuple(KeyConfig(name=name, sha256=hash_secret(name), admin=name == "owner") for name in ("owner", "user"))


class Running:
    """A router, a client of it, and the configuration that it reads next (an exception is raised)."""

    def __init__(self, built: Any, client: httpx.AsyncClient, config: Config) -> None:
        self.built = built
        self.client = client
        self.config = config
        self.next: Config | Exception = config

    def read(self) -> Config:
        if isinstance(self.next, Exception):
            raise self.next
        return self.next


@pytest.fixture
async def running(house: House) -> AsyncIterator[Running]:
    class Scripted:
        enginehouse_api = API_VERSION

        @hookimpl
        def enginehouse_backends(self) -> Any:
            return [house.script.type()]

    plugins = Plugins()
    plugins.add(Scripted(), "scripted")
    config = msgspec.structs.replace(house.config(), keys=KEYS)
    made: list[Running] = []
    built = build(config, plugins, devices=(CPU,), read=lambda: made[0].read())
    built.fleet.start()
    transport = httpx.ASGITransport(built.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        made.append(Running(built, client, config))
        yield made[0]
    await built.fleet.close()
    built.close()


async def test_only_a_key_for_it_reloads(running: Running) -> None:
    refused = [await running.client.post("/admin/reload", headers=by) for by in ({}, {"authorization": "Bearer user"})]
    assert [answer.status_code for answer in refused] == [401, 403]
    assert (await running.client.post("/admin/reload", headers=OWNER)).status_code == 200


@pytest.mark.parametrize(
    "page", [{"origin": "https://chat.example.org"}, {"origin": "null"}, {"sec-fetch-site": "cross-site"}]
)
async def test_no_page_of_another_origin_reloads_whatever_key_it_has(running: Running, page: dict[str, str]) -> None:
    server = msgspec.structs.replace(running.config.server, cors_origins=("https://chat.example.org",))
    running.built.live.apply(msgspec.structs.replace(running.config, server=server))
    answer = await running.client.post("/admin/reload", headers=OWNER | page)
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "origin_not_allowed")
    own = await running.client.post("/admin/reload", headers=OWNER | {"origin": "http://localhost"})
    assert own.status_code == 200


async def test_without_keys_nobody_reloads_by_the_network(running: Running) -> None:
    running.built.live.apply(msgspec.structs.replace(running.config, keys=()))
    answer = await running.client.post("/admin/reload", headers=OWNER)
    assert answer.status_code == 403
    assert "admin_socket" in answer.json()["error"]["message"]


async def test_a_reload_tells_what_it_changes_and_what_needs_a_restart(running: Running, house: House) -> None:
    server = msgspec.structs.replace(running.config.server, port=1, keep_alive_s=1.0)
    running.next = msgspec.structs.replace(house.config("m", "n"), server=server, keys=KEYS)
    told = {
        "changed": [{"key": "server.keep_alive_s", "change": "changed"}, {"key": 'models."n"', "change": "added"}],
        "needs_restart": [{"key": "server.port", "change": "changed"}],
    }
    trial = await running.client.post("/admin/reload", headers=OWNER, json={"dry_run": True})
    assert trial.json() == {"applied": False, **told}
    assert running.built.live.config is running.config
    assert (await running.client.post("/admin/reload", headers=OWNER)).json() == {"applied": True, **told}
    assert running.built.live.config.server.keep_alive_s == 1.0
    assert running.built.live.config.server.port == running.config.server.port
    assert list(running.built.fleet.models) == ["m", "n"]


async def test_what_cannot_be_used_changes_nothing_and_is_named(running: Running) -> None:
    running.next = ConfigError("it is wrong.", file="house.toml", where="line 3", fix="Mend it.")
    answer = await running.client.post("/admin/reload", headers=OWNER)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (400, "invalid_configuration", "line 3")
    assert error["message"] == "house.toml: line 3: it is wrong. Mend it."
    assert running.built.live.config is running.config


async def test_what_only_together_with_the_rest_cannot_be_used_changes_nothing(running: Running) -> None:
    """Each mount by itself could be used."""
    mounts = tuple(MountConfig(profile="openai", path="/team") for _ in range(2))
    running.next = msgspec.structs.replace(running.config, mounts=mounts)
    answer = await running.client.post("/admin/reload", headers=OWNER)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "mounts[1]")
    assert running.built.live.config is running.config


async def test_a_request_is_explained_and_not_sent(running: Running, house: House) -> None:
    await turn_until(lambda: house.script.instances != [] and running.built.fleet.snapshot().state == "ready")
    asked = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
    told = (await running.client.post("/admin/explain", headers=OWNER, json=asked)).json()
    assert (told["instance"], told["refusal"]) == ("m#0", None)
    (one,) = told["considered"]
    assert (one["instance"], one["host"], one["could"]) == ("m#0", None, True)
    assert one["reason"] == "chosen: 0 of 2 slots taken, 0 wait; runs on cpu (Test CPU)"
    lacking = (await running.client.post("/admin/explain", headers=OWNER, json={**asked, "seed": 1})).json()
    assert lacking["instance"] is None
    assert "seed" in lacking["refusal"]
    assert lacking["asked"] == [{"param": "seed", "feature": "seed", "had_by": []}]
    assert not lacking["considered"][0]["could"]
    assert not house.script.requests
    unread = await running.client.post("/admin/explain", headers=OWNER, json={"model": "m"})
    assert (unread.status_code, unread.json()["error"]["param"]) == (400, "messages")


async def test_what_becomes_of_each_field_is_explained(running: Running, house: House) -> None:
    await turn_until(lambda: house.script.instances != [] and running.built.fleet.snapshot().state == "ready")
    asked = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stop": ["x"], "seed": 1, "user": "me"}
    models = {"m": msgspec.structs.replace(running.config.models["m"], unsupported="report")}
    running.built.live.apply(msgspec.structs.replace(running.config, models=models))
    told = (await running.client.post("/admin/explain", headers=OWNER, json=asked)).json()
    assert (told["instance"], told["refusal"]) == ("m#0", None)
    assert (told["honoured"], told["reported"], told["recorded"]) == (["stop"], ["seed"], ["user"])


async def test_an_order_is_foreseen_and_not_given(running: Running, house: House) -> None:
    await turn_until(lambda: house.script.instances != [] and running.built.fleet.snapshot().state == "ready")
    for order, reason in (("load", "it is loaded"), ("unload", "nothing runs there"), ("drain", "nothing runs there")):
        path, body = f"/admin/instances/{order}", {"model": "m", "dry_run": True}
        told = (await running.client.post(path, headers=OWNER, json=body)).json()
        assert told["foreseen"] == {"m#0": {"fits": True, "gives_way": [], "reason": reason}}
        assert told["instances"][0]["state"] == "ready"
    await asyncio.sleep(0)
    assert running.built.fleet.snapshot().models["m"].state == "ready"


async def test_a_field_that_a_reload_does_not_know_is_refused(running: Running) -> None:
    answer = await running.client.post("/admin/reload", headers=OWNER, json={"dry": True})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "dry")


@pytest.mark.parametrize("path", ["reload", "instances/load", "explain", "probe", "hosts/wake"])
async def test_a_large_body_is_decoded_by_a_thread(
    path: str, running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[str] = []
    monkeypatch.setattr(decode, "check_values", lambda _: threads.append(threading.current_thread().name))
    for size in (2, READ_APART_BYTES + 1):
        answer = await running.client.post(f"/admin/{path}", headers=OWNER, content=b"{}".ljust(size))
        assert answer.status_code in (200, 400, 404)
    assert threads[0] == threading.main_thread().name
    assert threads[1].startswith("large bodies")
