from __future__ import annotations

import asyncio
import random
from collections import Counter
from itertools import pairwise
from pathlib import Path

import enginehouse_markov as markov
import pytest

import enginehouse_plugin as eh
from enginehouse_plugin.errors import ContextTooLong, EngineUnavailable, InvalidRequest, LoadFailed, UnsupportedFeature

TEXT = """
The cat sat on the mat.
The cat ate the fish, and the dog ate the cat's food.
The dog sat on the cat.
"""


async def loaded(tmp_path: Path, *, context_tokens: int | None = None, step_s: float = 0.0) -> eh.Instance:
    (tmp_path / "text.txt").write_text(TEXT)
    placement = eh.Placement(
        model="parrot",
        backend="markov",
        source="text.txt",
        path=str(tmp_path / "text.txt"),
        context_tokens=context_tokens,
        options=markov.Options(step_s=step_s),
    )
    return await markov.MarkovBackend().load(placement, (), lambda _: None)


def asking(text: str = "What did the", **fields: object) -> eh.GenerationRequest:
    return eh.GenerationRequest(id="r", prompt=eh.Chat((eh.UserMessage(text),)), **fields)  # type: ignore[arg-type]


async def events_of(instance: eh.Instance, request: eh.GenerationRequest) -> list[eh.AnyEvent]:
    return [event async for event in instance.generate(request)]


def text_of(events: list[eh.AnyEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, eh.TextDelta))


async def test_events_come_in_the_order_of_the_contract(tmp_path: Path) -> None:
    events = await events_of(await loaded(tmp_path), asking(seed=1))
    assert events[0] == eh.Started(prompt_tokens=3)
    assert isinstance(events[-2], eh.Finished)
    counts = [event.completion_tokens for event in events if isinstance(event, eh.TextDelta)]
    assert counts == list(range(1, len(counts) + 1))
    assert events[-1] == eh.UsageReport(prompt_tokens=3, completion_tokens=len(counts))


async def test_only_words_that_followed_each_other_follow_each_other(tmp_path: Path) -> None:
    events = await events_of(await loaded(tmp_path), asking("the", seed=3, temperature=2.0))
    words = ["the", *(event.text.strip() for event in events if isinstance(event, eh.TextDelta))]
    learnt = [word.strip() for word in markov.WORD.findall(TEXT)]
    assert set(pairwise(words)) <= set(pairwise(learnt))


async def test_a_seed_fixes_the_answer_and_seeds_differ(tmp_path: Path) -> None:
    instance = await loaded(tmp_path)
    answers = [text_of(await events_of(instance, asking(seed=seed, temperature=1.5))) for seed in range(10)]
    again = [text_of(await events_of(instance, asking(seed=seed, temperature=1.5))) for seed in range(10)]
    assert answers == again
    assert len(set(answers)) > 1


async def test_temperature_zero_takes_the_likeliest_word(tmp_path: Path) -> None:
    """`the` is followed by `cat` oftener than by any other word; the seed does not matter."""
    instance = await loaded(tmp_path)
    for seed in range(5):
        assert text_of(await events_of(instance, asking("the", temperature=0.0, seed=seed, max_tokens=1))) == "cat"


def test_top_p_keeps_the_likeliest_until_they_reach_it() -> None:
    followers = Counter(a=5, b=3, c=2)

    def drawn(top_p: float) -> set[str]:
        dice = random.Random(0)
        return {markov.draw(followers, asking(top_p=top_p), dice) for _ in range(200)}

    assert drawn(0.0) == drawn(0.5) == {"a"}
    assert drawn(0.51) == drawn(0.8) == {"a", "b"}
    assert drawn(1.0) == {"a", "b", "c"}


async def test_max_tokens_cuts_and_the_reason_says_so(tmp_path: Path) -> None:
    instance = await loaded(tmp_path)
    events = await events_of(instance, asking(max_tokens=2, temperature=0.0))
    assert events[-2:] == [
        eh.Finished(choice=0, reason="length"),
        eh.UsageReport(prompt_tokens=3, completion_tokens=2),
    ]


async def test_the_end_of_a_line_stops(tmp_path: Path) -> None:
    events = await events_of(await loaded(tmp_path), asking("on the mat", temperature=0.0))
    assert text_of(events) == "."
    assert events[-2] == eh.Finished(choice=0, reason="stop")


