"""A real llama-server as upstream, on both ways to reach it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from enginehouse_plugin import Chat, GenerationRequest, Placement, UsageReport, UserMessage
from enginehouse_upstream.backend import UpstreamBackend
from enginehouse_upstream.options import UpstreamOptions

pytestmark = pytest.mark.engine


@pytest.mark.parametrize("proxy", [None, "environment"], ids=["plain", "httpx2"])
@pytest.mark.parametrize("stream", [True, False])
async def test_a_real_server_answers_greedily_alike(llama_server: str, proxy: str | None, stream: bool) -> None:
    options = UpstreamOptions(proxy=proxy, features=("streaming", "logprobs"))
    placement = Placement(model="tiny", backend="upstream", source=llama_server, options=options)
    instance = await UpstreamBackend().load(placement, (), lambda _: None)
    try:
        assert instance.capabilities.context_tokens == 512
        prompt = Chat((UserMessage("Say something."),))
        request = GenerationRequest(
            id="r", prompt=prompt, temperature=0.0, max_tokens=4, stream=stream, logprobs=True, top_logprobs=2
        )
        answers: list[list[Any]] = [[event async for event in instance.generate(request)] for _ in range(2)]
        logprobs = [one.logprob for event in answers[0] for one in (getattr(event, "logprobs", None) or ())]
        assert len(logprobs) == 4
        assert all(value <= 0.0 for value in logprobs)
        plain = msgspec.structs.replace(request, top_logprobs=0)
        alone = [one async for event in instance.generate(plain) for one in (getattr(event, "logprobs", None) or ())]
        assert [one.top for one in alone] == [()] * 4, "log probabilities without alternatives"
        usage = answers[1][-1]
        assert isinstance(usage, UsageReport)
        assert (usage.completion_tokens, usage.cached_tokens > 0) == (4, True)
        await instance.check_ready()
        identity = await UpstreamBackend().identity(placement)
        assert identity["server"] == "llama.cpp"
        assert isinstance(identity["logprob"], float)
    finally:
        await instance.unload()
