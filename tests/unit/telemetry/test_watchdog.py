"""A blocked event loop is told with the request and the place; a late one alone is no block."""

from __future__ import annotations

import asyncio
import time

import pytest

from enginehouse.telemetry import Watchdog
from enginehouse.telemetry.watchdog import BLOCKS, LIMIT_VARIABLE


class Exchange:
    request_id = "req-7"


def compute(seconds: float, exchange: Exchange | None = None) -> None:
    """Compute for so long, by this thread's own clock."""
    ends_at = time.thread_time() + seconds
    while time.thread_time() < ends_at:
        pass
    assert exchange is None or exchange.request_id


@pytest.fixture
async def watchdog():
    watchdog = Watchdog(0.1)
    watchdog.start()
    await asyncio.sleep(0.05)
    yield watchdog
    watchdog.stop()


def blocks(logs) -> list[dict[str, object]]:
    return [line for line in logs if line["event"] == "event loop blocked"]


async def test_a_block_is_told_with_its_request_and_place_and_counted(watchdog, logs):
    count, total_s = BLOCKS.count, BLOCKS.total_s
    compute(0.4, Exchange())
    await asyncio.sleep(0.05)
    (line,) = blocks(logs)
    assert line["id"] == "req-7"
    assert any(place.startswith("tests.unit.telemetry.test_watchdog.compute:") for place in line["where"])
    assert 0.2 < line["computed_s"] < 0.6
    assert BLOCKS.count == count + 1
    assert BLOCKS.total_s > total_s + 0.2


async def test_a_loop_that_gets_no_processor_is_not_blocked(watchdog, logs):
    time.sleep(0.3)  # noqa: ASYNC251  # that is what is tested
    await asyncio.sleep(0.05)
    assert blocks(logs) == []


async def test_a_loop_that_is_busy_with_short_work_is_not_blocked(watchdog, logs):
    for _ in range(40):
        compute(0.01)
        await asyncio.sleep(0)
    assert blocks(logs) == []


async def test_a_loop_that_waits_for_long_is_told_as_late(watchdog, logs, monkeypatch):
    monkeypatch.setattr("enginehouse.telemetry.watchdog._LATE_S", 0.2)
    time.sleep(0.4)  # noqa: ASYNC251  # that is what is tested
    await asyncio.sleep(0.05)
    assert any(line["event"] == "event loop late" and line["where"] for line in logs)


def test_the_limit_can_be_set_for_tests(monkeypatch):
    monkeypatch.setenv(LIMIT_VARIABLE, "50")
    assert Watchdog()._limit_s == 0.05
    for odd in ("none", "", "0", "-5", "nan", "inf", "1e-9", "1e300"):
        monkeypatch.setenv(LIMIT_VARIABLE, odd)
        assert Watchdog()._limit_s == 0.1, odd
