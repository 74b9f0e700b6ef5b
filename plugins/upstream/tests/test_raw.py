"""Prompts that are no conversations, at another Enginehouse; of other servers they are refused."""

from __future__ import annotations

from typing import Any

import pytest

from enginehouse_plugin import Finished, GenerationRequest, Started, Text, TextDelta, Tokens, UsageReport
from enginehouse_plugin.errors import EngineProtocolError, InvalidRequest
from enginehouse_plugin.events import TokenLogprob, TopLogprob

from .conftest import CARD, Upstream

HERE = {**CARD, "declared_features": ["streaming", "logprobs"], "features": ["streaming", "logprobs"]}
COUNTS = {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}}


def asking(prompt: Text | Tokens, **fields: Any) -> GenerationRequest:
    return GenerationRequest(id="r", prompt=prompt, **{"stream": True, "max_tokens": 16, **fields})


def part(text: str, finish: str | None = None, logprobs: Any = None) -> dict[str, Any]:
    return {"choices": [{"text": text, "index": 0, "finish_reason": finish, "logprobs": logprobs}]}


@pytest.mark.parametrize(("prompt", "sent"), [(Text("Once"), "Once"), (Tokens((1, 2)), [1, 2])])
async def test_a_stream_is_read_and_the_limit_goes_with_it(upstream: Upstream, load: Any, prompt: Any, sent: Any):
    upstream.cards = [HERE]
    upstream.say(part(" upon"), part(" a"), part("", "length"), COUNTS, path="/v1/completions")
    instance = await load(upstream)
    found = [event async for event in instance.generate(asking(prompt, max_tokens=600))]
    assert found == [
        Started(), TextDelta(0, " upon", 1), TextDelta(0, " a", 2), Finished(0, "length"), UsageReport(3, 2),
    ]  # fmt: skip
    body = upstream.bodies[-1]
    assert (body["prompt"], body["max_tokens"], "messages" in body) == (sent, 600, False)


async def test_log_probabilities_are_those_of_the_tokens(upstream: Upstream, load: Any) -> None:
    upstream.cards = [HERE]
    told = {"tokens": [" a"], "token_logprobs": [-0.5], "top_logprobs": [{" a": -0.5, " b": -1.0}], "text_offset": [0]}
    upstream.say(part(" a", None, told), part("", "stop"), COUNTS, path="/v1/completions")
    instance = await load(upstream)
    wanted = asking(Text("x"), logprobs=True, top_logprobs=2)
    (delta,) = [event async for event in instance.generate(wanted) if isinstance(event, TextDelta)]
    top = (TopLogprob(" a", -1, b" a", -0.5), TopLogprob(" b", -1, b" b", -1.0))
    assert delta.logprobs == (TokenLogprob(" a", -1, b" a", -0.5, top, "content"),)
    assert upstream.bodies[-1]["logprobs"] == 2
    told["token_logprobs"] = []
    upstream.say(part(" a", None, told), path="/v1/completions")
    with pytest.raises(EngineProtocolError, match="not as many"):
        [event async for event in instance.generate(wanted)]


async def test_the_stop_string_that_matched_is_told(upstream: Upstream, load: Any) -> None:
    upstream.cards = [{**HERE, "features": ["streaming", "stop"]}]
    last = {"text": "", "index": 0, "finish_reason": "stop", "stop_reason": "zz"}
    upstream.say(part(" a"), {"choices": [last]}, COUNTS, path="/v1/completions")
    instance = await load(upstream)
    *_, finished, _ = [event async for event in instance.generate(asking(Text("x"), stop=("zz",)))]
    assert finished == Finished(0, "stop", "zz")


async def test_a_suffix_goes_with_it(upstream: Upstream, load: Any) -> None:
    features = ["streaming", "suffix"]
    upstream.cards = [{**CARD, "declared_features": features, "features": features}]
    upstream.say(part(" a", "length"), COUNTS, path="/v1/completions")
    instance = await load(upstream)
    assert [event async for event in instance.generate(asking(Text("x"), suffix=" end"))]
    assert upstream.bodies[-1]["suffix"] == " end"


async def test_other_servers_are_not_asked(upstream: Upstream, load: Any) -> None:
    instance = await load(upstream, context_tokens=512)
    with pytest.raises(InvalidRequest, match="conversations only"):
        [event async for event in instance.generate(asking(Text("x")))]
    assert upstream.paths == ["/v1/models"]
