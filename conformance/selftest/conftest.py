"""Servers for the self-tests: scripted ones that do what no right server does, and the stub."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import pytest

from enginehouse_conformance.stub import Behaviour, StubServer

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def scripted(handler: Handler) -> AsyncIterator[str]:
    """A server that reads one request per connection, then does what *handler* does, then closes."""
    tasks: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await read_request(reader)
            await handler(reader, writer)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            tasks.discard(task)
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    finally:
        server.close()
        for task in tuple(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def read_request(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    length = next((line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), b":0")
    return head + await reader.readexactly(int(length.split(b":")[1]))


@contextlib.contextmanager
def in_thread(server: contextlib.AbstractAsyncContextManager[object]) -> Iterator[object]:
    """*server* in a thread with an event loop of its own, for programs that run one themselves."""
    ready: list[object] = []
    started = threading.Event()
    loop = asyncio.new_event_loop()
    ended = asyncio.Event()

    async def serve() -> None:
        async with server as entered:
            ready.append(entered)
            started.set()
            await ended.wait()

    def work() -> None:
        try:
            loop.run_until_complete(serve())
        finally:
            started.set()
            loop.close()

    thread = threading.Thread(target=work)
    thread.start()
    started.wait()
    try:
        yield ready[0]
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join()


@pytest.fixture
def serve() -> Iterator[Callable[[Handler], str]]:
    """Start a scripted server in a thread; gives its base URL."""
    with contextlib.ExitStack() as stack:
        yield lambda handler: str(stack.enter_context(in_thread(scripted(handler))))


@pytest.fixture
def stub() -> Iterator[Callable[..., StubServer]]:
    """Start the stub, or a mutant of it, in a thread."""
    with contextlib.ExitStack() as stack:

        def start(behaviour: Behaviour | None = None, **options: object) -> StubServer:
            server = stack.enter_context(in_thread(StubServer(behaviour, **options)))
            assert isinstance(server, StubServer)
            return server

        yield start
