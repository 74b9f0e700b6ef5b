"""Answers that begin and end other than by the model's own will, on every engine that has that."""

from __future__ import annotations

from typing import Any

import pytest
import pytest_asyncio
from tests.asking import Answer, collected
from tests.parity.engines import ENGINES, Loaded

from enginehouse_plugin import AssistantMessage, Chat, GenerationRequest, Inspectable, Instance, Text, UserMessage
from enginehouse_plugin.errors import UnsupportedFeature

pytestmark = [pytest.mark.engine, pytest.mark.asyncio(loop_scope="session")]

TOKENS = 12
END = 2
"""The model's `<|im_end|>`."""
ENDS = {0: -100.0, END: 100.0}
ASKED = Chat((UserMessage("Name a colour."),))


@pytest_asyncio.fixture(scope="module", loop_scope="session", params=ENGINES, ids=lambda engine: engine.backend)
async def instance(request: pytest.FixtureRequest, engines: Loaded) -> Instance:
    return await engines.instance(request.param)


async def answer(instance: Instance, prompt: Any = ASKED, **fields: Any) -> Answer:
    asked = {"max_tokens": TOKENS, "temperature": 0.0, **fields}
    return await collected(instance, GenerationRequest(id="r", prompt=prompt, **asked))


def tokens_of(asked: Answer) -> int:
    assert asked.usage is not None
    return asked.usage.completion_tokens


async def test_a_bias_ends_an_answer_at_once(instance: Instance) -> None:
    """Or what follows would show nothing."""
    ended = await answer(instance, logit_bias=ENDS)
    assert (ended.text, ended.reason) == ("", "stop")


@pytest.mark.parametrize("n", [1, 2])
async def test_an_answer_goes_on_to_its_limit_whatever_the_model_wants(instance: Instance, n: int) -> None:
    asked = await answer(instance, logit_bias=ENDS, ignore_eos=True, n=n)
    assert [choice.reason for choice in asked.choices] == ["length"] * n
    assert tokens_of(asked) == n * TOKENS


async def test_a_stop_string_ends_it_all_the_same(instance: Instance) -> None:
    whole = (await answer(instance, ignore_eos=True)).text
    stop = whole[4:8]
    asked = await answer(instance, ignore_eos=True, stop=(stop,))
    assert (asked.text, asked.reason) == (whole[: whole.index(stop)], "stop")


async def test_an_answer_has_at_least_so_many_tokens(instance: Instance) -> None:
    if "min_tokens" not in instance.capabilities.features:
        with pytest.raises(UnsupportedFeature, match="min_tokens"):
            await answer(instance, min_tokens=1)
        return
    for least in (1, 5):
        asked = await answer(instance, logit_bias=ENDS, min_tokens=least)
        assert asked.reason == "stop"
        assert least <= tokens_of(asked) <= least + 1  # the end itself may count
        assert asked.text
    cut = await answer(instance, logit_bias=ENDS, min_tokens=10 * TOKENS)
    assert (cut.reason, tokens_of(cut)) == ("length", TOKENS)


async def test_an_answer_goes_on_where_the_last_message_ends(instance: Instance) -> None:
    """The prompt is the one that the same text gives by hand, token by token."""
    assert isinstance(instance, Inspectable)
    begun = "Blue, as the sky is"
    chat = Chat((*ASKED.messages, AssistantMessage(begun)))
    by_hand = Text(f"<|im_start|>user\nName a colour.<|im_end|>\n<|im_start|>assistant\n{begun}")
    system = await instance.count_tokens(GenerationRequest(id="r", prompt=ASKED))
    request = GenerationRequest(id="r", prompt=chat, continue_final_message=True)
    assert await instance.count_tokens(request) == system + len(await instance.tokenize(begun))
    closed = await instance.count_tokens(GenerationRequest(id="r", prompt=chat))
    assert closed > await instance.count_tokens(request)
    continued = await answer(instance, chat, continue_final_message=True)
    assert continued.usage is not None
    assert continued.usage.prompt_tokens == system + len(await instance.tokenize(begun))
    with_system = await _rendered(instance, by_hand)
    assert continued.text == (await answer(instance, with_system)).text
    assert continued.text != (await answer(instance, chat)).text


async def test_what_is_continued_holds_no_control_tokens(instance: Instance) -> None:
    assert isinstance(instance, Inspectable)
    begun = "Blue<|im_end|>"
    chat = Chat((*ASKED.messages, AssistantMessage(begun)))
    counted = await instance.count_tokens(GenerationRequest(id="r", prompt=chat, continue_final_message=True))
    asked = await instance.count_tokens(GenerationRequest(id="r", prompt=ASKED))
    assert counted == asked + len(await instance.tokenize("Blue")) + len(await instance.tokenize("<|im_end|>"))


async def _rendered(instance: Instance, by_hand: Text) -> Text:
    """*by_hand* behind what the template itself says first, if it does."""
    head = "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
    plain = await instance.count_tokens(GenerationRequest(id="r", prompt=ASKED))
    turn = by_hand.text[: by_hand.text.index("Blue")]
    is_bare = await instance.count_tokens(GenerationRequest(id="r", prompt=Text(turn))) == plain
    return by_hand if is_bare else Text(head + by_hand.text)
