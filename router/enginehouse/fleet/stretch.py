"""The longest context that fits: what `context_tokens = "auto"` comes to."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

STEP: Final = 256
_MOST: Final = 1 << 20


async def longest_context(fits: Callable[[int], Awaitable[bool]]) -> int | None:
    """The most tokens, a multiple of `STEP`, that *fits* says yes to; None: not even the fewest.

    It is asked about twenty times: what fits is taken to fit with fewer tokens, too.
    """
    low, high = 0, STEP
    while high <= _MOST and await fits(high):
        low, high = high, 2 * high
    if not low:
        return None
    while high - low > STEP:
        middle = (low + high) // 2 // STEP * STEP
        if await fits(middle):
            low = middle
        else:
            high = middle
    return low
