"""The same application on both lanes: our own server, and a stock ASGI server. Real sockets, a scripted engine."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from types import MappingProxyType
from typing import Any, NamedTuple

import httpx
import msgspec
import pytest
import uvicorn

from enginehouse.accounts import KeyRing
from enginehouse.config import KeyConfig
from enginehouse.http.app import App, create_app
from enginehouse.http.exchange import Exchange
from enginehouse.http.server import Server, listen
from enginehouse.live import Live
from enginehouse.plugins import Plugins
from enginehouse.service import Service
from enginehouse_plugin import Finished, Started, TextDelta, UsageReport
from enginehouse_plugin.errors import EngineFailure

CHAT = "/v1/chat/completions"
ORIGIN = "https://chat.example.org"


class Lane(NamedTuple):
    client: httpx.AsyncClient
    house: Any
    address: tuple[str, int]
    logs: list[dict[str, Any]]

    async def ask(self, *, headers: dict[str, str] | None = None, **fields: Any) -> httpx.Response:
        body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], **fields}
        return await self.client.post(CHAT, json=body, headers=headers)

    async def ended(self, number: int = 1) -> list[dict[str, Any]]:
        """The log lines of requests to the API, when there are so many."""
        async with asyncio.timeout(10):
            while len(lines := [line for line in self.logs if line["event"] == "request"]) < number:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
        return lines


def layer(exchange: Exchange) -> None:
    """A layer as a test or a plugin would add one: it marks every answer, and takes one path for itself."""
    exchange.response_headers.append((b"x-layer", b"was here"))
    if exchange.path == "/layer":
        exchange.answer(418, [(b"content-type", b"text/plain")], b"tea")


@asynccontextmanager
async def ours(app: App, fleet: Any, config: Any, listener: socket.socket) -> AsyncIterator[None]:
    server = Server(app, fleet, Live(config))
    serving = asyncio.create_task(server.run(listener))
    try:
        yield
    finally:
        server.end()
        await serving


@asynccontextmanager
async def stock(app: App, fleet: Any, config: Any, listener: socket.socket) -> AsyncIterator[None]:
    server = uvicorn.Server(
        uvicorn.Config(app, ws="none", lifespan="on", log_config=None, access_log=False, timeout_graceful_shutdown=1)  # type: ignore[arg-type]
    )
    serving = asyncio.create_task(server._serve([listener]))  # `serve` would take the signals of the tests
    try:
        yield
    finally:
        server.should_exit = True
        await serving
        listener.close()


Serve = Callable[..., Any]


@pytest.fixture(params=[ours, stock], ids=["ours", "stock"])
def lane(request: pytest.FixtureRequest, house: Any, logs: list[dict[str, Any]]) -> Serve:
    @asynccontextmanager
    async def serve(
        *, keys: tuple[str, ...] = (), unsupported_by: Mapping[str, Any] = MappingProxyType({}), **server: Any
    ) -> AsyncIterator[Lane]:
        config = house.config(server={"drain_timeout_s": 0, **server})
        named = tuple(KeyConfig(name=each, sha256=digest(each), unsupported=unsupported_by.get(each)) for each in keys)
        config = msgspec.structs.replace(config, keys=named)
        fleet = house.build(config)
        app = create_app(Live(config), Service(Plugins(), fleet), KeyRing(config.keys), layers=[layer])
        listener = listen("127.0.0.1", 0)
        address = listener.getsockname()
        async with request.param(app, fleet, config, listener):
            await house.until("ready")
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{address[1]}", trust_env=False) as client:
                yield Lane(client, house, address, logs)

    return serve


def digest(secret: str) -> str:
    from enginehouse.accounts.keys import hash_secret

    return hash_secret(secret)


def assert_marked(answer: httpx.Response) -> None:
    """It has the headers of both layers, each once."""
    assert answer.headers.get_list("x-layer") == ["was here"]
    assert answer.headers.get_list("x-request-id") == ["mine"]


MINE = {"x-request-id": "mine"}


@pytest.mark.parametrize(
    ("host", "origin", "code"),
    [("evil.example", "http://evil.example", "host_not_allowed"), (None, "http://evil.example", "origin_not_allowed")],
)
async def test_without_keys_pages_of_other_origins_are_kept_out(
    lane: Serve, host: str | None, origin: str, code: str
) -> None:
    async with lane() as here:
        named = {"host": host} if host else {}
        answer = await here.ask(headers={**MINE, **named, "origin": origin})
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, code)
        assert answer.headers.get_list("x-request-id") == ["mine"]


@pytest.mark.parametrize("stream", [False, True])
async def test_layers_mark_good_answers(lane: Serve, stream: bool) -> None:
    async with lane() as here:
        answer = await here.ask(stream=stream, headers=MINE)
        assert answer.status_code == 200
        assert_marked(answer)
        assert answer.headers["x-enginehouse-instance"] == "m#0"
        if stream:
            assert answer.text.endswith("data: [DONE]\n\n")
            assert '"content":"lo"' in answer.text
        else:
            assert answer.json()["choices"][0]["message"]["content"] == "hello"
        (line,) = await here.ended()
        assert (line["id"], line["status"], line["completion_tokens"]) == ("mine", 200, 2)


@pytest.mark.parametrize("stream", [False, True])
async def test_layers_mark_errors(lane: Serve, stream: bool) -> None:
    async def fails(instance, request):
        yield Started(prompt_tokens=7)
        raise EngineFailure("broken")

    async with lane() as here:
        here.house.script.answer = fails
        answer = await here.ask(stream=stream, headers=MINE)
        assert answer.status_code == 500
        assert answer.json()["error"]["code"] == "engine_failure"
        assert_marked(answer)
        answer = await here.ask(stream=stream, temperature=9, headers=MINE)
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, "temperature")
        assert_marked(answer)
        assert [line["status"] for line in await here.ended(2)] == [500, 400]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/models", 200),
        ("HEAD", "/health", 200),
        ("GET", "/nothing", 404),
        ("PUT", "/health", 405),
        ("GET", CHAT, 405),
        ("HEAD", CHAT, 405),
        ("POST", CHAT, 415),
        ("GET", "/layer", 418),
        ("HEAD", "/layer", 418),
        ("GET", "/v1/models/a%2Fb%00", 404),
    ],
)
async def test_layers_mark_every_other_answer(lane: Serve, method: str, path: str, status: int) -> None:
    async with lane() as here:
        answer = await here.client.request(method, path, headers=MINE)
        assert answer.status_code == status
        assert_marked(answer)
        assert (answer.content == b"") == (method == "HEAD")
        assert int(answer.headers["content-length"]) > 0


async def test_a_preflight_is_answered_before_any_route(lane: Serve) -> None:
    async with lane(cors_origins=(ORIGIN,)) as here:
        asks = {"origin": ORIGIN, "access-control-request-method": "POST", **MINE}
        answer = await here.client.options(CHAT, headers=asks)
        assert (answer.status_code, answer.content) == (204, b"")
        assert answer.headers["access-control-allow-origin"] == ORIGIN
        assert answer.headers["x-request-id"] == "mine"
        assert "content-length" not in answer.headers
        for path in (CHAT, "/health", "/nothing"):
            answer = await here.client.get(path, headers={"origin": ORIGIN})
            assert answer.headers["access-control-allow-origin"] == ORIGIN
            assert answer.headers.get_list("vary") == ["origin"]


@pytest.mark.parametrize("path", [f"{CHAT}/", CHAT.replace("/chat", "//chat")])
async def test_a_slash_too_many_leads_to_the_same_route(lane: Serve, path: str) -> None:
    async with lane() as served:
        answer = await served.client.post(path, json={"model": "m", "messages": [{"role": "user", "content": "x"}]})
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("path", [CHAT, "/v1/models", "/health", "/nothing"])
async def test_two_keys_in_one_request_are_refused_everywhere(lane: Serve, path: str) -> None:
    """Which of them counts would depend on who reads."""
    async with lane(keys=("a", "b")) as here:
        headers = [("authorization", "Bearer a"), ("authorization", "Bearer b")]
        answer = await here.client.get(path, headers=headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "malformed_http")


@pytest.mark.parametrize("coding", ["utf-8", "latin-1"])
async def test_a_key_beyond_ascii_opens_every_route(lane: Serve, coding: str) -> None:
    async with lane(keys=("clé",)) as here:
        key = {"authorization": "Bearer clé".encode(coding)}
        assert (await here.client.get("/v1/models", headers=key)).status_code == 200
        assert (await here.client.get("/v1/models")).status_code == 401
        assert (await here.ask(headers=key)).status_code == 200
        assert (await here.ask()).status_code == 401


async def test_a_body_above_the_limit_is_refused_announced_and_not(lane: Serve) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b" " * 500

    async with lane(max_body_bytes=1000) as here:
        head = {"content-type": "application/json"}
        for content in (b" " * 1001, pieces()):
            answer = await here.client.post(CHAT, content=content, headers=head)
            assert (answer.status_code, answer.json()["error"]["code"]) == (413, "request_too_large")
        answer = await here.client.post(CHAT, content=b" " * 1000, headers=head)
        assert answer.json()["error"]["code"] == "invalid_json"


IMAGE = {"type": "image_url", "image_url": {"url": "data:,"}}


async def test_unknown_fields_are_named_where_that_is_wanted(lane: Serve) -> None:
    async with lane(unknown_fields="report") as here:
        for stream in (False, True):
            answer = await here.ask(foo=1, stream=stream)
            assert (answer.status_code, answer.headers["x-enginehouse-ignored"]) == (200, "foo")


async def test_what_the_model_lacks_is_left_out_and_named_where_that_is_wanted(lane: Serve) -> None:
    async with lane(unsupported="report", unknown_fields="report") as here:
        for stream in (False, True):
            answer = await here.ask(foo=1, seed=1, reasoning_effort="none", logprobs=True, stream=stream)
            assert (answer.status_code, answer.headers["x-enginehouse-ignored"]) == (200, "foo, seed, logprobs")
            request = here.house.script.requests[-1]
            assert (request.seed, request.logprobs, request.reasoning_effort) == (None, False, None)
        refused = await here.ask(messages=[{"role": "user", "content": [IMAGE]}])
        assert (refused.status_code, refused.json()["error"]["code"]) == (400, "unsupported_parameter")
    async with lane() as here:
        assert (await here.ask(seed=1)).status_code == 400


@pytest.mark.parametrize("of_server", ["refuse", "report"])
async def test_a_key_has_the_last_word_on_what_the_model_lacks(lane: Serve, of_server: str) -> None:
    own = {"lenient": "report", "strict": "refuse"}
    async with lane(keys=("lenient", "strict", "silent"), unsupported_by=own, unsupported=of_server) as here:
        for key, reports in (("lenient", True), ("strict", False), ("silent", of_server == "report")):
            answer = await here.ask(seed=1, headers={"authorization": f"Bearer {key}"})
            assert answer.status_code == (200 if reports else 400), key
            assert answer.headers.get("x-enginehouse-ignored") == ("seed" if reports else None)


async def test_a_silent_stream_is_kept_open_by_comments(lane: Serve) -> None:
    async def slow(instance, request):
        yield Started(prompt_tokens=7)
        await asyncio.sleep(0.15)
        yield TextDelta(choice=0, text="late", completion_tokens=1)
        yield Finished(choice=0, reason="stop")
        yield UsageReport(prompt_tokens=7, completion_tokens=1)

    async with lane(keep_alive_s=0.03) as here:
        here.house.script.answer = slow
        answer = await here.ask(stream=True)
        assert answer.text.startswith(": keep-alive\n\n: keep-alive\n\n")
        assert answer.text.endswith("data: [DONE]\n\n")


def raw(**fields: Any) -> bytes:
    """A request as bytes."""
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "hi"}], **fields}).encode()
    head = [
        f"POST {CHAT} HTTP/1.1",
        "host: localhost",
        "content-type: application/json",
        f"content-length: {len(body)}",
    ]
    return "\r\n".join([*head, "", ""]).encode() + body


async def says_and_waits(instance, request):
    yield Started(prompt_tokens=7)
    yield TextDelta(choice=0, text="well", completion_tokens=1)
    await asyncio.get_running_loop().create_future()


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_leaves_frees_its_slot(lane: Serve, stream: bool) -> None:
    async with lane() as here:
        here.house.script.answer = says_and_waits
        (instance,) = here.house.script.instances
        _, writer = await asyncio.open_connection(*here.address)
        writer.write(raw(stream=stream))
        async with asyncio.timeout(10):
            while not instance.active:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
            writer.close()
            await writer.wait_closed()
            while instance.active:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
        (line,) = await here.ended()
        assert (line["status"], line["cancelled"], line["error"]) == (499, True, None)


async def test_a_client_that_does_not_read_pauses_the_engine(lane: Serve) -> None:
    said = 0

    async def endless(instance, request):
        nonlocal said
        yield Started(prompt_tokens=7)
        while True:
            said += 1
            yield TextDelta(choice=0, text="x" * 10_000, completion_tokens=said)
            await asyncio.sleep(0)

    async with lane() as here:
        here.house.script.answer = endless
        _, writer = await asyncio.open_connection(*here.address, limit=1000)
        writer.write(raw(stream=True))
        async with asyncio.timeout(20):
            before = -1
            while not said or said != before:
                before = said
                await asyncio.sleep(0.2)
        assert said * 10_000 < 20_000_000
        writer.transport.abort()
        await here.ended()
