"""Thousands of connections that each send one request, so that one round of the router's loop finds them all."""

from __future__ import annotations

import asyncio
import json
import resource
import signal
import socket
import struct
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from tests.siege.house import SERVER, House, house, scripted
from tests.siege.judging import judge_house
from tests.siege.pulse import pulse
from tests.siege.upstream import script, upstream
from tests.siege.verdict import Scenario, Verdict

CONNECTIONS: Final = 2000
_TIMES: Final = 3
_HELD_S: Final = 0.05
_GONE_S: Final = 60.0
_FEW: Final = 10
"""Connections of the pulse and of who asks; all others have ended within `_GONE_S`."""
_HOST: Final = b"Host: 127.0.0.1\r\n"
_POST: Final = b"POST /v1/chat/completions HTTP/1.1\r\n%sContent-Type: application/json\r\n" % _HOST
_BODY: Final = json.dumps(script(1, 3)).encode()
_HANGING: Final = json.dumps(script(1, 3, "hang")).encode()
_QUEUE: Final = f"max_queue = {CONNECTIONS}\n"
_CHUNKED: Final = b"Transfer-Encoding: chunked\r\n\r\n%s0\r\n\r\n" % (b"1\r\n \r\n" * 2000)

Client = tuple[asyncio.StreamReader, asyncio.StreamWriter]

KINDS: Final = {
    "GET /health": b"GET /health HTTP/1.1\r\n%s\r\n" % _HOST,
    "GET /metrics": b"GET /metrics HTTP/1.1\r\n%s\r\n" % _HOST,
    "GET /openapi.json": b"GET /openapi.json HTTP/1.1\r\n%s\r\n" % _HOST,
    "a body that is refused": b"%sContent-Length: 2\r\n\r\n{}" % _POST,
    "an answer": b"%sContent-Length: %d\r\n\r\n%s" % (_POST, len(_BODY), _BODY),
    "a body in chunks of a byte": _POST + _CHUNKED,
}


LEAVING: Final = {
    "no request": b"",
    "half a request": b"%sContent-Length: %d\r\n\r\n%s" % (_POST, len(_BODY), _BODY[:9]),
    "an answer that does not come": b"%sContent-Length: %d\r\n\r\n%s" % (_POST, len(_HANGING), _HANGING),
}
"""What they have sent when they leave, all at once: half of the crowds close, the others reset."""


async def many_at_once(verdict: Verdict) -> None:
    """The router is stopped for an instant while they send or leave; each is answered, and no round blocks the loop."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 3 * CONNECTIONS), hard))
    async with upstream() as source, house(SERVER + scripted(source.port) + _QUEUE) as running:
        async with pulse(running) as seen:
            for name, sent in KINDS.items():
                statuses: Counter[int] = Counter()
                for _ in range(_TIMES):
                    clients = await _crowd(running)
                    async with _held(running):
                        for _, writer in clients:
                            writer.write(sent)
                    statuses.update(await asyncio.gather(*(_status(reader) for reader, _ in clients)))
                    await _leave(running, clients, is_reset=False)
                verdict.counts[name] = str(dict(statuses))
                verdict.expect(statuses.keys() <= {200, 400, 503}, f"{name}: {dict(statuses)}")
            for name, sent in LEAVING.items():
                for is_reset in (False, True):
                    clients = await _crowd(running, sent)
                    await _leave(running, clients, is_reset=is_reset)
                    verdict.count(f"left behind {name}", len(clients))
        # It was held by the scenario, not by its loop: what counts are blocks, in processor time.
        verdict.counts["pulse"] = f"{seen.text()}, {seen.missing} missing"
        verdict.expect(not seen.missing and not seen.blocks, seen.text())
        async with asyncio.timeout(_GONE_S):
            while await _open(running) > _FEW:  # noqa: ASYNC110
                await asyncio.sleep(0.5)
        await judge_house(verdict, running)


async def _open(running: House) -> float:
    """How many connections the router says it has."""
    return sum(
        value for name, value in (await running.metrics()).items() if name.startswith("enginehouse_connections{")
    )


@asynccontextmanager
async def _held(running: House) -> AsyncIterator[None]:
    """The router is stopped meanwhile, and for a moment behind it."""
    running.process.send_signal(signal.SIGSTOP)
    yield
    await asyncio.sleep(_HELD_S)
    running.process.send_signal(signal.SIGCONT)


async def _crowd(running: House, sent: bytes = b"") -> list[Client]:
    """Connections, each of which has *sent* this."""
    clients = [await asyncio.open_connection(*running.address) for _ in range(CONNECTIONS)]
    for _, writer in clients:
        writer.write(sent)
    await asyncio.sleep(1 if sent else 0)
    return clients


async def _leave(running: House, clients: list[Client], *, is_reset: bool) -> None:
    async with _held(running):
        for _, writer in clients:
            if is_reset:
                sock = writer.get_extra_info("socket")
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
        await asyncio.sleep(0.1)


async def _status(reader: asyncio.StreamReader) -> int:
    """The status of the answer, 0 without one."""
    try:
        async with asyncio.timeout(120):
            return int((await reader.readuntil(b"\r\n\r\n")).split(maxsplit=2)[1])
    except (OSError, EOFError, TimeoutError):
        return 0


SCENARIOS: dict[str, Scenario] = {"many-at-once": many_at_once}
