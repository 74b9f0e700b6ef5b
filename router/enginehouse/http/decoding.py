"""Bodies of requests: a large one is decoded by a thread, so that nobody waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar

from litestar import Request

T = TypeVar("T")

READ_APART_BYTES: Final = 64 * 1024
"""What is smaller is decoded within a few milliseconds, whatever it holds."""
APART: Final = ThreadPoolExecutor(max_workers=1, thread_name_prefix="large bodies")
"""One thread: several would take turns with the loop, which would wait for them all."""


async def decoded(request: Request[Any, Any, Any], decode: Callable[[bytes], T]) -> T:
    """What *decode* makes of the body of *request*; its user, auth and state are not used."""
    body = await request.body()
    if len(body) > READ_APART_BYTES:
        return await asyncio.get_running_loop().run_in_executor(APART, decode, body)
    return decode(body)
