"""A blocked event loop is told with the request and the place; a late one alone is no block."""

from __future__ import annotations

import asyncio
import gc
import threading
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


async def test_what_the_collector_takes_is_told_beside_the_block(watchdog, logs):
    rings = [[] for _ in range(300_000)]
    for ring in rings:
        ring.append(ring)
    compute(0.2)
    gc.collect()
    rings.clear()
    await asyncio.sleep(0.05)
    (line,) = blocks(logs)
    assert 0 < line["collecting_s"] < line["computed_s"]
    await asyncio.sleep(0.05)
    compute(0.3)
    await asyncio.sleep(0.05)
    assert blocks(logs)[-1]["collecting_s"] < 0.2  # the last one's is not told again


async def test_a_collection_on_another_thread_blocks_the_loop_too(watchdog, logs):
    def collect() -> None:
        watchdog._collects("start", {})
        compute(0.3)
        watchdog._collects("stop", {})

    thread = threading.Thread(target=collect)
    thread.start()
    thread.join()  # as the loop waits for the interpreter's lock
    await asyncio.sleep(0.05)
    (line,) = blocks(logs)
    assert line["collecting_s"] >= 0.3


def test_a_watchdog_that_ended_hears_of_no_collection():
    before = list(gc.callbacks)

    async def watch() -> None:
        watchdog = Watchdog(0.1)
        watchdog.start()
        assert gc.callbacks != before
        watchdog.stop()

    asyncio.run(watch())
    assert gc.callbacks == before


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
