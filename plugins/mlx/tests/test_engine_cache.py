"""Prefixes that are kept, and the limit of memory."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from tests.asking import Answer, ask, request

from enginehouse_plugin import AssistantMessage, Instance, TextDelta, UserMessage
from enginehouse_plugin.errors import EngineOverloaded, InvalidRequest

Load = Callable[..., Awaitable[Instance]]
pytestmark = pytest.mark.asyncio(loop_scope="session")
LONG = "The lighthouse stands on the cliff. " * 20


def cached(answer: Answer) -> int:
    assert answer.usage is not None
    assert answer.started is not None
    assert answer.started.cached_tokens == answer.usage.cached_tokens
    return answer.usage.cached_tokens


async def test_a_prompt_that_comes_again_is_computed_but_for_its_last_token(model: Instance) -> None:
    first = await ask(model, LONG + "Once.", max_tokens=4)
    again = await ask(model, LONG + "Once.", max_tokens=4)
    assert first.usage is not None
    assert again.usage is not None
    assert again.usage.prompt_tokens == first.usage.prompt_tokens
    assert cached(again) == first.usage.prompt_tokens - 1


async def test_a_conversation_that_goes_on_keeps_what_was_read(model: Instance) -> None:
    first = await ask(model, LONG + "Twice.", max_tokens=4)
    assert first.usage is not None
    history = (UserMessage(LONG + "Twice."), AssistantMessage(content=first.text))
    more = await ask(model, "And then?", *history, max_tokens=4)
    assert cached(more) >= first.usage.prompt_tokens - 2


async def test_a_common_beginning_is_used(model: Instance) -> None:
    await ask(model, LONG + "Red.", max_tokens=2)
    assert cached(await ask(model, LONG + "Blue.", max_tokens=2)) > 100


async def test_a_kept_prefix_does_not_change_what_the_model_says(model: Instance) -> None:
    fields = {"max_tokens": 1, "logprobs": True, "top_logprobs": 5}
    fresh = await ask(model, LONG + "Same.", seed=1, **fields)
    assert cached(fresh) == 0
    kept = await ask(model, LONG + "Same.", **fields)
    assert cached(kept) > 100
    by_id = {other.token_id: other.logprob for other in kept.logprobs[0].top}
    for other in fresh.logprobs[0].top:
        assert by_id.get(other.token_id, other.logprob) == pytest.approx(other.logprob, abs=1e-3)


async def test_an_answer_that_a_stop_string_ends_is_kept_too(model: Instance) -> None:
    free = await ask(model, LONG + "Stop.", seed=1, max_tokens=6)
    await ask(model, LONG + "Stop.", seed=1, max_tokens=6, stop=(free.choices[0].deltas[2].text,))
    assert cached(await ask(model, LONG + "Stop.", max_tokens=2)) > 100


async def test_requests_with_a_seed_do_not_read_what_is_kept(model: Instance) -> None:
    await ask(model, LONG + "Seed.", max_tokens=2)
    assert cached(await ask(model, LONG + "Seed.", max_tokens=2, seed=1)) == 0


async def test_several_choices_read_a_kept_prompt(model: Instance) -> None:
    await ask(model, LONG + "Choices.", max_tokens=2)
    answer = await ask(model, LONG + "Choices.", max_tokens=3, n=3, temperature=1.0)
    assert cached(answer) > 100
    assert all(choice.reason == "length" for choice in answer.choices)


async def test_without_a_prefix_cache_nothing_is_kept_or_declared(load: Load) -> None:
    instance = await load(prefix_cache=False)
    assert "prefix_cache" not in instance.capabilities.features
    await ask(instance, LONG, max_tokens=2)
    assert cached(await ask(instance, LONG, max_tokens=2)) == 0


async def test_a_request_beyond_the_memory_limit_is_refused_and_others_go_on(load: Load) -> None:
    """12.3 MiB of weights and 0.5 KiB for a token: two sequences of 1490 tokens fit into 14 MiB, three do not."""
    instance = await load(memory_limit_mib=14)
    running = [instance.generate(request(LONG, max_tokens=1300)) for _ in range(2)]
    for events in running:
        await anext(events)
    with pytest.raises(EngineOverloaded, match="memory limit"):
        await ask(instance, LONG, max_tokens=1300)
    assert (await ask(instance, "Short.", max_tokens=2)).reason == "length"
    for events in running:
        await events.aclose()
    while await instance.active_requests():  # type: ignore[attr-defined]  # noqa: ASYNC110  # another process's state
        await asyncio.sleep(0.01)
    assert (await ask(instance, LONG, max_tokens=1300)).reason in ("length", "stop")


async def test_choices_that_wait_for_the_first_one_to_read_the_prompt_count_for_the_memory_limit(load: Load) -> None:
    instance = await load(memory_limit_mib=14, batch_tokens=1)
    pair = instance.generate(request(LONG, max_tokens=1300, n=2))
    await anext(pair)
    with pytest.raises(EngineOverloaded, match="memory limit"):
        await ask(instance, LONG, max_tokens=1300)
    await pair.aclose()


async def test_a_request_that_the_memory_limit_can_never_hold_is_told_so(load: Load) -> None:
    """Overload would have its sender try again for ever."""
    instance = await load(memory_limit_mib=14)
    with pytest.raises(InvalidRequest, match="memory limit") as refused:
        await ask(instance, LONG, max_tokens=1300, n=4)
    assert refused.value.param == "n"


async def test_more_choices_than_slots_are_made_in_turns_as_with_enough_slots(load: Load) -> None:
    few, many = await load(slots=2), await load(slots=8)
    asked = request("a", max_tokens=4, n=5, seed=3, temperature=1.0)

    async def texts(instance: Instance) -> list[str]:
        parts = [""] * 5
        kinds = []
        async for event in instance.generate(asked):
            kinds.append(type(event).__name__)
            if isinstance(event, TextDelta):
                parts[event.choice] += event.text
        assert (kinds[0], kinds[-1]) == ("Started", "UsageReport")
        assert [kinds.count(kind) for kind in ("Started", "Finished", "UsageReport")] == [1, 5, 1]
        return parts

    assert await texts(few) == await texts(many)
