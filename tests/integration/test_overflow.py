"""A queue that takes longer than a start has the next placement started, on real engines."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import httpx
import pytest

from tests.weights import tiny_gguf

from .served import Served

CONFIG = """
[server]
port = 0

[models.m]
overflow = true
context_tokens = 1024
max_queue = 256
queue_timeout_s = 300
placements = [
    {{ backend = "llamacpp", source = "{weights}", options = {{ slots = 1 }} }},
    {{ backend = "llamacpp", source = "{weights}", options = {{ slots = 4 }} }},
]
"""
CLIENTS = 12
ENOUGH = 3
MOST_TURNS = 40


async def ask(client: httpx.AsyncClient, tokens: int) -> str:
    """Have one request answered whole; returns by which instance."""
    messages = [{"role": "user", "content": "Tell me a story."}]
    body = {"model": "m", "messages": messages, "max_tokens": tokens}
    answer = await client.post("/v1/chat/completions", json=body)
    assert answer.status_code == 200, answer.text
    assert answer.json()["choices"][0]["finish_reason"] in ("stop", "length")
    return str(answer.headers["x-enginehouse-instance"])


async def crowd(url: str) -> tuple[Counter[str], list[str]]:
    """Ask with many at a time until the next placement has answered, then one by one."""
    answered: Counter[str] = Counter()
    async with httpx.AsyncClient(base_url=url, timeout=600.0, trust_env=False) as client:
        for _ in range(3):  # so that the first one's pace is known
            answered[await ask(client, 64)] += 1
        assert answered == {"m#0": 3}

        async def work() -> None:
            for _ in range(MOST_TURNS):
                if answered["m#spare"] >= ENOUGH:
                    return
                answered[await ask(client, 400)] += 1

        await asyncio.gather(*(work() for _ in range(CLIENTS)))
        return answered, [await ask(client, 4) for _ in range(3)]


@pytest.mark.engine
def test_a_queue_has_the_next_placement_started_and_what_finds_a_slot_goes_to_the_first(tmp_path: Path) -> None:
    served = Served(CONFIG.format(weights=tiny_gguf()), tmp_path)
    try:
        served.wait_ready()
        served.wait_for_log("instance ready")  # written after the state that /ready tells
        states = {line["instance"]: line["reason"] for line in served.log if line["event"] == "instance ready"}
        assert list(states) == ["m#0"], "the next one loads when it is needed"
        answered, alone = asyncio.run(crowd(served.url))
    finally:
        served.close()
    started = next(line for line in served.log if line["event"] == "instance ready" and line["instance"] == "m#spare")
    assert str(started["reason"]).startswith("loaded in")
    assert answered["m#spare"] >= ENOUGH
    assert answered["m#0"] > 3
    assert alone == ["m#0"] * 3
