"""Both event loops, and an HTTP server that follows a script."""

import asyncio
import contextlib
import os
import tempfile

import pytest
import uvloop

from enginehouse_kit.http.client import LocalClient
from enginehouse_kit.http.openai import OpenAIDialect

from .openai_answers import request


def pytest_asyncio_loop_factories(config, item):
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


CLOSE = object()
"""In a script: close the connection."""
RESET = object()
"""In a script: close the connection so that the client gets ECONNRESET where the system tells so."""
STALL = object()
"""In a script: say nothing more."""


class ScriptedServer:
    """Answers the first request of connection c with scripts[c][0], the second with scripts[c][1], …

    A script is a list of bytes, each sent on its own, and marks.
    """

    def __init__(self, path):
        self.address = path
        self.scripts = []
        self.requests = []
        self.connections = 0
        self.gone = asyncio.Event()
        """A client has closed its connection."""
        self.asked = asyncio.Event()
        """A request has come."""

    async def serve(self, reader, writer):
        script = self.scripts[min(self.connections, len(self.scripts) - 1)]
        self.connections += 1
        try:
            await self.follow(script, reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            self.gone.set()

    async def follow(self, script, reader, writer):
        for answer in script:
            head = await reader.readuntil(b"\r\n\r\n")
            self.requests.append(head)
            length = next(int(line[15:]) for line in head.split(b"\r\n") if line.startswith(b"content-length:"))
            if b"early" not in head:
                self.requests[-1] += await reader.readexactly(length)
            self.asked.set()
            for piece in answer:
                if piece is CLOSE:
                    return
                if piece is RESET:
                    writer.transport.abort()
                    return
                if piece is STALL:
                    break
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0.001)
        while await reader.read(65536):
            pass
        self.gone.set()


@contextlib.asynccontextmanager
async def serving(serve, *, port=False, **where):
    """Listen, and wait for every conversation at the end: the client has closed its connections by then."""
    conversations = set()

    async def noted(reader, writer):
        conversations.add(asyncio.current_task())
        try:
            await serve(reader, writer)
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    start = asyncio.start_server if port else asyncio.start_unix_server
    listening = await start(noted, **where)
    yield listening
    listening.close()
    await asyncio.sleep(0.005)  # a connection that was dropped at once is taken up
    if conversations:
        await asyncio.wait(conversations)


@pytest.fixture
async def server():
    with tempfile.TemporaryDirectory() as folder:
        scripted = ScriptedServer(os.path.join(folder, "http.sock"))
        async with serving(scripted.serve, path=scripted.address):
            yield scripted


@pytest.fixture
async def client(server):
    made = LocalClient(server.address)
    yield made
    await made.close()


@pytest.fixture
def ask(server, client):
    async def ask(answer, **fields):
        server.scripts = [[answer]]
        return [event async for event in OpenAIDialect().generate(client, request(**fields), "m")]

    return ask
