"""A listener on the loopback interface that leaves no connection behind when it ends."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Listener:
    """Gives each connection to *serve*, and closes it when that returns or is cancelled."""

    def __init__(self, serve: Serve) -> None:
        self._serve = serve
        self._server: asyncio.Server | None = None
        self._connections: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def start(self) -> int:
        """Listen on a free port; return it."""
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        return int(self._server.sockets[0].getsockname()[1])

    async def stop_listening(self) -> None:
        """Take no further connection; those that are open go on."""
        if self._server is None:
            return
        # asyncio loses a connection that it has accepted, and does not close it, where the server is closed before the
        # connection's transport is made: so accept no more, let that happen, and close then.
        loop = asyncio.get_running_loop()
        for listening in self._server.sockets:
            loop.remove_reader(listening)
        await asyncio.sleep(0)
        self._server.close()

    async def close(self) -> None:
        """Stop listening and drop every connection."""
        await self.stop_listening()
        await asyncio.sleep(0)  # what was accepted last is noted
        for task, writer in self._connections.items():
            task.cancel()
            writer.transport.abort()  # a task that never began would not
        await asyncio.gather(*self._connections, return_exceptions=True)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve_and_close(reader, writer))
        self._connections[task] = writer
        task.add_done_callback(self._connections.pop)

    async def _serve_and_close(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._serve(reader, writer)
        except (ConnectionError, asyncio.CancelledError):
            writer.transport.abort()
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
