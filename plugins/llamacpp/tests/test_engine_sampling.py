"""Sampling on the real engine: each value means what the API means."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

import pytest
from tests.asking import ask, request

from enginehouse_llamacpp.instance import LlamaCppInstance
from enginehouse_plugin import JsonSchema, Tokens
from enginehouse_plugin.errors import InvalidRequest, UnsupportedFeature

pytestmark = [pytest.mark.engine, pytest.mark.asyncio(loop_scope="session")]

LIST = "List many fruits and colours."
NO_END = {0: -100.0, 2: -100.0}


async def ids_of(model: LlamaCppInstance, text: str) -> list[int]:
    return list(await model.tokenize(text))


async def test_temperature_zero_takes_the_likeliest_token_each_time(model: LlamaCppInstance) -> None:
    answer = await ask(model, logprobs=True, top_logprobs=1, top_p=0.3, min_p=0.1)
    assert all(token.token_id == token.top[0].token_id for token in answer.logprobs)


async def test_silent_samplers_of_the_engine_do_not_cut_the_tail(model: LlamaCppInstance) -> None:
    """The engine's own defaults (top_k 40, min_p 0.05) would never take an unlikely token."""
    unlikely = 0
    for seed in range(4):
        answer = await ask(model, LIST, temperature=2.0, seed=seed, max_tokens=16, logprobs=True, top_logprobs=20)
        unlikely += sum(token.logprob < token.top[-1].logprob - 3 for token in answer.logprobs)
    assert unlikely > 8


@pytest.mark.parametrize("cut", [{"top_k": 1}, {"top_p": 0.0}, {"min_p": 1.0}])
async def test_cuts_to_one_token_are_greedy_at_any_temperature(model: LlamaCppInstance, cut: dict[str, Any]) -> None:
    answer = await ask(model, temperature=2.0, logprobs=True, top_logprobs=1, **cut)
    assert all(token.token_id == token.top[0].token_id for token in answer.logprobs)


async def test_top_p_cuts_what_temperature_has_flattened(model: LlamaCppInstance) -> None:
    """Temperature comes first: at 2.0 the nucleus of 0.5 holds more than the first token, at 0.1 only that."""
    cold = {(await ask(model, LIST, temperature=0.1, top_p=0.5, seed=seed, max_tokens=1)).text for seed in range(8)}
    hot = {(await ask(model, LIST, temperature=2.0, top_p=0.5, seed=seed, max_tokens=1)).text for seed in range(8)}
    assert len(cold) == 1
    assert len(hot) > 2


async def test_frequency_and_presence_do_not_count_the_prompt(model: LlamaCppInstance) -> None:
    """A word that fills the prompt is as likely to begin the answer as without penalties."""
    plain = await ask(model, "Repeat: Paris Paris Paris Paris Paris", max_tokens=1, logit_bias={})
    (first,) = [plain.text]
    for penalty in ({"frequency_penalty": 2.0}, {"presence_penalty": 2.0}):
        assert (await ask(model, "Repeat: Paris Paris Paris Paris Paris", max_tokens=1, **penalty)).text == first


@pytest.mark.parametrize("bias", [6.0, 14.0])
async def test_penalties_fall_on_each_token_of_the_output(model: LlamaCppInstance, bias: float) -> None:
    """Whether or not the prompt has the token: a bias makes it win until its penalties outweigh the bias."""
    (token,) = await ids_of(model, " blue")
    for prompt in ("Say something.", "Say something blue blue blue blue."):
        plain = await ask(model, prompt, logit_bias={token: 60.0}, max_tokens=20)
        assert plain.text == " blue" * 20
        frequency = await ask(model, prompt, logit_bias={token: 60.0}, max_tokens=40, frequency_penalty=2.0)
        assert " blue" * 10 in frequency.text
        assert frequency.text != " blue" * 40


