from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import pytest
import uvloop

from enginehouse_plugin.hosting.http import LocalClient


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        await reader.read()
    writer.close()


async def _cancel_after(turns: int, path: str) -> None:
    server = await asyncio.start_unix_server(_answer, path)
    client = LocalClient(path)
    request = asyncio.create_task(client.request("GET", "/"))
    for _ in range(turns):
        await asyncio.sleep(0)
    request.cancel()
    await asyncio.wait([request])
    async with asyncio.timeout(30):
        await client.close()
    server.close()


@pytest.mark.parametrize("turns", range(8))
@pytest.mark.parametrize("factory", [uvloop.new_event_loop, asyncio.new_event_loop], ids=["uvloop", "asyncio"])
def test_a_client_closes_after_a_request_was_cancelled_at_any_point(factory, turns: int, tmp_path: Path) -> None:
    """Connecting included: uvloop drops a connection half made without telling it."""
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(_cancel_after(turns, str(tmp_path / "s")))
