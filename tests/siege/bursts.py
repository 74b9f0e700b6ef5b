"""Thousands of connections that each send one request, so that one round of the router's loop finds them all."""

from __future__ import annotations

import asyncio
import json
import resource
import signal
from collections import Counter
from typing import Final

from tests.siege.house import SERVER, house, scripted
from tests.siege.judging import judge_house
from tests.siege.pulse import pulse
from tests.siege.upstream import script, upstream
from tests.siege.verdict import Scenario, Verdict

CONNECTIONS: Final = 2000
_TIMES: Final = 3
_HELD_S: Final = 0.05
_HOST: Final = b"Host: 127.0.0.1\r\n"
_POST: Final = b"POST /v1/chat/completions HTTP/1.1\r\n%sContent-Type: application/json\r\n" % _HOST
_BODY: Final = json.dumps(script(1, 3)).encode()
_CHUNKED: Final = b"Transfer-Encoding: chunked\r\n\r\n%s0\r\n\r\n" % (b"1\r\n \r\n" * 2000)

KINDS: Final = {
    "GET /health": b"GET /health HTTP/1.1\r\n%s\r\n" % _HOST,
    "GET /metrics": b"GET /metrics HTTP/1.1\r\n%s\r\n" % _HOST,
    "GET /openapi.json": b"GET /openapi.json HTTP/1.1\r\n%s\r\n" % _HOST,
    "a body that is refused": b"%sContent-Length: 2\r\n\r\n{}" % _POST,
    "an answer": b"%sContent-Length: %d\r\n\r\n%s" % (_POST, len(_BODY), _BODY),
    "a body in chunks of a byte": _POST + _CHUNKED,
}


async def many_at_once(verdict: Verdict) -> None:
    """The router is stopped for an instant while they send; each is answered, and no round blocks the loop."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2 * CONNECTIONS), hard))
    async with upstream() as source, house(SERVER + scripted(source.port)) as running:
        async with pulse(running) as seen:
            for name, sent in KINDS.items():
                statuses: Counter[int] = Counter()
                for _ in range(_TIMES):
                    clients = [await asyncio.open_connection(*running.address) for _ in range(CONNECTIONS)]
                    running.process.send_signal(signal.SIGSTOP)
                    for _, writer in clients:
                        writer.write(sent)
                    await asyncio.sleep(_HELD_S)
                    running.process.send_signal(signal.SIGCONT)
                    statuses.update(await asyncio.gather(*(_status(reader) for reader, _ in clients)))
                    for _, writer in clients:
                        writer.close()
                verdict.counts[name] = str(dict(statuses))
                verdict.expect(statuses.keys() <= {200, 400, 503}, f"{name}: {dict(statuses)}")
        # It was held by the scenario, not by its loop: what counts are blocks, in processor time.
        verdict.counts["pulse"] = f"{seen.text()}, {seen.missing} missing"
        verdict.expect(not seen.missing and not seen.blocks, seen.text())
        await judge_house(verdict, running)


async def _status(reader: asyncio.StreamReader) -> int:
    """The status of the answer, 0 without one."""
    try:
        async with asyncio.timeout(120):
            return int((await reader.readuntil(b"\r\n\r\n")).split(maxsplit=2)[1])
    except (OSError, EOFError, TimeoutError):
        return 0


SCENARIOS: dict[str, Scenario] = {"many-at-once": many_at_once}
