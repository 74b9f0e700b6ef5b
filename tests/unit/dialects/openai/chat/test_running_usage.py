"""The usage so far in the chunks of a stream: `stream_options.continuous_usage_stats`."""

from __future__ import annotations

from typing import Any

import pytest

from enginehouse_plugin.events import AnyEvent, Finished, ReasoningDelta, Started, TextDelta, UsageReport

from .test_encode import USAGE, streamed


@pytest.mark.parametrize("fields", [{}, {"logprobs": True}, {"obfuscation": True}])
def test_usage_so_far_is_of_the_chunks_own_choice(fields: dict[str, Any]) -> None:
    events: list[AnyEvent] = [
        Started(5),
        TextDelta(0, "a", 1),
        ReasoningDelta(1, "hm", 3),
        TextDelta(0, "b", 2),
        Finished(0, "stop"),
        Finished(1, "length"),
        UsageReport(prompt_tokens=5, completion_tokens=5),
    ]
    *chunks, last = streamed(events, n=2, usage=True, running_usage=True, **fields)
    told = [(chunk["choices"][0]["index"], chunk["usage"]["completion_tokens"]) for chunk in chunks]
    assert told == [(0, 0), (0, 1), (1, 0), (1, 3), (0, 2), (0, 2), (1, 3)]
    assert all(chunk["usage"]["total_tokens"] == 5 + made for chunk, (_, made) in zip(chunks, told, strict=True))
    assert (last["choices"], last["usage"]["completion_tokens"]) == ([], 5)


def test_usage_so_far_is_null_until_the_prompt_is_counted() -> None:
    events: list[AnyEvent] = [Started(None), TextDelta(0, "a", 1), Finished(0, "stop"), USAGE]
    *chunks, last = streamed(events, usage=True, running_usage=True)
    assert [chunk["usage"] for chunk in chunks] == [None, None, None]
    assert last["usage"]["prompt_tokens"] == USAGE.prompt_tokens