async def test_presence_penalty_falls_on_a_token_of_the_prompt_once_it_is_in_the_output(
    model: LlamaCppInstance,
) -> None:
    """The second time, not the first; the engine itself would count the prompt and never change its mind."""
    prompt = "Say: the the the the the"
    (token,) = await ids_of(model, " the")
    look = await ask(model, prompt, max_tokens=1, logprobs=True, top_logprobs=1, logit_bias={token: 100.0})
    gap_first = look.logprobs[0].top[0].logprob - look.logprobs[0].logprob
    look = await ask(model, prompt, max_tokens=2, logprobs=True, top_logprobs=1, logit_bias={token: 100.0})
    gap_second = look.logprobs[1].top[0].logprob - look.logprobs[1].logprob
    bias = max(gap_first, gap_second) + 1.0
    without = await ask(model, prompt, max_tokens=2, logit_bias={token: bias})
    assert without.text == " the the"
    penalised = await ask(model, prompt, max_tokens=2, logit_bias={token: gap_second + 1.0}, presence_penalty=2.0)
    assert not penalised.text.endswith(" the the")


async def test_a_presence_penalty_of_next_to_nothing_changes_nothing(model: LlamaCppInstance) -> None:
    """It is run in many pieces, and the pieces make the same text, counts and end."""
    plain = await ask(model, LIST, max_tokens=60, logprobs=True, top_logprobs=2)
    pieces = await ask(model, LIST, max_tokens=60, presence_penalty=1e-5, logprobs=True, top_logprobs=2)
    pairs = zip(plain.logprobs, pieces.logprobs, strict=False)
    parted = next((one for one, other in pairs if one.token_id != other.token_id), None)
    if parted is None:
        assert pieces.text == plain.text
        assert len(pieces.logprobs) == len(plain.logprobs)
        assert pieces.reason == plain.reason
    else:  # a near tie: quantised logits differ in their last bits between a prompt read at once and one read in steps
        assert parted.top[0].logprob - parted.top[1].logprob < 0.2
    assert pieces.usage is not None
    assert pieces.usage.completion_tokens == len(pieces.logprobs)
    assert pieces.choices[0].counts == sorted(pieces.choices[0].counts)


async def test_presence_penalty_keeps_a_schema_and_its_stop(model: LlamaCppInstance) -> None:
    value = {"city": "Paris Paris", "capital of": "France"}
    output = JsonSchema(name="x", schema={"const": value})
    answer = await ask(model, "city capital of Paris France", output=output, presence_penalty=1.0, n=2, max_tokens=40)
    assert all(json.loads(choice.text) == value for choice in answer.choices)
    cut = await ask(
        model, "city capital of Paris", output=output, presence_penalty=1.0, stop=("capital",), max_tokens=40
    )
    assert re.fullmatch(r'\{"city": ?"Paris Paris", ?"', cut.text)
    assert cut.choices[0].matched_stop == "capital"


async def test_repetition_penalty_counts_prompt_and_output(model: LlamaCppInstance) -> None:
    (token,) = await ids_of(model, " blue")
    answers = [
        await ask(model, "Say blue blue blue.", logit_bias={token: 40.0}, max_tokens=20, repetition_penalty=penalty)
        for penalty in (1.0, 10.0)
    ]
    assert answers[0].text == " blue" * 20
    assert answers[1].text.count(" blue") < 20


async def test_penalties_that_the_engine_would_mix_are_refused(model: LlamaCppInstance) -> None:
    with pytest.raises(InvalidRequest) as refused:
        await ask(model, repetition_penalty=1.1, presence_penalty=0.5)
    assert refused.value.param == "repetition_penalty"


async def test_a_bias_of_100_forces_a_token_and_minus_100_bans_it(model: LlamaCppInstance) -> None:
    (zebra,) = await ids_of(model, " musical")
    assert (await ask(model, logit_bias={zebra: 100.0}, max_tokens=3)).text == " musical" * 3
    plain = await ask(model, max_tokens=1, logprobs=True)
    banned = await ask(model, max_tokens=1, logit_bias={plain.logprobs[0].token_id: -100.0})
    assert banned.text != plain.text


@pytest.mark.parametrize("token", [-1, 49152, 2**40])
async def test_a_bias_out_of_the_vocabulary_is_refused(model: LlamaCppInstance, token: int) -> None:
    with pytest.raises(InvalidRequest) as refused:
        await ask(model, logit_bias={token: 1.0})
    assert refused.value.param == "logit_bias"
    assert "49151" in refused.value.message


