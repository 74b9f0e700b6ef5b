"""Crowds of clients that are silent, slow or never read, beside honest ones; and pages of other origins."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import socket
import ssl
import statistics
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Final

from tests.siege.house import SERVER, House, house, scripted, tiny
from tests.siege.pulse import pulse
from tests.siege.upstream import script, upstream
from tests.siege.verdict import Scenario, Verdict

CROWD: Final = 1000
HONEST: Final = 16
SECONDS: Final = 10.0
MOST_MS: Final = 250.0
"""An honest answer takes no longer than this beside a crowd (more on a busy machine), or three times what it took."""

_KEY: Final = "siege"
_KEYS: Final = f'\n[[keys]]\nname = "siege"\nsha256 = "{hashlib.sha256(_KEY.encode()).hexdigest()}"\n'
_TLS: Final = Path(__file__).parents[1] / "integration" / "tls"
_HOST: Final = b"Host: 127.0.0.1\r\n"
_BEARER: Final = b"Authorization: Bearer %s\r\n" % _KEY.encode()
_POST: Final = b"POST /v1/chat/completions HTTP/1.1\r\n%s%sContent-Type: application/json\r\n" % (_HOST, _BEARER)
_FULL: Final = f"max_connections = {CROWD}"
_BODY: Final = json.dumps(script(1, 3)).encode()
_ASK: Final = b"%sConnection: close\r\nContent-Length: %d\r\n\r\n%s" % (_POST, len(_BODY), _BODY)
_HEALTH: Final = b"GET /health HTTP/1.1\r\n%sConnection: close\r\n\r\n" % _HOST

KINDS: Final = {
    "silent": (b"", b""),
    "heads dripped": (b"GET /health HTTP/1.1\r\n", b"x"),
    "a head and no body": (_POST + b"Content-Length: 100\r\n\r\n", b""),
    "chunks that never come": (_POST + b"Transfer-Encoding: chunked\r\n\r\n", b""),
    "sizes of chunks dripped": (_POST + b"Transfer-Encoding: chunked\r\n\r\n", b"0"),
    "nothing after 100 Continue": (_POST + b"Expect: 100-continue\r\nContent-Length: 100\r\n\r\n", b""),
    "GET /health with a body dripped, no key": (
        b"GET /health HTTP/1.1\r\n%sContent-Length: 1000000\r\n\r\n" % _HOST,
        b"x",
    ),
    "answers never read, no key": (b"GET /openapi.json HTTP/1.1\r\n%s\r\n" % _HOST * 20, b""),
}
"""What each client of a crowd sends, and then a byte of each second."""


class _Member(asyncio.Protocol):
    """One client of a crowd."""

    def __init__(self, crowd: _Crowd) -> None:
        self._crowd = crowd

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        if self._crowd.is_reading:
            transport.write(self._crowd.first)
        else:
            transport.pause_reading()
            transport.write(self._crowd.first)
        self._crowd.members.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._crowd.members.discard(self)
        self._crowd.ended += 1


class _Crowd:
    """Clients that all do the same; for each that is cut off another one comes, as whoever means ill would do it."""

    def __init__(self, address: tuple[str, int], first: bytes, drop: bytes) -> None:
        self._address = address
        self.first = first
        self._drop = drop
        self.is_reading = b"/openapi.json" not in first
        self.members: set[_Member] = set()
        self.ended = 0
        self._task = asyncio.create_task(self._stay())

    @property
    def held(self) -> int:
        """How many have a connection."""
        return len(self.members)

    async def _stay(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            for _ in range(10):  # each second as many as are missing, in ten steps
                for _ in range(min(CROWD - self.held, CROWD // 10)):
                    with contextlib.suppress(OSError):
                        await loop.create_connection(lambda: _Member(self), sock=await self._connected(loop))
                await asyncio.sleep(0.1)
            for member in list(self.members):
                if self._drop and not member.transport.is_closing():
                    member.transport.write(self._drop)

    async def _connected(self, loop: asyncio.AbstractEventLoop) -> socket.socket:
        made = socket.socket()
        made.setblocking(False)
        if not self.is_reading:  # the server's own buffer is sized after these
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)
        try:
            async with asyncio.timeout(5):
                await loop.sock_connect(made, self._address)
        except TimeoutError:
            made.close()
            raise ConnectionError from None
        except OSError:
            made.close()
            raise
        return made

    async def leave(self) -> None:
        """Go, all of them."""
        self._task.cancel()
        await asyncio.wait([self._task])
        for member in list(self.members):
            member.transport.abort()
        await asyncio.sleep(0)


async def ask(address: tuple[str, int], request: bytes, tls: ssl.SSLContext | None = None) -> int:
    """The status of the answer to *request* on a connection of its own; 0 without one."""
    writer = None
    try:
        async with asyncio.timeout(20):
            reader, writer = await asyncio.open_connection(
                *address, ssl=tls, server_hostname="localhost" if tls else None
            )
            writer.write(request)
            answer = await reader.read()
            return int(answer.split(maxsplit=2)[1]) if answer else 0
    except (OSError, TimeoutError):
        return 0
    finally:
        if writer is not None:
            writer.transport.abort()


async def _honest(address: tuple[str, int], tls: ssl.SSLContext | None = None) -> tuple[list[float], int]:
    """Milliseconds of each answer to honest clients for some seconds, and how many got none."""
    ends_at = time.monotonic() + SECONDS
    took_ms: list[float] = []
    failed = 0

    async def one() -> None:
        nonlocal failed
        while time.monotonic() < ends_at:
            began = time.perf_counter()
            status = await ask(address, _ASK, tls)
            took_ms.append((time.perf_counter() - began) * 1000)
            failed += status != 200
            await asyncio.sleep(0.1)

    await asyncio.gather(*(one() for _ in range(HONEST)))
    return took_ms, failed


def _p(took_ms: list[float], part: float) -> float:
    return statistics.quantiles(took_ms, n=100, method="inclusive")[round(part * 100) - 1]


def _shown(took_ms: list[float], failed: int) -> str:
    return f"{len(took_ms)} asked, {failed} failed, p50 {_p(took_ms, 0.5):.0f} ms, p99 {_p(took_ms, 0.99):.0f} ms"


@contextlib.asynccontextmanager
async def _running(server: str) -> AsyncIterator[House]:
    async with (
        upstream() as source,
        house(SERVER.replace("port = 0", f"port = 0\n{server}", 1) + _KEYS + scripted(source.port)) as running,
    ):
        yield running


async def _beside(running: House, name: str, make: Callable[[], _Crowd], verdict: Verdict, before: list[float],
                  tls: ssl.SSLContext | None = None) -> None:  # fmt: skip
    """Let a crowd come, judge how the honest fare, and see that all is given back."""
    resident_mib, descriptors = running.resident_mib(), running.descriptors()
    crowd, spent_s = make(), sum(running.router.cpu_times()[:2])
    try:
        await asyncio.sleep(2)
        stretch = 1.0
        if tls is None:
            async with pulse(running) as seen:
                took_ms, failed = await _honest(running.address)
            stretch = seen.stretch
            verdict.expect(seen.is_steady, f"{name}: {seen.text()}, {seen.missing} missing")
            text = f"{seen.text()}, {seen.missing} missing"
        else:
            took_ms, failed = await _honest(running.address, tls)
            text = f"/health over TLS {await ask(running.address, _HEALTH, tls)}"
        spent_s = sum(running.router.cpu_times()[:2]) - spent_s
        held, grown = crowd.held, running.resident_mib() - resident_mib
    finally:
        await crowd.leave()
    await asyncio.sleep(3)
    left = running.descriptors() - descriptors
    spent = f"held {held}, {crowd.ended} ended, {grown:+.0f} MiB, {spent_s:.1f} s of processor"
    verdict.counts[name] = f"{_shown(took_ms, failed)}; {text}; {spent}; {left:+d} descriptors left"
    verdict.expect(not failed, f"{name}: {failed} of {len(took_ms)} honest requests failed")
    bound_ms = max(MOST_MS * stretch, 3 * _p(before, 0.99))
    verdict.expect(_p(took_ms, 0.99) <= bound_ms, f"{name}: p99 {_p(took_ms, 0.99):.0f} ms")
    verdict.expect(left <= HONEST * 3, f"{name}: {left} descriptors are left")


async def slow_clients(verdict: Verdict) -> None:
    """1,000 of each kind, at a limit of 1,000 connections, beside 16 honest clients with connections of their own."""
    async with _running(_FULL) as running:
        before, failed = await _honest(running.address)
        verdict.counts["before"] = _shown(before, failed)
        for name, (first, drop) in KINDS.items():
            await _beside(running, name, lambda f=first, d=drop: _Crowd(running.address, f, d), verdict, before)
        verdict.expect(not running.events("instance restarts"), "an engine was started again")


async def handshakes(verdict: Verdict) -> None:
    """The same with TLS handshakes that are never made."""
    cert, key = _TLS / "cert.pem", _TLS / "key.pem"
    tls = ssl.create_default_context(cafile=str(cert))
    async with upstream() as source:
        config = SERVER.replace("port = 0", f'port = 0\n{_FULL}\ntls_cert = "{cert}"\ntls_key = "{key}"', 1)
        async with house(config + _KEYS + scripted(source.port), ready=False) as running:
            before, failed = await _honest(running.address, tls)
            verdict.counts["before"] = _shown(before, failed)
            await _beside(running, "silent", lambda: _Crowd(running.address, b"", b""), verdict, before, tls)


async def descriptors(verdict: Verdict) -> None:
    """256 descriptors, 400 silent connections and honest requests: the engine stays, and health is answered."""
    under = ("sh", "-c", 'ulimit -n 256; exec "$@"', "sh")
    body = json.dumps({"model": "tiny", "max_tokens": 2, "messages": [{"role": "user", "content": "x"}]}).encode()
    request = b"POST /v1/chat/completions HTTP/1.1\r\n%sContent-Type: application/json\r\nConnection: close\r\n" % _HOST
    request += b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
    async with house(SERVER + tiny(), under=under) as running:
        silent = []
        for _ in range(400):
            with contextlib.suppress(OSError):
                silent.append(await asyncio.open_connection(*running.address))
        statuses: list[int] = []
        async with pulse(running) as seen:
            for _ in range(30):
                statuses += await asyncio.gather(*(ask(running.address, request) for _ in range(4)))
                await asyncio.sleep(0.2)
        for _, writer in silent:
            writer.transport.abort()
        verdict.counts["statuses"] = str({status: statuses.count(status) for status in set(statuses)})
        verdict.counts["pulse"] = f"{seen.text()}, {seen.missing} missing"
        verdict.counts["descriptors"] = running.descriptors()
        verdict.counts["engine restarts"] = len(running.events("instance restarts"))
        verdict.counts["told"] = str([e["event"] for e in running.events("connections limited by open files")])
        verdict.expect(set(statuses) == {200}, f"not all were answered: {verdict.counts['statuses']}")
        verdict.expect(seen.is_steady, f"/health: {seen.text()}")
        verdict.expect(not verdict.counts["engine restarts"], "a healthy engine was ended")
        verdict.expect(bool(running.events("connections limited by open files")), "the log does not tell of the limit")


_NAMES: Final = (
    "evil.example",
    "evil.example:8000",
    "localhost.evil.example",
    "127.0.0.1.evil.example",
    "EVIL.example",
    "[::1]evil.example",
)
_ORIGINS: Final = ("http://evil.example", "null", "http://localhost:1", "https://127.0.0.1", "file://", "")


async def origins(verdict: Verdict) -> None:
    """Without keys: no page of another origin uses or changes anything, and the machine's own names go on."""
    routes = (
        (b"GET /v1/models", b""),
        (b"GET /metrics", b""),
        (b"GET /health", b""),
        (b"POST /v1/chat/completions", _BODY),
    )
    async with upstream() as source, house(SERVER + scripted(source.port)) as running:
        port = running.address[1]

        async def status(route: bytes, body: bytes, host: str, origin: str | None) -> int:
            lines = f"Host: {host}\r\n" + (f"Origin: {origin}\r\n" if origin is not None else "")
            kind = "Content-Type: application/json\r\nConnection: close\r\n"
            head = route + f" HTTP/1.1\r\n{lines}{kind}Content-Length: {len(body)}\r\n\r\n".encode()
            return await ask(running.address, head + body)

        for route, body in routes:
            for name in _NAMES:
                for origin in (None, f"http://{name}"):
                    got = await status(route, body, name, origin)
                    verdict.count("other names tried")
                    verdict.expect(got == 403, f"{route!r} to {name} from {origin}: {got}")
            for own in (f"localhost:{port}", f"127.0.0.1:{port}", f"[::1]:{port}"):
                verdict.count("own names tried")
                got = await status(route, body, own, f"http://{own}")
                verdict.expect(got == 200, f"{route!r} to {own}: {got}")
        for origin in _ORIGINS:
            verdict.count("other origins tried")
            got = await status(b"POST /v1/chat/completions", _BODY, f"localhost:{port}", origin)
            verdict.expect(got == 403, f"POST from {origin}: {got}")


