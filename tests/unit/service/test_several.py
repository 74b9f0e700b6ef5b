"""Several prompts of one request: one lease, one instance, and the answers side by side."""

from __future__ import annotations

import asyncio

import pytest

from enginehouse_plugin import Finished, Started, Text, TextDelta, Tokens, UsageReport
from enginehouse_plugin.errors import ContextTooLong, EngineDied, InvalidRequest

from .desk import Desk

PROMPTS = (Text("a"), Text("bb"), Tokens((1, 2, 3)))
REFUSALS = (ContextTooLong(prompt_tokens=9, limit_tokens=8), InvalidRequest("No.", param="prompt"))


async def says_its_prompt(instance, request):
    """Both choices say the prompt; it has as many tokens as characters or ids."""
    prompt = request.prompt
    said = prompt.text if isinstance(prompt, Text) else str(len(prompt.token_ids))
    size = len(said) if isinstance(prompt, Text) else len(prompt.token_ids)
    yield Started(prompt_tokens=size, cached_tokens=1)
    for choice in range(request.n):
        yield TextDelta(choice=choice, text=f"{said}{choice}", completion_tokens=2)
        yield Finished(choice=choice, reason="stop")
    yield UsageReport(prompt_tokens=size, completion_tokens=2 * request.n, cached_tokens=1)


async def test_each_prompt_has_its_choices_and_counts_are_those_of_all(house):
    house.script.answer = says_its_prompt
    desk = Desk(house)
    events = await desk.ask(prompts=PROMPTS, prompt=PROMPTS[0], n=2)
    assert [type(event) for event in events].count(Started) == 1
    texts = {event.choice: event.text for event in events if isinstance(event, TextDelta)}
    assert texts == {0: "a0", 1: "a1", 2: "bb0", 3: "bb1", 4: "30", 5: "31"}
    assert sorted(event.choice for event in events if isinstance(event, Finished)) == list(range(6))
    assert events[-1] == UsageReport(prompt_tokens=6, completion_tokens=12, cached_tokens=3)
    record = desk.finish(200)
    assert (record.prompt_tokens, record.completion_tokens) == (6, 12)
    assert sorted(request.id for request in house.script.requests) == ["r1-0", "r1-1", "r1-2"]
    assert desk.gate.running == 0


async def test_as_many_are_answered_at_a_time_as_there_are_slots(house):
    most = 0

    async def watched(instance, request):
        nonlocal most
        most = max(most, instance.active)
        await asyncio.sleep(0)
        async for event in says_its_prompt(instance, request):
            yield event

    house.script.answer = watched
    desk = Desk(house)
    await desk.ask(prompts=PROMPTS * 3, prompt=PROMPTS[0])
    assert most == 2, "the scripted model has two slots"
    assert len(house.script.requests) == 9


@pytest.mark.parametrize("refusal", REFUSALS)
@pytest.mark.parametrize("at", [0, 1, 2])
async def test_one_that_fails_ends_all_and_their_slots_come_back(house, refusal, at):
    async def fails(instance, request):
        if request.prompt == PROMPTS[at]:
            raise refusal
        yield Started(prompt_tokens=1)
        if at < 2:
            await asyncio.get_running_loop().create_future()
        yield Finished(choice=0, reason="stop")
        yield UsageReport(prompt_tokens=1, completion_tokens=0)

    house.script.answer = fails
    desk = Desk(house)
    with pytest.raises(type(refusal)):
        await desk.ask(prompts=PROMPTS, prompt=PROMPTS[0])
    assert (desk.gate.running, house.script.instances[0].active) == (0, 0)


async def test_a_client_that_leaves_ends_all(house):
    async def waits(instance, request):
        yield Started(prompt_tokens=4)
        yield TextDelta(choice=0, text="well", completion_tokens=1)
        await asyncio.get_running_loop().create_future()

    house.script.answer = waits
    desk = Desk(house)
    desk.open(prompts=PROMPTS, prompt=PROMPTS[0])
    await desk.hear(3)
    desk.lease.pause()
    desk.lease.resume()
    desk.lease.cancel()
    await desk.lease.wait_released()
    assert (desk.gate.running, house.script.instances[0].active) == (0, 0)
    assert desk.finish(499).prompt_tokens == 8, "both that had begun are charged"


async def test_before_the_first_delta_all_are_tried_once_more(house):
    async def dies_once(instance, request):
        house.script.answer = says_its_prompt
        raise EngineDied("gone")
        yield

    house.script.answer = dies_once
    desk = Desk(house)
    events = await desk.ask(prompts=PROMPTS, prompt=PROMPTS[0])
    assert events[-1].prompt_tokens == 6