@pytest.mark.parametrize("seed", [0, 7, -1, 2**63 - 1, -(2**63), 2**32 - 1])
async def test_a_seed_repeats_its_answer(model: LlamaCppInstance, seed: int) -> None:
    """Also -1 and 4294967295, which mean "random" to the engine, and whatever the cache holds."""
    one, _, two = [await ask(model, LIST, temperature=1.0, seed=s, max_tokens=12) for s in (seed, None, seed)]
    assert one.text == two.text


async def test_no_seed_is_random_and_seeds_differ(model: LlamaCppInstance) -> None:
    free = {(await ask(model, LIST, temperature=1.5, max_tokens=8)).text for _ in range(3)}
    seeded = {(await ask(model, LIST, temperature=1.5, max_tokens=8, seed=seed)).text for seed in range(3)}
    assert len(free) > 1
    assert len(seeded) > 1


async def test_choices_differ_under_one_seed_and_repeat(model: LlamaCppInstance) -> None:
    one, two = [await ask(model, LIST, temperature=1.0, seed=11, n=3, max_tokens=12) for _ in range(2)]
    texts = [choice.text for choice in one.choices]
    assert len(set(texts)) == 3
    assert [choice.text for choice in two.choices] == texts


async def test_usage_sums_over_choices_and_counts_the_prompt_once(model: LlamaCppInstance) -> None:
    answer = await ask(model, LIST, temperature=1.0, n=3, max_tokens=5, logit_bias=NO_END)
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 15
    assert answer.usage.prompt_tokens == await model.count_tokens(request(LIST))
    assert all(choice.counts == sorted(choice.counts) and choice.counts[-1] <= 5 for choice in answer.choices)
    assert [choice.reason for choice in answer.choices] == ["length"] * 3


async def test_more_choices_than_slots_are_made_in_turns(model: LlamaCppInstance) -> None:
    """Those that one run could make are the ones that it makes, with the same seed."""
    slots = model.capabilities.max_concurrent_requests
    few, many = [
        await ask(model, LIST, temperature=1.0, seed=11, n=n, max_tokens=5, logit_bias=NO_END)
        for n in (slots, 2 * slots + 1)
    ]
    assert [choice.text for choice in many.choices][:slots] == [choice.text for choice in few.choices]
    assert len({choice.text for choice in many.choices}) > slots
    assert [choice.reason for choice in many.choices] == ["length"] * (2 * slots + 1)
    assert many.usage is not None
    assert few.usage is not None
    assert many.usage.completion_tokens == 5 * (2 * slots + 1)
    assert many.usage.prompt_tokens == few.usage.prompt_tokens


async def test_more_choices_than_the_limit_are_refused(model: LlamaCppInstance) -> None:
    with pytest.raises(UnsupportedFeature) as refused:
        await ask(model, n=129)
    assert refused.value.param == "n"


async def test_concurrent_requests_answer_as_they_would_alone(model: LlamaCppInstance) -> None:
    prompts = ["What is the capital of France?", "What is two plus two?", LIST]
    together = await asyncio.gather(*(ask(model, prompt, max_tokens=12) for prompt in prompts))
    for prompt, answer in zip(prompts, together, strict=True):
        assert answer.text[:6] == (await ask(model, prompt, max_tokens=12)).text[:6]


async def test_a_prefix_is_computed_once_and_reported(model: LlamaCppInstance) -> None:
    prompt = "Here is a long story that both requests share. " * 4
    await ask(model, prompt + "First.", max_tokens=1)
    second = await ask(model, prompt + "Second.", max_tokens=1)
    assert second.started is not None
    assert second.usage is not None
    assert second.started.cached_tokens == second.usage.cached_tokens > 20


async def test_token_ids_are_a_prompt_of_their_own(model: LlamaCppInstance) -> None:
    ids = tuple(await ids_of(model, "The capital of France is"))
    answer = await ask(model, prompt=Tokens(ids), max_tokens=1)
    assert answer.text == " Paris"
    with pytest.raises(InvalidRequest) as refused:
        await ask(model, prompt=Tokens((*ids, 49152)))
    assert refused.value.param == f"prompt[{len(ids)}]"
