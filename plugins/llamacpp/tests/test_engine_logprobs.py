"""Logprobs on the real engine: of raw logits, of every token, in line with the text."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import pytest
from tests.asking import Answer, ask, joined

from enginehouse_llamacpp.instance import LlamaCppInstance
from enginehouse_plugin import JsonSchema

from .conftest import Load

pytestmark = [pytest.mark.engine, pytest.mark.asyncio(loop_scope="session")]

EMOJI = JsonSchema(name="x", schema={"const": "😀🎉 naïve 日本語"})


async def test_logprobs_are_of_raw_logits(model: LlamaCppInstance) -> None:
    """Bias, penalties, temperature, cuts and grammar change what is sampled, not what is told of it."""
    fields: dict[str, Any] = {"max_tokens": 1, "logprobs": True, "top_logprobs": 20, "seed": 1}  # seeds use no cache
    plain = await ask(model, **fields)
    expected = {top.token_id: top.logprob for top in plain.logprobs[0].top}
    likely = plain.logprobs[0].top[1].token_id
    changes: tuple[dict[str, Any], ...] = (
        {"logit_bias": {likely: 100.0}},
        {"temperature": 2.0},
        {"temperature": 0.3, "top_p": 0.1, "top_k": 2, "min_p": 0.5},
        {"frequency_penalty": 2.0},
        {"presence_penalty": -2.0},
        {"repetition_penalty": 1.8},
        {"output": JsonSchema(name="x", schema={"type": "boolean"})},
    )
    for change in changes:
        answer = await ask(model, **fields, **change)
        token = answer.logprobs[0]
        seen = {top.token_id: top.logprob for top in token.top}
        assert seen.keys() == expected.keys(), change
        assert all(math.isclose(seen[i], expected[i], abs_tol=0.01) for i in seen), change
        assert math.isclose(token.logprob, expected.get(token.token_id, token.logprob), abs_tol=0.01)


async def test_a_token_out_of_the_top_has_its_own_logprob(model: LlamaCppInstance) -> None:
    (token,) = await model.tokenize(" musical")
    answer = await ask(model, max_tokens=1, logit_bias={token: 100.0}, logprobs=True, top_logprobs=2)
    (sampled,) = answer.logprobs
    assert sampled.token_id == token
    assert sampled.token == " musical"
    assert sampled.logprob < sampled.top[-1].logprob


@pytest.mark.parametrize("top", [0, 1, 7, 20])
async def test_the_top_is_exact_and_sorted(model: LlamaCppInstance, top: int) -> None:
    answer = await ask(model, max_tokens=6, logprobs=True, top_logprobs=top)
    for token in answer.logprobs:
        assert len(token.top) == top
        assert [t.logprob for t in token.top] == sorted((t.logprob for t in token.top), reverse=True)
        assert sum(math.exp(t.logprob) for t in token.top) <= 1.0001


async def test_control_tokens_stand_among_the_alternatives_by_their_names(model: LlamaCppInstance) -> None:
    answer = await ask(
        model, "What is the capital of France? One word.", temperature=0.0, logprobs=True, top_logprobs=20
    )
    ends = {top.token for token in answer.logprobs for top in token.top if top.token_id in model._model.control_ids}
    assert "<|im_end|>" in ends
    assert all(top.token_bytes for token in answer.logprobs for top in token.top)


async def test_without_logprobs_none_are_given(model: LlamaCppInstance) -> None:
    assert all(delta.logprobs is None for delta in (await ask(model)).choices[0].deltas)


@pytest.mark.parametrize("fields", [{}, {"stop": ("never seen",)}, {"n": 2}, {"presence_penalty": 0.1}])
async def test_bytes_of_the_tokens_make_the_text(model: LlamaCppInstance, fields: dict[str, Any]) -> None:
    answer = await ask(model, max_tokens=10, logprobs=True, **fields)
    for choice in answer.choices:
        assert joined(choice.logprobs) == choice.text


@pytest.mark.parametrize("fields", [{}, {"stop": ("never",)}, {"presence_penalty": 0.1}, {"n": 2, "temperature": 1.0}])
async def test_each_token_of_a_split_character_is_told(model: LlamaCppInstance, fields: dict[str, Any]) -> None:
    """The engine sends nothing for a token that ends inside a character; its logprob is asked for again."""
    answer = await ask(model, "Write emoji.", output=EMOJI, max_tokens=60, logprobs=True, top_logprobs=3, **fields)
    for choice in answer.choices:
        assert choice.text == '"😀🎉 naïve 日本語"'
        assert joined(choice.logprobs) == choice.text
        assert any(len(token.token_bytes) == 1 and token.token_bytes[0] >= 0x80 for token in choice.logprobs)
        assert all(len(token.top) == 3 and token.logprob <= token.top[0].logprob for token in choice.logprobs)


async def test_a_split_character_needs_no_slot_but_the_requests_own(model: LlamaCppInstance) -> None:
    """What the engine did not tell is asked for while all slots stay taken, and is the same as in quiet."""
    asked: dict[str, Any] = {"output": JsonSchema(name="x", schema={"const": "😀日本"}), "logprobs": True}
    alone = await ask(model, "Write emoji.", **asked)
    slots = model.capabilities.max_concurrent_requests
    endless = {"max_tokens": 1500, "logit_bias": {2: -100.0, 0: -100.0}}
    others = [asyncio.create_task(ask(model, "Count.", **endless)) for _ in range(slots - 2)]
    try:
        while await model.active_requests() < len(others):
            pass
        for answer in await asyncio.gather(*(ask(model, "Write emoji.", **asked) for _ in range(2))):
            assert_alike(answer, alone)
        assert not any(other.done() for other in others)
    finally:
        for other in others:
            other.cancel()
        await asyncio.gather(*others, return_exceptions=True)


def assert_alike(answer: Answer, alone: Answer) -> None:
    assert answer.text == alone.text
    assert [token.token_id for token in answer.logprobs] == [token.token_id for token in alone.logprobs]
    for token, expected in zip(answer.logprobs, alone.logprobs, strict=True):
        assert math.isclose(token.logprob, expected.logprob, abs_tol=0.05)


async def test_deltas_hold_whole_characters(model: LlamaCppInstance) -> None:
    answer = await ask(model, "Write emoji.", output=EMOJI, max_tokens=60)
    assert answer.text == '"😀🎉 naïve 日本語"'
    assert not any("\ufffd" in delta.text for delta in answer.choices[0].deltas)


async def test_text_cut_inside_a_character_ends_before_it(model: LlamaCppInstance) -> None:
    answer = await ask(model, "Write emoji.", output=EMOJI, max_tokens=3, logprobs=True)
    assert answer.text == '"'
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 3
    assert answer.reason == "length"
    said = b"".join(token.token_bytes for token in answer.logprobs)
    assert len(answer.logprobs) == 3
    assert '"😀'.encode().startswith(said)


@pytest.mark.parametrize("text", ["😀", "Repeat this: 😀😀😀😀", "Translate into Chinese: dog"])
async def test_an_answer_of_one_token_inside_a_character_tells_that_token(model: LlamaCppInstance, text: str) -> None:
    answer = await ask(model, text, max_tokens=1, logprobs=True, top_logprobs=5, temperature=0.0)
    (token,) = answer.logprobs
    assert (answer.text, answer.reason, len(token.top)) == ("", "length", 5)
    assert token.token_bytes[0] >= 0x80
    assert (token.token_id, token.logprob) == (token.top[0].token_id, token.top[0].logprob)


async def test_a_sampled_answer_that_is_cut_inside_a_character_tells_all_of_its_tokens(model: LlamaCppInstance) -> None:
    asked: dict[str, Any] = {"temperature": 1.0, "logprobs": True, "top_logprobs": 2}
    for seed in range(6):
        answer = await ask(model, "Repeat this: 😀😀😀😀", max_tokens=3, seed=seed, **asked)
        assert answer.usage is not None
        told = answer.usage.completion_tokens - (answer.reason == "stop")
        assert len(answer.logprobs) in (told, told + 1)


async def test_a_cache_in_f32_has_an_effect(load: Load) -> None:
    """By itself flash attention would compute as with f16."""
    told: dict[str, list[float]] = {}
    for name, options in {
        "f32": {"cache_type_k": "f32", "cache_type_v": "f32"},
        "f32, attention off": {"cache_type_k": "f32", "cache_type_v": "f32", "flash_attention": "off"},
        "f16, attention on": {"flash_attention": "on"},
    }.items():
        answer = await ask(await load(**options), max_tokens=1, logprobs=True, top_logprobs=20, temperature=0.0)
        told[name] = [top.logprob for top in answer.logprobs[0].top]
    assert told["f32"] == told["f32, attention off"]
    assert told["f32"] != told["f16, attention on"]


async def test_bytes_that_are_no_character_do_not_break_the_stream(model: LlamaCppInstance) -> None:
    """A forced half character, then ASCII: the text shows U+FFFD, the tokens their own bytes."""
    half = (await model.tokenize("😀"))[0]
    found = await ask(model, max_tokens=4, temperature=2.0, seed=1, logit_bias={half: 9.0}, logprobs=True)
    assert found.usage is not None
    forced = await ask(model, max_tokens=6, logit_bias={half: 100.0}, logprobs=True)
    assert forced.usage is not None
    assert forced.usage.completion_tokens == 6


async def test_nothing_is_told_past_a_stop(model: LlamaCppInstance) -> None:
    """A token that the stop string begins in is told; those behind it are not."""
    sentence = JsonSchema(name="x", schema={"const": "The capital of France is Paris."})
    answer = await ask(model, output=sentence, stop=("tal of Fr",), logprobs=True, top_logprobs=1)
    assert answer.text == '"The capi'
    assert joined(answer.logprobs) in ('"The capi', '"The capital')


async def test_the_end_of_sequence_is_no_token_of_the_text(model: LlamaCppInstance) -> None:
    answer = await ask(model, output=JsonSchema(name="x", schema={"const": "short"}), logprobs=True)
    assert answer.reason == "stop"
    assert joined(answer.logprobs) == answer.text
    assert answer.usage is not None
    assert len(answer.logprobs) == answer.usage.completion_tokens - 1


@pytest.mark.parametrize("before", [[b"\xf0"], [b"\xf0", b"\x9f"]])
async def test_a_control_token_inside_a_broken_character_is_no_fault_of_the_engine(
    model: LlamaCppInstance, before: list[bytes]
) -> None:
    """The engine holds the character back, and then sends one text for more tokens than have any."""
    vocabulary = model._vocabulary
    await vocabulary.load()
    control = sorted(model._model.control_ids)[3]
    forced = [vocabulary._ids[piece] for piece in (*before, b"a", b"b", b"c", b"d")]
    forced.insert(len(before), control)
    body = {
        "prompt": await model.tokenize("Hello"),
        "stream": True,
        "n_predict": len(forced),
        "n_probs": 2,
        "samplers": ["penalties", "temperature"],
        "temperature": 0,
        "repeat_last_n": 64,
        "presence_penalty": 500.0,  # each token once, the most biased first
        "logit_bias": [[token_id, 4000 - 60 * at] for at, token_id in enumerate(forced)],
        "cache_prompt": False,
    }
    written: list[int] = []
    async for chunk in model._server.complete(body):
        if not chunk.stop and chunk.tokens_predicted:
            written += vocabulary.tokens_of(chunk, chunk.tokens_predicted - len(written))
    assert len(written) >= len(forced) - 1
    spoken = [token_id for token_id in forced if token_id != control]
    assert [token_id for token_id in written if token_id not in model._model.control_ids] == spoken[: len(written) - 1]
    assert sum(token_id in model._model.control_ids for token_id in written) == 1
