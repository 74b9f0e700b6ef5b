from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from enginehouse.fleet.deadlines import Watch


class Clocked:
    """Notes when it is looked at, and says when again; *does* something then."""

    def __init__(self, *again_s: float, does: Callable[[], None] = lambda: None) -> None:
        self.again_s = list(again_s)
        self.does = does
        self.seen: list[float] = []

    def look(self, now: float) -> float | None:
        self.seen.append(now)
        self.does()
        return now + self.again_s.pop(0) if self.again_s else None


async def test_each_is_looked_at_in_its_time_and_again_when_it_says() -> None:
    watch, began_at = Watch(), asyncio.get_running_loop().time()
    late, soon, again = Clocked(), Clocked(), Clocked(0.06)
    for watched, after_s in ((late, 0.1), (soon, 0.02), (again, 0.02)):
        watch.add(watched, began_at + after_s)
    soon.does = lambda: watch.remove(soon)
    late.does = lambda: watch.remove(late)
    await asyncio.sleep(0.05)
    assert (len(late.seen), len(soon.seen), len(again.seen)) == (0, 1, 1)
    await asyncio.sleep(0.25)
    assert (len(late.seen), len(soon.seen)) == (1, 1)
    assert len(again.seen) >= 2
    assert late.seen[0] >= began_at + 0.1


async def test_what_is_removed_is_looked_at_no_more_even_in_the_same_round() -> None:
    watch, now = Watch(), asyncio.get_running_loop().time()
    second = Clocked()

    def ends() -> None:
        watch.remove(first)
        watch.remove(second)

    first = Clocked(does=ends)
    watch.add(first, now)
    watch.add(second, now)
    await asyncio.sleep(0.1)
    assert (len(first.seen), second.seen) == (1, [])


async def test_one_that_breaks_costs_the_others_no_deadline(caplog: pytest.LogCaptureFixture) -> None:
    watch, loop = Watch(), asyncio.get_running_loop()

    def breaks() -> None:
        watch.remove(broken)
        raise RuntimeError("broken")

    broken, whole = Clocked(does=breaks), Clocked()
    whole.does = lambda: watch.remove(whole)
    watch.add(broken, loop.time())
    watch.add(whole, loop.time())
    await asyncio.sleep(0.15)
    assert (len(broken.seen), len(whole.seen)) == (1, 1)
    assert "broken" in caplog.text
