"""A connection that has ended is freed at once: crowds that leave must not wait for the collector of cycles."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Iterator

import pytest

from enginehouse.http import connection

from .lanes import Echo, hello, listening

BODY = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\n"


@pytest.fixture
def lost(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[weakref.ref[connection.Connection]]]:
    """The connections that have ended, while nothing is collected."""
    refs: list[weakref.ref[connection.Connection]] = []
    gone = connection.Connection.connection_lost

    def connection_lost(self: connection.Connection, exc: Exception | None) -> None:
        refs.append(weakref.ref(self))
        gone(self, exc)

    monkeypatch.setattr(connection.Connection, "connection_lost", connection_lost)
    gc.collect()
    gc.disable()
    yield refs
    gc.enable()


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET / HT",
        b"nonsense\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: x\r\n\r\n",
        2 * b"GET / HTTP/1.1\r\nhost: x\r\n\r\n",
        BODY,
        BODY + b"bo",
        BODY + b"body",
        b"POST / HTTP/1.1\r\nhost: x\r\nconnection: Upgrade\r\nupgrade: h2c\r\ncontent-length: 4\r\n\r\nbody",
    ],
)
@pytest.mark.parametrize("handle", [hello, Echo])
@pytest.mark.interpreted  # of a compiled object a weak reference is not cleared when it goes: following it crashes
async def test_an_ended_connection_is_freed_without_the_collector(
    lost: list[weakref.ref[connection.Connection]], sent: bytes, handle: type[Echo]
) -> None:
    async with listening(handle) as connect:
        for _ in range(3):
            _, writer = await connect()
            writer.write(sent)
            await asyncio.sleep(0.02)
            writer.transport.abort()
        async with asyncio.timeout(5):
            while len(lost) < 3:  # noqa: ASYNC110  # nobody tells of it
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.01)
        kept = [ref() for ref in lost if ref() is not None]
        assert kept == []
