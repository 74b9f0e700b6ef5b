from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import pytest
import uvloop

from enginehouse_kit.http.client import LocalClient


async def _cancel_after(turns: int, path: str) -> None:
    conversations: set[asyncio.Task[None]] = set()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        conversations.add(task)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
            await reader.read()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    async with await asyncio.start_unix_server(answer, path):
        client = LocalClient(path)
        request = asyncio.create_task(client.request("GET", "/"))
        for _ in range(turns):
            await asyncio.sleep(0)
        request.cancel()
        await asyncio.wait([request])
        async with asyncio.timeout(30):
            await client.close()
        await asyncio.sleep(0.01)  # the server takes up a connection that was dropped at once
        if conversations:
            await asyncio.wait(conversations)


@pytest.mark.parametrize("turns", range(8))
@pytest.mark.parametrize("factory", [uvloop.new_event_loop, asyncio.new_event_loop], ids=["uvloop", "asyncio"])
def test_a_client_closes_after_a_request_was_cancelled_at_any_point(factory, turns: int, tmp_path: Path) -> None:
    """Connecting included: uvloop drops a connection half made without telling it."""
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(_cancel_after(turns, str(tmp_path / "s")))
