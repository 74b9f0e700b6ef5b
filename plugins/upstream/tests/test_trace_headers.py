"""The trace of a request goes on to an upstream, on both ways; what belongs to none carries none."""

from __future__ import annotations

from typing import Any

from enginehouse_plugin import Chat, GenerationRequest, UserMessage, trace_headers

from .conftest import Upstream

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
CHAT = "/v1/chat/completions"


async def test_an_upstream_is_told_of_the_trace(upstream: Upstream, load: Any) -> None:
    answer = {
        "choices": [{"index": 0, "message": {"content": "Hi"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 2, "completion_tokens": 1},
    }
    upstream.answers[CHAT] = (200, answer)
    instance = await load(upstream)
    request = GenerationRequest(id="r", prompt=Chat((UserMessage("Hi"),)))
    for headers in ((("traceparent", PARENT), ("tracestate", "other=1")), ()):
        token = trace_headers.set(headers)
        try:
            assert [event async for event in instance.generate(request)]
        finally:
            trace_headers.reset(token)
    sent = list(zip(upstream.paths, upstream.headers, strict=True))
    traced, untraced = (headers for path, headers in sent if path == CHAT)
    assert (traced["traceparent"], traced["tracestate"]) == (PARENT, "other=1")
    assert not {"traceparent", "tracestate"} & untraced.keys()
    assert not any("traceparent" in headers for path, headers in sent if path != CHAT)
