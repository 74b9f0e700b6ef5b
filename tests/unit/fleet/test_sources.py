"""Weights are fetched off the event loop, and a cancelled load ends the fetch."""

from __future__ import annotations

import asyncio
import threading

import msgspec
import pytest

from enginehouse.fleet import NotFetched, fetch_in_thread, fetch_weights, find_weights, sources
from enginehouse.weights import Progress
from enginehouse_plugin import BackendType, LoadProgress
from enginehouse_plugin.errors import SourceNotFound


class Options(msgspec.Struct, frozen=True):
    """None."""


LOADS = BackendType(name="loads", version="1", create=lambda: None, options=Options)
ASKS = msgspec.structs.replace(LOADS, name="asks", needs_weights=False)


async def all_ways(backend: BackendType, source: str) -> set[str | None]:
    """What is said of the weights, however they are asked for."""
    return {
        find_weights(backend, source),
        fetch_weights(backend, source, Progress()),
        await fetch_in_thread(backend, source, lambda _: None),
    }


async def test_a_local_file_is_its_own_path(tmp_path):
    weights = tmp_path / "m.gguf"
    weights.write_bytes(b"GGUF")
    assert await all_ways(LOADS, str(weights)) == {str(weights)}


@pytest.mark.parametrize(("backend", "source"), [(LOADS, "https://127.0.0.1:1/v1"), (ASKS, "whatever it calls them")])
async def test_a_server_or_backend_that_has_the_weights_needs_none_here(backend, source):
    assert await all_ways(backend, source) == {None}


async def test_absent_weights_of_this_machine_are_a_load_error(tmp_path):
    source = str(tmp_path / "nowhere.gguf")
    with pytest.raises(SourceNotFound, match="nowhere"):
        find_weights(LOADS, source)
    with pytest.raises(SourceNotFound, match="nowhere"):
        fetch_weights(LOADS, source, Progress())
    with pytest.raises(SourceNotFound, match="nowhere"):
        await fetch_in_thread(LOADS, source, lambda _: None)


def test_looking_for_weights_that_could_be_fetched_fetches_nothing(monkeypatch, tmp_path):
    monkeypatch.setenv("ENGINEHOUSE_CACHE", str(tmp_path))
    with pytest.raises(NotFetched):
        find_weights(LOADS, "demo:smollm2-135m")
    assert list(tmp_path.iterdir()) == []


async def test_progress_comes_to_the_event_loop_once_per_percent(monkeypatch):
    seen: list[LoadProgress] = []

    def fetch(source, *, progress, **_):
        for done in range(1000):
            progress.advance("downloading", done, 1000)
        progress.advance("waiting", 0, None)

    monkeypatch.setattr(sources, "resolve", fetch)
    await fetch_in_thread(LOADS, "demo:x", seen.append)
    assert len(seen) == 101
    assert seen[-1] == LoadProgress(stage="waiting", fraction=None)


async def test_cancelling_ends_the_fetch(monkeypatch):
    started, may_go_on, ended = threading.Event(), threading.Event(), threading.Event()

    def fetch(source, *, progress, **_):
        started.set()
        try:
            may_go_on.wait(10)
            progress.advance("downloading", 1, 2)
        except BaseException:
            ended.set()
            raise

    monkeypatch.setattr(sources, "resolve", fetch)
    task = asyncio.create_task(fetch_in_thread(LOADS, "demo:x", lambda _: None))
    await asyncio.to_thread(started.wait, 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    may_go_on.set()
    assert await asyncio.to_thread(ended.wait, 10)
