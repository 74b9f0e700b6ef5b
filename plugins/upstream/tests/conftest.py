"""A scripted upstream over real sockets, plain or with TLS, and a real llama-server."""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from enginehouse_plugin import Placement
from enginehouse_upstream.backend import UpstreamBackend
from enginehouse_upstream.instance import UpstreamInstance
from enginehouse_upstream.options import UpstreamOptions
from tests.weights import PATHS, make

TLS = Path(__file__).parents[3] / "tests/integration/tls"
CARD = {"id": "m", "object": "model", "context_length": 512}


class Upstream:
    """Answers each path with what stands in `answers`: a status and a body, or raw pieces of an answer."""

    def __init__(self) -> None:
        self.cards: list[dict[str, Any]] = [CARD]
        self.answers: dict[str, Any] = {}
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.bodies: list[Any] = []
        self.server_header = "scripted"
        self.connections = 0
        self.left = asyncio.Event()
        self.url = ""

    def say(
        self, *payloads: Any, path: str = "/v1/chat/completions", end: bytes = b"data: [DONE]\n\n", named: bytes = b""
    ) -> None:
        """Answer chat requests with a stream of *payloads*."""
        data = b"".join(b"data: " + json.dumps(one).encode() + b"\n\n" for one in payloads) + end
        head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n" + named + b"\r\n"
        self.answers[path] = [head, b"%x\r\n%b\r\n" % (len(data), data), b"0\r\n\r\n"]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                await self._answer(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            self.left.set()
        finally:
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        _, path, _ = lines[0].split(" ")
        named = dict(line.split(": ", 1) for line in lines[1:] if line)
        headers = {name.lower(): value for name, value in named.items()}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        self.paths.append(path)
        self.headers.append(headers)
        self.bodies.append(json.loads(body) if body else None)
        answer = self.answers.get(path, (200, {"data": self.cards}) if path.endswith("/models") else (404, {}))
        if isinstance(answer, list):
            for piece in answer:
                if piece is None:  # say nothing more
                    await reader.read()
                    raise ConnectionError
                writer.write(piece)
                await writer.drain()
            if answer[-1] != b"0\r\n\r\n":
                raise ConnectionError
            return
        status, document = answer
        data = json.dumps(document).encode()
        head = f"HTTP/1.1 {status} X\r\nserver: {self.server_header}\r\ncontent-length: {len(data)}\r\n\r\n"
        writer.write(head.encode() + data)
        await writer.drain()


@pytest_asyncio.fixture(params=["plain", "tls"])
async def upstream(request: pytest.FixtureRequest) -> AsyncIterator[Upstream]:
    """A scripted upstream, reached in both ways."""
    scripted = Upstream()
    context = None
    if request.param == "tls":
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(TLS / "cert.pem", TLS / "key.pem")
    listening = await asyncio.start_server(scripted.serve, "127.0.0.1", 0, ssl=context)
    port = listening.sockets[0].getsockname()[1]
    scripted.url = f"{'https' if context else 'http'}://localhost:{port}"
    yield scripted
    listening.close()


@pytest_asyncio.fixture
async def load() -> AsyncIterator[Any]:
    """`await load(upstream, **options)`: an instance, unloaded after the test."""
    loaded: list[UpstreamInstance] = []

    async def start(upstream: Upstream, *, context_tokens: int | None = None, **options: Any) -> UpstreamInstance:
        instance = await UpstreamBackend().load(place(upstream, context_tokens, **options), (), lambda _: None)
        loaded.append(instance)
        return instance

    yield start
    for instance in loaded:
        await instance.unload()


def place(upstream: Upstream, context_tokens: int | None = None, **options: Any) -> Placement:
    """A placement on *upstream*."""
    if upstream.url.startswith("https"):
        options.setdefault("ca", str(TLS / "cert.pem"))
    return Placement(
        model="m",
        backend="upstream",
        source=upstream.url,
        context_tokens=context_tokens,
        options=UpstreamOptions(**options),
    )


@pytest.fixture(scope="session")
def llama_server() -> Iterator[str]:
    """The URL of llama.cpp's own server with the tiny model."""
    make("tiny-gguf")
    program = [sys.executable, str(Path(__file__).with_name("llama_server.py"))]
    with subprocess.Popen(
        [*program, str(PATHS["tiny-gguf"]()), "512", "2"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "OMP_WAIT_POLICY": "passive"},
    ) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().split()[-1]
        finally:
            process.terminate()
