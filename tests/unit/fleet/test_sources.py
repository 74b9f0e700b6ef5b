"""Weights are fetched off the event loop, and a cancelled load ends the fetch."""

from __future__ import annotations

import asyncio
import threading

import pytest

from enginehouse.fleet import resolve_source, sources
from enginehouse_plugin import LoadProgress
from enginehouse_plugin.errors import LoadError


async def test_a_local_file_is_its_own_path(tmp_path):
    weights = tmp_path / "m.gguf"
    weights.write_bytes(b"GGUF")
    assert await resolve_source(str(weights), lambda _: None) == str(weights)


async def test_a_server_that_has_the_weights_has_no_path_here():
    assert await resolve_source("https://127.0.0.1:1/v1", lambda _: None) is None


async def test_absent_weights_are_a_load_error(tmp_path):
    with pytest.raises(LoadError, match="nowhere"):
        await resolve_source(str(tmp_path / "nowhere.gguf"), lambda _: None)


async def test_progress_comes_to_the_event_loop_once_per_percent(monkeypatch):
    seen: list[LoadProgress] = []

    def fetch(source, *, progress):
        for done in range(1000):
            progress.advance("downloading", done, 1000)
        progress.advance("waiting", 0, None)

    monkeypatch.setattr(sources, "resolve", fetch)
    await resolve_source("demo:x", seen.append)
    assert len(seen) == 101
    assert seen[-1] == LoadProgress(stage="waiting", fraction=None)


async def test_cancelling_ends_the_fetch(monkeypatch):
    started, may_go_on, ended = threading.Event(), threading.Event(), threading.Event()

    def fetch(source, *, progress):
        started.set()
        try:
            may_go_on.wait(10)
            progress.advance("downloading", 1, 2)
        except BaseException:
            ended.set()
            raise

    monkeypatch.setattr(sources, "resolve", fetch)
    task = asyncio.create_task(resolve_source("demo:x", lambda _: None))
    await asyncio.to_thread(started.wait, 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    may_go_on.set()
    assert await asyncio.to_thread(ended.wait, 10)
