"""Whether what is streamed comes while it is made."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from enginehouse_conformance.answer import Delta
from enginehouse_conformance.context import Context
from enginehouse_conformance.targets import Body

_TOO_QUICK_S: Final = 0.2
_SPREAD: Final = 0.2
_AT_ONCE_TIMES: Final = 3
_PIECES: Final = 3
_PAUSE_S: Final = 0.1
_AT_ONCE_S: Final = 0.02
_BLOCK: Final = 12
_BLOCKS: Final = 3


async def arrives_as_made(
    ctx: Context, body: Body, what: str, has_it: Callable[[Delta], bool], *, is_longest: bool = True
) -> bool:
    """Require that the *what* of the answer to *body*, in the deltas that *has_it* picks, comes spread over its time.

    Returns False where it is made too quickly to tell; the check ends with `inconclusive` where no longer answer is
    tried after this one.
    """
    at_once = 0
    while True:
        answer = await ctx.stream(body)
        came = [delta.at_s for delta in answer.deltas if has_it(delta)]
        ctx.require(len(came) > _PIECES, f"the {what} in several deltas", f"{len(came)} with {what}")
        ends_s = answer.deltas[-1].at_s
        spread_s = came[-1] - came[0]
        if spread_s > _SPREAD * ends_s:
            return True
        # Whoever waits for a busy machine gets much at once, too: what counts is the time beyond that of one token.
        one = await ctx.stream({**body, "max_tokens": 1})
        made_s = ends_s - one.deltas[-1].at_s
        if made_s < _TOO_QUICK_S:
            if is_longest:
                ctx.unclear(f"it takes {made_s:.3f} s: sent as it is made cannot be told from sent at once")
            return False
        if spread_s > _SPREAD * made_s:
            return True
        at_once += 1
        seen = f"{at_once} times nearly all at once, at last {spread_s:.3f} of {made_s:.3f} s"
        ctx.require(at_once < _AT_ONCE_TIMES, f"the first {what} well before the last", seen)


def comes_in_blocks(came: list[float]) -> str | None:
    """What is seen of a stream whose deltas *came* at these seconds where it is held back until a block is full.

    None where it is not: more than half of its time are then pauses that one can see, with many deltas at once after
    each. A machine that is slow has such pauses, and one delta after each.
    """
    pauses: list[float] = []
    counts: list[int] = []
    for at in range(1, len(came)):
        pause_s = came[at] - came[at - 1]
        if pause_s < _PAUSE_S:
            continue
        at_once = next((n for n, other in enumerate(came[at:]) if other - came[at] > _AT_ONCE_S), len(came) - at)
        if at_once >= _BLOCK:
            pauses.append(pause_s)
            counts.append(at_once)
    if len(pauses) < _BLOCKS or sum(pauses) <= (came[-1] - came[0]) / 2:
        return None
    middle = len(pauses) // 2
    return f"{len(pauses)} pauses of about {sorted(pauses)[middle]:.2f} s, each before some {sorted(counts)[middle]}"
