"""Engines by script, for what vLLM does not do here: faults, sleep without a GPU, forms of models that are absent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from enginehouse_vllm.server import Server

Answer = Callable[[str, str, bytes], bytes]
"""Takes method, target and body of a request; gives what is sent for it, see `reply`."""


def reply(body: bytes, *, status: str = "200 OK", length: int | None = None) -> bytes:
    """An HTTP answer that announces *length* bytes, by default those of *body*, and the end of the connection."""
    announced = len(body) if length is None else length
    return f"HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {announced}\r\n\r\n".encode() + body


@asynccontextmanager
async def scripted(answer: Answer, folder: Path) -> AsyncIterator[Server]:
    """The adapter's end of an engine that listens in *folder* and takes one request for each connection."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        method, target, _ = head.split(" ", 2)
        lengths = [int(line.split(":")[1]) for line in head.split("\r\n") if line.startswith("content-length")]
        writer.write(answer(method, target, await reader.readexactly(sum(lengths))))
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    path = str(folder / "s.sock")
    listener = await asyncio.start_unix_server(serve, path)
    server = Server(path, "m")
    try:
        yield server
    finally:
        await server.close()
        listener.close()
        await listener.wait_closed()
