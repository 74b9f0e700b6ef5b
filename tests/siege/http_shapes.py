"""HTTP as nobody should write it: one answer each, none of them a 500, and nothing smuggled.

A request that is hidden in another one carries an id of its own: the log must not have it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Final

from tests.siege.house import SERVER, House, house, tiny
from tests.siege.judging import HONEST, judge_house
from tests.siege.pulse import pulse
from tests.siege.verdict import Scenario, Verdict

_BODY: Final = json.dumps(HONEST).encode()
_HOST: Final = b"Host: 127.0.0.1\r\n"
_TYPE: Final = b"Content-Type: application/json\r\n"
_LENGTH: Final = b"Content-Length: %d\r\n" % len(_BODY)
_CHUNKED: Final = b"%x\r\n%s\r\n0\r\n\r\n" % (len(_BODY), _BODY)
_HIDDEN: Final = b"POST /v1/chat/completions HTTP/1.1\r\n%s%sX-Request-Id: smuggled\r\nContent-Length: 2\r\n\r\n{}" % (
    _HOST,
    _TYPE,
)
_QUIET_S: Final = 1.0
"""How long a connection is read that says nothing more."""

_LINES: Final = {
    "no version": b"POST /v1/chat/completions",
    "version 0.9": b"GET /health HTTP/0.9",
    "version 2": b"GET /health HTTP/2.0",
    "version 9.9": b"GET /health HTTP/9.9",
    "lower case": b"get /health http/1.1",
    "a method of nobody": b"BREW /v1/chat/completions HTTP/1.1",
    "a long method": b"A" * 10_000 + b" / HTTP/1.1",
    "a long path": b"GET /" + b"a" * 100_000 + b" HTTP/1.1",
    "two spaces": b"GET  /health  HTTP/1.1",
    "tabs": b"GET\t/health\tHTTP/1.1",
    "a space in front": b" GET /health HTTP/1.1",
    "bytes in the path": b"GET /\xff\xfe\x00 HTTP/1.1",
    "dots": b"GET /../../etc/passwd HTTP/1.1",
    "escaped dots": b"GET /%2e%2e/%2e%2e/etc/passwd HTTP/1.1",
    "a broken escape": b"GET /v1/models/%zz HTTP/1.1",
    "an escaped NUL": b"GET /v1/models/%00 HTTP/1.1",
    "a whole address": b"GET http://evil.example/health HTTP/1.1",
    "CONNECT": b"CONNECT evil.example:443 HTTP/1.1",
    "a star": b"OPTIONS * HTTP/1.1",
    "TRACE": b"TRACE / HTTP/1.1",
    "a query of 50 kB": b"GET /health?" + b"q=1&" * 12_500 + b" HTTP/1.1",
    "a fragment": b"GET /health#x HTTP/1.1",
    "PRI": b"PRI * HTTP/2.0",
    "nothing": b"",
    "noise": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 100,
}
_HEADERS: Final = {
    "no colon": b"Broken\r\n",
    "a space before the colon": b"Content-Length : 2\r\n",
    "no name": b": value\r\n",
    "a NUL": b"X-A: a\x00b\r\n",
    "a bare CR": b"X-A: a\rX-B: b\r\n",
    "a bare LF": b"X-A: a\nX-B: b\r\n",
    "a folded line": b"X-A: a\r\n b\r\n",
    "a folded length": b"Content-Length:\r\n 2\r\n",
    "bytes": b"X-A: \xff\xfe\r\n",
    "a name of 60 kB": b"X" * 60_000 + b": 1\r\n",
    "a value of 70 kB": b"X-A: " + b"a" * 70_000 + b"\r\n",
    "5,000 headers": b"X-A: 1\r\n" * 5000,
    "two hosts": b"Host: evil.example\r\n",
    "an empty host": b"Host: \r\n",
    "a host with a path": b"Host: 127.0.0.1/evil\r\n",
    "two types": b"Content-Type: text/plain\r\n",
    "two keys": b"Authorization: Bearer a\r\nAuthorization: Bearer b\r\n",
    "an upgrade": b"Connection: Upgrade\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n",
    "a web socket": b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n",
    "an expectation": b"Expect: 100-continue\r\n",
    "another expectation": b"Expect: 200-ok\r\n",
    "a compressed body": b"Content-Encoding: gzip\r\n",
    "a range": b"Range: bytes=0-\r\n",
    "a trailer": b"Trailer: Content-Length\r\n",
    "an id of 8 kB": b"X-Request-Id: " + b"i" * 8000 + b"\r\n",
    "an id that breaks lines": b"X-Request-Id: a%0d%0aSet-Cookie: x\r\n",
    "another method": b"X-HTTP-Method-Override: DELETE\r\n",
    "forwarded": b"X-Forwarded-For: 127.0.0.1\r\nForwarded: for=127.0.0.1\r\n",
    "connection options": b"Connection: content-length, close\r\n",
}
_FRAMES: Final = {
    "a length and chunks": (_LENGTH + b"Transfer-Encoding: chunked\r\n", _CHUNKED),
    "chunks and a length": (b"Transfer-Encoding: chunked\r\n" + _LENGTH, _CHUNKED),
    "two lengths": (_LENGTH + b"Content-Length: 3\r\n", _BODY),
    "the same length twice": (_LENGTH + _LENGTH, _BODY),
    "a list of lengths": (b"Content-Length: %d, %d\r\n" % (len(_BODY), len(_BODY)), _BODY),
    "a negative length": (b"Content-Length: -1\r\n", _BODY),
    "a signed length": (b"Content-Length: +%d\r\n" % len(_BODY), _BODY),
    "a length in hexadecimal": (b"Content-Length: 0x%x\r\n" % len(_BODY), _BODY),
    "a length of 2^64": (b"Content-Length: 18446744073709551617\r\n", _BODY),
    "a length of 400 digits": (b"Content-Length: " + b"1" * 400 + b"\r\n", _BODY),
    "a length with a blank": (b"Content-Length: 1 1\r\n", _BODY),
    "an empty length": (b"Content-Length: \r\n", _BODY),
    "xchunked": (b"Transfer-Encoding: xchunked\r\n", _CHUNKED),
    "gzip, chunked": (b"Transfer-Encoding: gzip, chunked\r\n", _CHUNKED),
    "chunked, identity": (b"Transfer-Encoding: chunked, identity\r\n", _CHUNKED),
    "chunked twice": (b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", _CHUNKED),
    "chunked in capitals": (b"Transfer-Encoding: CHUNKED\r\n", _CHUNKED),
    "a tab before chunked": (b"Transfer-Encoding:\tchunked\r\n", _CHUNKED),
    "a vertical tab": (b"Transfer-Encoding: \x0bchunked\r\n", _CHUNKED),
    "identity": (b"Transfer-Encoding: identity\r\n" + _LENGTH, _BODY),
    "a size of no number": (b"Transfer-Encoding: chunked\r\n", b"zz\r\n" + _BODY + b"\r\n0\r\n\r\n"),
    "a negative size": (b"Transfer-Encoding: chunked\r\n", b"-1\r\n" + _BODY + b"\r\n0\r\n\r\n"),
    "a size of 2^64": (b"Transfer-Encoding: chunked\r\n", b"10000000000000000\r\n" + _BODY + b"\r\n0\r\n\r\n"),
    "a size of 0x": (b"Transfer-Encoding: chunked\r\n", b"0x5\r\nabcde\r\n0\r\n\r\n"),
    "an extension of 70 kB": (b"Transfer-Encoding: chunked\r\n", b"1;" + b"e" * 70_000 + b"\r\n{\r\n0\r\n\r\n"),
    "trailers": (b"Transfer-Encoding: chunked\r\n", _CHUNKED[:-2] + b"Content-Length: 5\r\nHost: x\r\n\r\n"),
    "a chunk with LF alone": (b"Transfer-Encoding: chunked\r\n", b"%x\n%s\n0\n\n" % (len(_BODY), _BODY)),
    "a chunk that is too long": (b"Transfer-Encoding: chunked\r\n", b"5\r\n" + _BODY + b"\r\n0\r\n\r\n"),
    "no frame": (b"", _BODY),
}


def shapes() -> Iterator[tuple[str, bytes]]:
    """Every shape by its name; some hide another request in themselves."""
    for name, line in _LINES.items():
        yield f"a first line: {name}", line + b"\r\n" + _HOST + b"\r\n"
        yield f"a first line without a host: {name}", line + b"\r\n\r\n"
    for name, lines in _HEADERS.items():
        yield f"a header: {name}", _post(lines + _LENGTH, _BODY)
        yield f"a header of a GET: {name}", b"GET /health HTTP/1.1\r\n" + _HOST + lines + b"\r\n"
    for version in (b"1.1", b"1.0"):
        for name, (lines, body) in _FRAMES.items():
            yield f"a frame in {version.decode()}: {name}", _post(lines, body, version)
            yield f"hidden in {version.decode()}: {name}", _post(lines, body, version, behind=_HIDDEN)
    yield "2,000 upgrades", (b"GET /health HTTP/1.1\r\n" + _HOST + _HEADERS["an upgrade"] + b"\r\n") * 2000
    yield "line ends alone", b"GET /health HTTP/1.1\n" + b"Host: 127.0.0.1\n\n"
    yield "empty lines first", b"\r\n" * 1000 + b"GET /health HTTP/1.1\r\n" + _HOST + b"\r\n"
    yield "a body behind a GET", b"GET /health HTTP/1.1\r\n" + _HOST + _LENGTH + b"\r\n" + _BODY


def _post(lines: bytes, body: bytes, version: bytes = b"1.1", behind: bytes = b"") -> bytes:
    """A chat request; what is *behind* stands inside of it where its frame is read another way."""
    head = b"POST /v1/chat/completions HTTP/%s\r\n%s%s%s" % (version, _HOST, _TYPE, lines)
    # Without a `close` a second answer would be to the hidden one, which some frames end before.
    return head + b"Connection: close\r\n\r\n" + body + behind


async def _try(running: House, name: str, data: bytes, verdict: Verdict) -> None:
    reader, writer = await asyncio.open_connection(*running.address)
    received = bytearray()
    try:
        writer.write(data)
        async with asyncio.timeout(_QUIET_S * 10):
            while piece := await asyncio.wait_for(reader.read(1 << 16), _QUIET_S if received else _QUIET_S * 3):
                received += piece
    except TimeoutError:
        verdict.count("left open")
    except ConnectionError:
        verdict.count("reset")
    finally:
        writer.close()
    status = bytes(received).split(b" ", 2)[1:2]
    verdict.count(f"status {status[0].decode('latin-1') if status else 'none'}")
    verdict.count("shapes")
    verdict.expect(status != [b"500"], f"{name}: {bytes(received)[-200:]!r}")


async def http_shapes(verdict: Verdict) -> None:
    """Each shape on a connection of its own, some at once."""
    waiting = shapes()
    async with house(SERVER + tiny()) as running:

        async def ask() -> None:
            for name, data in waiting:
                await _try(running, name, data, verdict)

        async with pulse(running) as seen:
            await asyncio.gather(*(ask() for _ in range(8)))
        smuggled = [line for line in running.events("request") if line["id"] == "smuggled"]
        verdict.expect(not smuggled, f"{len(smuggled)} smuggled requests were read")
        await judge_house(verdict, running, seen)


SCENARIOS: dict[str, Scenario] = {"http-shapes": http_shapes}
