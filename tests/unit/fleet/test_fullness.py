"""How full the cache of an engine is: who is asked, and when."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import pytest
from tests.unit.conftest import turn_until

from enginehouse.fleet import fullness
from enginehouse.fleet.fullness import Fullness
from enginehouse_plugin import EngineLoad
from enginehouse_plugin.errors import EngineUnavailable


class Gate:
    running = 0


class Engine:
    """Tells `share`, or raises it; `asked` counts."""

    def __init__(self, share: Any) -> None:
        self.share = share
        self.asked = 0
        self.is_slow = False

    async def measure(self) -> EngineLoad:
        self.asked += 1
        if self.is_slow:
            await asyncio.sleep(3600)
        if isinstance(self.share, Exception):
            raise self.share
        return EngineLoad(running=1, waiting=0, cache_used=self.share)


async def asked(full: Fullness, engine: Engine) -> int:
    before = engine.asked
    full.ask()
    for _ in range(5):
        await asyncio.sleep(0)
    return engine.asked - before


async def test_an_idle_engine_is_asked_once_and_one_that_works_each_time() -> None:
    engine, gate = Engine(0.0), Gate()
    full = Fullness(engine, gate)  # type: ignore[arg-type]  # as much of a gate as is looked at
    assert full.share is None
    assert [await asked(full, engine) for _ in range(3)] == [1, 0, 0]
    assert full.share == 0.0
    gate.running, engine.share = 1, 0.5
    assert [await asked(full, engine) for _ in range(2)] == [1, 1]
    assert full.share == 0.5
    gate.running, engine.share = 0, 0.0
    assert [await asked(full, engine) for _ in range(2)] == [1, 0], "once more when it has ended"
    assert full.share == 0.0
    full.forget()
    assert full.share is None
    assert await asked(full, engine) == 1


@pytest.mark.parametrize("told", [None, -0.1, 1.5, math.nan, EngineUnavailable("away"), RuntimeError("a fault")])
async def test_what_is_no_share_is_not_known(told: Any) -> None:
    engine, gate = Engine(0.25), Gate()
    gate.running = 1
    full = Fullness(engine, gate)  # type: ignore[arg-type]
    await asked(full, engine)
    assert full.share == 0.25
    engine.share = told
    assert await asked(full, engine) == 1
    assert full.share is None


async def test_an_engine_that_does_not_answer_is_asked_no_second_time_meanwhile(monkeypatch: Any) -> None:
    monkeypatch.setattr(fullness, "ANSWER_S", 0.05)
    engine, gate = Engine(0.25), Gate()
    engine.is_slow, gate.running = True, 1
    full = Fullness(engine, gate)  # type: ignore[arg-type]
    assert [await asked(full, engine) for _ in range(3)] == [1, 0, 0]
    engine.is_slow = False
    await asyncio.sleep(0.06)
    full.ask()
    await turn_until(lambda: full.share == 0.25)
