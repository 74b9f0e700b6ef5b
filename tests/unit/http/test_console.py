"""The console's page and feed, on both lanes; and who may look."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import msgspec
import pytest

from enginehouse.accounts import KeyRing, hash_secret
from enginehouse.config import KeyConfig, MountConfig
from enginehouse.http.app import create_app
from enginehouse.http.console import feed
from enginehouse.http.console.feed import Feed
from enginehouse.http.guard import AdminGuard
from enginehouse.live import Live
from enginehouse.plugins import Plugins
from enginehouse.service import Service

from .lanes import Recorded
from .test_lanes import Serve, lane  # noqa: F401  # a fixture

OWN = {"x-enginehouse-console": "1"}
FILE = "/console/assets/icon.svg"


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "INTERVAL_S", 0.02)


async def events_of(answer: httpx.Response) -> AsyncIterator[tuple[str, dict[str, Any]]]:
    name = ""
    async for line in answer.aiter_lines():
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield name, json.loads(line.removeprefix("data: "))


async def test_the_house_comes_whole_and_then_what_changes(lane: Serve) -> None:  # noqa: F811
    async with (
        lane() as here,
        here.client.stream("GET", "/console/events", headers=OWN) as answer,
    ):
        assert answer.headers["content-type"].startswith("text/event-stream")
        events = events_of(answer)
        name, house = await anext(events)
        assert (name, house["instances"]["m#0"]["state"]) == ("house", "ready")
        assert (await here.ask()).status_code == 200
        name, change = await anext(events)
        assert name == "change"
        while "use" not in change:
            name, change = await anext(events)
        assert change["use"]["m#0"] == {
            "requests": 1,
            "prompt_tokens": 7,
            "cached_tokens": 2,
            "completion_tokens": 2,
        }
        assert "models" not in change


async def test_a_server_that_ends_ends_the_feed(lane: Serve) -> None:  # noqa: F811
    async with lane() as here:
        async with here.client.stream("GET", "/console/events", headers=OWN) as answer:
            events = events_of(answer)
            await anext(events)
            here.house.fleet.is_draining = True
            names = [name async for name, _ in events]
        assert names[-1] == "end"


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, "admin_closed"),
        (OWN | {"origin": "http://evil.example"}, "origin_not_allowed"),
        (OWN | {"sec-fetch-site": "cross-site"}, "origin_not_allowed"),
        (OWN | {"host": "evil.example"}, "host_not_allowed"),
        (OWN | {"host": "named.example"}, "admin_closed"),
        (OWN | {"x-forwarded-for": "203.0.113.7"}, "admin_closed"),
        (OWN | {"via": "1.1 proxy"}, "admin_closed"),
    ],
)
async def test_without_keys_only_the_own_page_on_loopback_looks(
    lane: Serve,  # noqa: F811
    headers: dict[str, str],
    code: str,
) -> None:
    async with lane(allowed_hosts=("named.example",)) as here:
        for path in ("/console/events", "/console/session", "/admin/instances", "/admin/requests"):
            answer = await here.client.get(path, headers=headers)
            assert (answer.status_code, answer.json()["error"]["code"]) == (403, code), path


async def test_with_keys_only_those_with_admin_scope_look(house: Any) -> None:
    keys = tuple(KeyConfig(name=name, sha256=hash_secret(name), admin=name == "owner") for name in ("owner", "user"))
    config = msgspec.structs.replace(house.config(), keys=keys)
    app = create_app(Live(config), Service(Plugins(), house.build(config)), KeyRing(config.keys))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
        assert (await client.get("/console")).status_code == 200  # holds nothing, and asks for the key
        for name, status in (("", 401), ("user", 403), ("owner", 200)):
            headers = OWN | ({"authorization": f"Bearer {name}"} if name else {})
            for path in ("/console/session", "/admin/requests"):
                assert (await client.get(path, headers=headers)).status_code == status


async def test_beyond_loopback_without_keys_there_is_none(lane: Serve) -> None:  # noqa: F811
    async with lane(host="0.0.0.0", allow_unauthenticated=True) as here:
        for path in ("/console", FILE, "/console/session", "/console/events", "/admin/instances"):
            assert (await here.client.get(path, headers=OWN)).status_code == 403, path


async def test_without_keys_who_is_on_another_machine_does_not_look(house: Any) -> None:
    """Another server may listen elsewhere for the application, whatever its configuration says of a host."""
    config = house.config()
    app = create_app(Live(config), Service(Plugins(), house.build(config)), KeyRing())
    for client, status in (("127.0.0.1", 200), ("::1", 200), ("192.0.2.7", 403)):
        transport = httpx.ASGITransport(app, client=(client, 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as asking:
            assert (await asking.get("/admin/requests", headers=OWN)).status_code == status


async def test_it_talks_where_chat_is_whatever_stands_first(house: Any) -> None:
    chat = MountConfig(profile="openai", path="/other")
    asked = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
    for mounted, told, status in (
        ((), ("", "/v1/models"), 400),
        ((chat,), ("/other/v1/chat/completions", "/other/v1/models"), 200),
    ):
        config = msgspec.structs.replace(house.config(), mounts=mounted)
        server = msgspec.structs.replace(config.server, profile="ollama")
        config = msgspec.structs.replace(config, server=server)
        app = create_app(Live(config), Service(Plugins(), house.build(config)), KeyRing())
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
            session = (await client.get("/console/session", headers=OWN)).json()
            assert (session["chat_path"], session["models_path"]) == told
            answer = await client.post("/admin/explain", headers=OWN, json=asked)
            assert answer.status_code == status, answer.text


async def test_where_it_is_off_no_request_is_kept(house: Any) -> None:
    config = house.config()
    live = Live(config)
    service = Service(Plugins(), house.build(config))
    create_app(live, service, KeyRing())
    for is_on, kept in ((True, 1), (False, 0), (True, 1)):
        server = msgspec.structs.replace(config.server, console=is_on)
        live.apply(msgspec.structs.replace(config, server=server))
        service.finish(service.begin("req-1"), 200)
        service.settle()
        assert len(service.recent.since(0)) == kept


async def test_it_is_switched_off_and_on_while_the_server_runs(house: Any) -> None:
    config = house.config()
    live = Live(config)
    app = create_app(live, Service(Plugins(), house.build(config)), KeyRing())
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
        for is_on in (True, False, True):
            server = msgspec.structs.replace(config.server, console=is_on)
            live.apply(msgspec.structs.replace(config, server=server))
            for path in ("/console", "/console/session", "/admin/requests", "/admin/hosts", "/admin/instances"):
                assert ((await client.get(path, headers=OWN)).status_code == 200) is is_on, path


async def test_it_can_be_switched_off(lane: Serve) -> None:  # noqa: F811
    async with lane(console=False) as here:
        for path in ("/console", FILE, "/console/events"):
            assert (await here.client.get(path, headers=OWN)).status_code == 404, path
        assert (await here.client.get("/admin/instances", headers=OWN)).status_code == 403


async def test_files_are_kept_by_their_hash_and_compressed_where_that_is_understood(lane: Serve) -> None:  # noqa: F811
    async with lane() as here:
        page = await here.client.get("/console")
        assert page.headers["cache-control"] == "no-cache"
        policy = page.headers["content-security-policy"]
        assert "unsafe" not in policy
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        script = page.text.partition('src="')[2].partition('"')[0]
        answer = await here.client.get(script, headers={"accept-encoding": "gzip"})
        assert answer.headers["content-encoding"] == "gzip"
        assert "immutable" in answer.headers["cache-control"]
        plain = await here.client.get(script, headers={"accept-encoding": "identity"})
        assert "content-encoding" not in plain.headers
        assert plain.content == answer.content
        assert (await here.client.get(FILE)).headers["cache-control"] == "no-cache"
        for none in ("/console/assets/..%2fpages.py", "/console/assets/none.js"):
            assert (await here.client.get(none)).status_code == 404


async def test_the_last_requests_are_told_without_a_word_of_them(lane: Serve) -> None:  # noqa: F811
    async with lane() as here:
        await here.ask()
        await here.ask(seed=1)
        told = (await here.client.get("/admin/requests", headers=OWN)).json()
        assert [one["status"] for one in told["requests"]] == [400, 200]
        assert told["number"] == 2
        newest, oldest = told["requests"]
        assert (oldest["prompt_tokens"], oldest["cached_tokens"], oldest["completion_tokens"]) == (7, 2, 2)
        assert newest["error"] == told["errors"][0]["code"]
        assert told["use"][0]["requests"] == 2
        assert sum(told["times"][0]["duration"]["counts"]) == 2
        later = (await here.client.get("/admin/requests?since=1", headers=OWN)).json()
        assert [one["number"] for one in later["requests"]] == [2]
        wrong = await here.client.get("/admin/requests?since=x", headers=OWN)
        assert (wrong.status_code, wrong.json()["error"]["param"]) == (400, "since")


async def test_of_what_a_client_says_little_is_kept(lane: Serve) -> None:  # noqa: F811
    async with lane(unknown_fields="report") as here:
        assert (await here.ask(**{f"{at}{1000 * 'x'}": 1 for at in range(100)})).status_code == 200
        assert (await here.ask(model=100_000 * "m")).status_code == 404
        unknown, known = (await here.client.get("/admin/requests", headers=OWN)).json()["requests"]
        assert len(unknown["model"]) <= 200
        assert [len(name) for name in known["ignored"]] == 20 * [200]


# ---- the feed by itself ----


class Watched:
    """A feed, and how often it has looked."""

    def __init__(self, house: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        config = house.config()
        service = Service(Plugins(), house.build(config))
        self.looks = 0
        snapshot = service.fleet.snapshot

        def counted() -> Any:
            self.looks += 1
            return snapshot()

        monkeypatch.setattr(service.fleet, "snapshot", counted)
        self.service = service
        self.keys = KeyRing()
        self.is_on = True
        self.feed = Feed(service, AdminGuard(self.keys, lambda: config.server), lambda: self.is_on)

    def come(self) -> Recorded:
        exchange = Recorded(("host", "localhost"), ("x-enginehouse-console", "1"), path=feed.PATH)
        exchange.client = "127.0.0.1"
        self.feed(exchange)
        if exchange.listener is not None:
            exchange.listener.body(b"")
        return exchange


@pytest.fixture
def watched(house: Any, monkeypatch: pytest.MonkeyPatch) -> Watched:
    return Watched(house, monkeypatch)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def test_nobody_looks_and_nothing_is_done(watched: Watched) -> None:
    await asyncio.sleep(0.1)
    assert watched.looks == 0
    first, second = watched.come(), watched.come()
    assert watched.looks == 1  # once for both
    await until(lambda: watched.looks >= 3)
    for one in (first, second):
        assert one.listener is not None
        one.listener.client_left()
    before = watched.looks
    await asyncio.sleep(0.1)
    assert watched.looks == before


async def test_who_does_not_read_is_sent_nothing_and_then_the_whole_house(watched: Watched) -> None:
    slow, quick = watched.come(), watched.come()
    slow.is_paused = True
    sent = slow.body
    watched.service.recent.number += 1  # something has changed
    await until(lambda: b"event: change" in quick.body)
    assert slow.body == sent
    slow.is_paused = False
    await until(lambda: slow.body.count(b"event: house") == 2)


async def test_only_so_many_may_watch(watched: Watched) -> None:
    for _ in range(feed.MOST):
        assert watched.come().status == 200
    assert watched.come().status == 503


async def test_who_may_look_no_more_is_shown_nothing_more(watched: Watched) -> None:
    first = watched.come()
    watched.keys.replace((KeyConfig(name="owner", sha256=hash_secret("owner"), admin=True),))
    await until(lambda: first.is_ended)
    watched.keys.replace(())
    second = watched.come()
    watched.is_on = False
    await until(lambda: second.is_ended)
    for one in (first, second):
        assert one.body.endswith(b"event: end\ndata: {}\n\n")
    before = watched.looks
    await asyncio.sleep(0.1)
    assert watched.looks == before
