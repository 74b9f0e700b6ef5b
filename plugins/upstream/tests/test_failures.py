"""Requests to a remote server that fail, or are given up."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from enginehouse_plugin import Started
from enginehouse_plugin.errors import (
    ContextTooLong,
    EngineDied,
    EngineFailure,
    EngineOverloaded,
    EngineUnavailable,
    UnsupportedFeature,
)
from enginehouse_upstream.secure import SecureClient

from .conftest import Upstream
from .test_upstream import CHAT, ask, delta, events, total


@pytest.mark.parametrize(
    ("status", "error", "kind"),
    [
        (429, {}, EngineOverloaded),
        (503, {"code": "queue_full"}, EngineOverloaded),
        (503, {}, EngineUnavailable),
        (502, {}, EngineUnavailable),
        (500, {"message": "CUDA error"}, EngineFailure),
        (404, {}, EngineFailure),
        (400, {"code": "context_length_exceeded"}, ContextTooLong),
        (400, {"message": "This model's maximum context length is 512 tokens."}, ContextTooLong),
        (400, {"code": "unsupported_parameter", "param": "seed"}, UnsupportedFeature),
    ],
)
async def test_a_refusal_is_the_contracts_error(
    upstream: Upstream, load: Any, status: int, error: dict[str, str], kind: type[Exception]
) -> None:
    instance = await load(upstream)
    upstream.answers[CHAT] = (status, {"error": {"message": "no", **error}})
    with pytest.raises(kind):
        await events(instance, ask())


async def test_a_connection_that_closes_in_mid_answer_is_an_engine_that_died(upstream: Upstream, load: Any) -> None:
    instance = await load(upstream)
    upstream.say(delta("He"))
    upstream.answers[CHAT] = upstream.answers[CHAT][:2]
    upstream.answers[CHAT][1] = upstream.answers[CHAT][1].replace(b"data: [DONE]\n\n", b": comment...\n\n"[:14])
    with pytest.raises(EngineDied):
        await events(instance, ask())


async def test_a_cancelled_request_closes_its_connection(upstream: Upstream, load: Any) -> None:
    instance = await load(upstream)
    upstream.say(delta("He"), end=b"")
    upstream.answers[CHAT] = [*upstream.answers[CHAT][:2], None]
    generating = instance.generate(ask())
    assert await anext(generating) == Started()
    await generating.aclose()
    await asyncio.wait_for(upstream.left.wait(), 10)


async def test_a_request_whose_connection_is_cancelled_under_its_hands_ends_with_a_failure(
    upstream: Upstream, load: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def lost(*_: object, **__: object) -> None:
        answer = asyncio.get_running_loop().create_future()
        answer.cancel()
        await answer

    instance = await load(upstream)
    upstream.say(delta("He", "stop"), total(3, 1))
    with monkeypatch.context() as patched:
        patched.setattr(SecureClient, "send", lost)
        if upstream.url.startswith("https"):  # the other client has no task that could be cancelled
            with pytest.raises(EngineFailure):
                await asyncio.wait_for(events(instance, ask()), 5)
    assert len(await events(instance, ask())) == 4
