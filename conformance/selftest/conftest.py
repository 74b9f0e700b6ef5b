"""Servers for the self-tests: scripted ones that do what no right server does, and the stub."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import pytest

from conformance_stub import Behaviour, StubServer
from conformance_stub.listener import Listener

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def scripted(handler: Handler, streaming: Handler | None = None) -> AsyncIterator[str]:
    """A server that reads one request per connection, then does what *handler* does, then closes.

    Where a stream is asked for it does what *streaming* does, if that is given.
    """

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError):
            wants_stream = b'"stream":true' in await read_request(reader)
            await (streaming if streaming is not None and wants_stream else handler)(reader, writer)
            await writer.drain()

    listener = Listener(serve)
    try:
        yield f"http://127.0.0.1:{await listener.start()}/v1"
    finally:
        await listener.close()


async def read_request(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    length = next((line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), b":0")
    return head + await reader.readexactly(int(length.split(b":")[1]))


@contextlib.contextmanager
def in_thread(server: contextlib.AbstractAsyncContextManager[object]) -> Iterator[object]:
    """*server* in a thread with an event loop of its own, for programs that run one themselves."""
    ready: list[object] = []
    started = threading.Event()
    loop: asyncio.AbstractEventLoop
    ended = asyncio.Event()

    async def serve() -> None:
        nonlocal loop
        loop = asyncio.get_running_loop()
        async with server as entered:
            ready.append(entered)
            started.set()
            await ended.wait()

    def work() -> None:
        try:
            asyncio.run(serve())
        finally:
            started.set()

    thread = threading.Thread(target=work)
    thread.start()
    started.wait()
    try:
        yield ready[0]
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join()


@pytest.fixture
def serve() -> Iterator[Callable[..., str]]:
    """Start a scripted server in a thread, of one handler or of two; gives its base URL."""
    with contextlib.ExitStack() as stack:
        yield lambda *handlers: str(stack.enter_context(in_thread(scripted(*handlers))))


@pytest.fixture
def stub() -> Iterator[Callable[..., StubServer]]:
    """Start the stub, or a mutant of it, in a thread."""
    with contextlib.ExitStack() as stack:

        def start(behaviour: Behaviour | None = None, **options: object) -> StubServer:
            server = stack.enter_context(in_thread(StubServer(behaviour, **options)))
            assert isinstance(server, StubServer)
            return server

        yield start
