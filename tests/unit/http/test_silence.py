from __future__ import annotations

import asyncio

from tests.unit.http.test_api import Bench


async def test_what_is_written_puts_the_next_comment_off() -> None:
    bench = Bench(stream=True, keep_alive_s=0.01).asked()
    bench.service.lease.heard_at = asyncio.get_running_loop().time() + 3600
    bench.say("one")
    await asyncio.sleep(0.05)
    assert bench.exchange.body == b"one"


async def test_a_stream_that_falls_silent_is_kept_open_by_comments() -> None:
    bench = Bench(stream=True, keep_alive_s=0.01).asked()
    bench.service.lease.heard_at = asyncio.get_running_loop().time()
    bench.say("one")
    async with asyncio.timeout(30):
        while not bench.exchange.body.endswith(b"one: here\n: here\n"):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
