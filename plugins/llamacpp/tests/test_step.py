"""The step of a prompt: a quarter of a second on this host, or what the owner says."""

from __future__ import annotations

from typing import Any

import pytest

from enginehouse_llamacpp import step
from enginehouse_llamacpp.gguf import Gguf
from enginehouse_llamacpp.options import LlamaCppOptions

MODEL = Gguf({"general.architecture": "llama"}, 1, vocabulary_size=1000)


class Clock:
    """An engine that computes *pace* prompt tokens a second, by a clock of its own."""

    def __init__(self, pace: float, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[int] = []
        self._pace = pace
        self._now = 0.0
        monkeypatch.setattr(step.time, "perf_counter", lambda: self._now)

    async def alternatives(self, body: dict[str, Any]) -> list[Any]:
        assert not body["cache_prompt"]
        self.asked.append(len(body["prompt"]))
        self._now += len(body["prompt"]) / self._pace
        return []


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step, "_measured", {})


@pytest.mark.parametrize(
    ("pace", "expected", "asked"),
    [(10, 64, [16]), (600, 150, [16, 64]), (2000, 500, [16, 64, 256]), (50_000, 2048, [16, 64, 256, 512])],
)
async def test_it_takes_a_quarter_of_a_second_within_bounds(
    pace: float, expected: int, asked: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(pace, monkeypatch)
    options = LlamaCppOptions()
    assert step.known("/w", options) is None
    assert await step.measured("/w", options, clock, MODEL, 8192) == expected  # type: ignore[arg-type]
    assert clock.asked == asked
    assert step.known("/w", options) == expected, "an engine that is started again is not measured again"
    assert step.known("/w", LlamaCppOptions(threads=1)) is None


async def test_a_short_context_is_not_exceeded(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(50_000, monkeypatch)
    await step.measured("/w", LlamaCppOptions(), clock, MODEL, 100)  # type: ignore[arg-type]
    assert clock.asked == [16, 64, 99]


def test_the_owner_may_say_it_or_ask_for_the_same_answer_every_time() -> None:
    assert step.given(LlamaCppOptions(), on_gpu=False) is None
    assert step.given(LlamaCppOptions(batch_tokens=7), on_gpu=False) == 7
    assert step.given(LlamaCppOptions(reproducible=True), on_gpu=False) == 60
    assert step.given(LlamaCppOptions(), on_gpu=True) == 512
    with pytest.raises(ValueError, match="reproducible needs steps of at most 60 tokens"):
        LlamaCppOptions(reproducible=True, batch_tokens=61)


def test_a_second_start_is_made_only_where_it_matters() -> None:
    assert step.is_near(512, step.TRIED)
    assert step.is_near(400, step.TRIED)
    assert not step.is_near(150, step.TRIED)
    assert not step.is_near(2048, step.TRIED)
