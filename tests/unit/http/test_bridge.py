"""An application on our own connections: a few requests at a time, and no client that holds them up."""

from __future__ import annotations

import asyncio
from typing import Any

from enginehouse.http.asgi import AT_ONCE, AT_ONCE_OF_EACH, Bridge

from .lanes import listening


class Application:
    """Answers `/health` at once, if it is not *slow*, and all else when it is allowed to."""

    def __init__(self, *, slow: bool = False) -> None:
        self.slow = slow
        self.begun: list[str] = []
        self.may_answer = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.begun.append(scope["path"])
        if self.slow or scope["path"] != "/health":
            await self.may_answer.wait()
        body = b"a" * (6_000_000 if scope["path"] == "/large" else 4)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body, "more_body": False})


def asking(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nhost: x\r\n\r\n".encode()


async def test_an_application_works_on_a_few_requests_at_a_time_and_tells_how_the_server_is_meanwhile() -> None:
    application = Application()
    bridge = Bridge(application, 1000)
    async with listening(bridge) as connect:
        held = [await connect() for _ in range(3 * AT_ONCE)]
        for at, (_, writer) in enumerate(held):
            writer.write(asking(f"/{at}"))
        while len(application.begun) < AT_ONCE:  # noqa: ASYNC110
            await asyncio.sleep(0)
        reader, writer = await connect()
        writer.write(asking("/health"))
        assert await reader.readuntil(b"aaaa")
        assert len(application.begun) == AT_ONCE + 1
        held[-1][1].transport.abort()
        await asyncio.sleep(0.05)
        application.may_answer.set()
        for reader, _ in held[:-1]:
            assert await reader.readuntil(b"aaaa")
        assert len(application.begun) == 3 * AT_ONCE  # of who has left nothing was begun
        assert not bridge.tasks


async def test_those_that_ask_how_the_server_is_take_turns_too() -> None:
    application = Application(slow=True)
    async with listening(Bridge(application, 1000)) as connect:
        asked = [await connect() for _ in range(2 * AT_ONCE_OF_EACH)]
        for _, writer in asked:
            writer.write(asking("/health"))
        while len(application.begun) < AT_ONCE_OF_EACH:  # noqa: ASYNC110
            await asyncio.sleep(0)
        await asyncio.sleep(0.05)
        assert len(application.begun) == AT_ONCE_OF_EACH
        (await connect())[1].write(asking("/ready"))
        while "/ready" not in application.begun:  # noqa: ASYNC110
            await asyncio.sleep(0)
        application.may_answer.set()
        for reader, _ in asked:
            assert await reader.readuntil(b"aaaa")


async def test_a_client_that_takes_no_answer_holds_up_nobody() -> None:
    application = Application()
    application.may_answer.set()
    async with listening(Bridge(application, 1000)) as connect:
        for _ in range(AT_ONCE + 2):
            _, writer = await connect()
            writer.transport.pause_reading()
            writer.write(asking("/large"))
        reader, writer = await connect()
        writer.write(asking("/other"))
        assert await reader.readuntil(b"aaaa")