async def pipelines(verdict: Verdict) -> None:
    """Clients that send thousands of requests in one go, again and again, and read all answers or none."""
    flood = (b"GET /health HTTP/1.1\r\n%s\r\n" % _HOST) * 5000
    ask_all = (b"POST /v1/chat/completions HTTP/1.1\r\n%sContent-Length: 2\r\n\r\n{}" % _HOST) * 2000

    async def pour(sent: bytes, reads: bool) -> None:
        while True:
            reader, writer = await asyncio.open_connection(*running.address)
            with contextlib.suppress(ConnectionError):
                writer.write(sent)
                while reads and (answers := await reader.read(1 << 16)):
                    verdict.count("answers", answers.count(b"HTTP/1.1 "))
                await asyncio.sleep(0.05)
            writer.transport.abort()

    async with upstream() as source, house(SERVER + scripted(source.port)) as running:
        resident_mib = running.resident_mib()
        pouring = [asyncio.ensure_future(pour(sent, reads)) for sent in (flood, ask_all) for reads in (True, False)]
        async with pulse(running) as seen:
            await asyncio.sleep(SECONDS)
        for task in pouring:
            task.cancel()
        await asyncio.wait(pouring)
        grown = running.resident_mib() - resident_mib
        verdict.counts |= {"pulse": f"{seen.text()}, {seen.missing} missing", "grown, MiB": round(grown)}
        verdict.expect(seen.is_steady, seen.text())
        verdict.expect(grown < 256, f"memory grew by {grown:.0f} MiB")


SCENARIOS: dict[str, Scenario] = {
    "pipelines": pipelines,
    "slow-clients": slow_clients,
    "handshakes": handshakes,
    "descriptors": descriptors,
    "origins": origins,
}