@pytest.mark.parametrize("text", ["Tell me of zebras.", "mat.", "zebras", ""])
async def test_words_that_lead_nowhere_are_passed_over(tmp_path: Path, text: str) -> None:
    """The last word that something follows begins the answer; without one it is the beginning of a line."""
    instance = await loaded(tmp_path)
    assert text_of(await events_of(instance, asking(text, seed=1))) != ""
    begun = text_of(await events_of(instance, asking(text, temperature=0.0, max_tokens=1)))
    assert begun == ("." if text == "mat." else "The")


async def test_a_prompt_that_leaves_no_room_is_refused_with_both_numbers(tmp_path: Path) -> None:
    instance = await loaded(tmp_path, context_tokens=3)
    with pytest.raises(ContextTooLong) as caught:
        await events_of(instance, asking(max_tokens=2))
    assert (caught.value.prompt_tokens, caught.value.limit_tokens) == (3, 3)


@pytest.mark.parametrize("max_tokens", [None, 2, 32_000])
async def test_the_rest_of_the_context_is_the_limit(tmp_path: Path, max_tokens: int | None) -> None:
    events = await events_of(await loaded(tmp_path, context_tokens=4), asking(seed=1, max_tokens=max_tokens))
    assert len(text_of(events).split()) == 1
    assert events[-2] == eh.Finished(choice=0, reason="length")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"n": 2}, "n"),
        ({"stop": ("x",)}, "stop"),
        ({"logprobs": True}, "logprobs"),
        ({"output": eh.JsonObject()}, "response_format"),
        ({"tools": (eh.Tool("f"),), "tool_choice": "auto"}, "tools"),
        ({"presence_penalty": 0.5}, "presence_penalty"),
    ],
)
async def test_what_is_not_declared_is_refused(tmp_path: Path, fields: dict[str, object], param: str) -> None:
    with pytest.raises(UnsupportedFeature) as caught:
        await events_of(await loaded(tmp_path), asking(**fields))
    assert caught.value.param == param


async def test_a_prompt_that_is_no_chat_is_refused(tmp_path: Path) -> None:
    request = eh.GenerationRequest(id="r", prompt=eh.Text("the"))
    with pytest.raises(InvalidRequest):
        await events_of(await loaded(tmp_path), request)


async def test_tokens_are_counted_as_usage_counts_them(tmp_path: Path) -> None:
    instance = await loaded(tmp_path)
    messages = (eh.SystemMessage("Be brief."), eh.UserMessage((eh.TextPart("the "), eh.TextPart("cat's"))))
    request = eh.GenerationRequest(id="r", prompt=eh.Chat(messages))
    assert await instance.count_tokens(request) == len(["Be", "brief", ".", "the", "cat", "'", "s"])
    assert (await events_of(instance, request))[0] == eh.Started(prompt_tokens=7)


async def test_cancelling_ends_the_generation_while_it_waits(tmp_path: Path) -> None:
    instance = await loaded(tmp_path, step_s=3600.0)
    stream = instance.generate(asking(seed=1))
    assert isinstance(await anext(stream), eh.Started)
    waiting = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await stream.aclose()
    with pytest.raises(StopAsyncIteration):
        await anext(stream)


async def test_unloading_ends_the_instance_and_says_so(tmp_path: Path) -> None:
    instance = await loaded(tmp_path)
    await instance.check_ready()
    await instance.unload()
    await instance.unload()
    assert (await instance.wait_closed()).is_expected
    with pytest.raises(EngineUnavailable):
        await events_of(instance, asking())


@pytest.mark.parametrize("content", [b"", b" \n ", b"\xff\xfe\xff", None])
async def test_a_source_without_words_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "source"
    path.mkdir() if content is None else path.write_bytes(content)
    placement = eh.Placement(model="m", backend="markov", source="source", path=str(path), options=markov.Options())
    with pytest.raises(LoadFailed) as caught:
        await markov.MarkovBackend().load(placement, (), lambda _: None)
    assert not caught.value.retryable


async def test_the_engine_is_always_there() -> None:
    assert (await markov.MarkovBackend().probe()).available
