"""Seeds, bias, penalties, logprobs and the cuts, on the loaded model."""

from __future__ import annotations

import asyncio

import pytest
from tests.asking import ask, joined

from enginehouse_plugin import Instance
from enginehouse_plugin.errors import InvalidRequest

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_seed_gives_the_same_answer_alone_and_beside_others(model: Instance) -> None:
    alone = await ask(model, "Seeds.", seed=11, temperature=1.3)
    others = [ask(model, f"Noise {n}.", temperature=1.0, max_tokens=40) for n in range(3)]
    beside, *_ = await asyncio.gather(ask(model, "Seeds.", seed=11, temperature=1.3), *others)
    assert beside.text == alone.text
    assert (await ask(model, "Seeds.", seed=12, temperature=1.3)).text != alone.text


@pytest.mark.parametrize("seed", [-(2**63), -1, 0, 2**32, 2**63 - 1])
async def test_any_seed_of_64_bits_is_its_own(model: Instance, seed: int) -> None:
    first, second = [await ask(model, "Seeds.", seed=seed, temperature=1.3, max_tokens=8) for _ in range(2)]
    assert first.text == second.text
    assert (await ask(model, "Seeds.", seed=seed ^ 2**40, temperature=1.3, max_tokens=8)).text != first.text


async def test_choices_of_a_seed_differ_and_come_again(model: Instance) -> None:
    first, second = [await ask(model, "Seeds.", seed=4, n=3, temperature=1.0, max_tokens=8) for _ in range(2)]
    assert [choice.text for choice in first.choices] == [choice.text for choice in second.choices]
    assert len({choice.text for choice in first.choices}) == 3


async def test_without_a_seed_answers_differ(model: Instance) -> None:
    assert len({(await ask(model, "Seeds.", temperature=1.0, max_tokens=8)).text for _ in range(3)}) == 3


@pytest.mark.parametrize("token_id", [-1, 49152, 99_999_999])
async def test_a_bias_on_a_token_that_does_not_exist_is_refused(model: Instance, token_id: int) -> None:
    with pytest.raises(InvalidRequest) as refused:
        await ask(model, logit_bias={token_id: 1.0})
    assert refused.value.param == "logit_bias"


async def test_a_bias_forces_or_bans(model: Instance) -> None:
    (token_id,) = await model.tokenize(" sea")  # type: ignore[attr-defined]  # it is Inspectable
    assert (await ask(model, logit_bias={token_id: 100.0}, max_tokens=3)).text == " sea sea sea"
    free = await ask(model, "Ban.", seed=1, max_tokens=1, logprobs=True)
    banned = await ask(model, "Ban.", seed=1, max_tokens=1, logprobs=True, logit_bias={free.logprobs[0].token_id: -100})
    assert banned.logprobs[0].token_id != free.logprobs[0].token_id


async def test_frequency_penalties_count_the_output_and_not_the_prompt(model: Instance) -> None:
    """With two tokens to choose from, one of which fills the prompt, a penalty makes them take turns."""
    sea, sky = [(await model.tokenize(word))[0] for word in (" sea", " sky")]  # type: ignore[attr-defined]
    two = {sea: 90.0, sky: 90.0 - 1e-3}
    answer = await ask(model, "sea" + " sea" * 50, logit_bias=two, max_tokens=8, frequency_penalty=2.0, logprobs=True)
    ids = [token.token_id for token in answer.logprobs]
    assert sorted(ids) == sorted([sea, sky] * 4)
    plain = await ask(model, "sea" + " sea" * 50, logit_bias=two, max_tokens=1, logprobs=True)
    assert ids[0] == plain.logprobs[0].token_id


async def test_a_penalty_on_repetition_counts_the_prompt_too(model: Instance) -> None:
    (sea,) = await model.tokenize(" sea")  # type: ignore[attr-defined]  # it is Inspectable
    fields = {"logit_bias": {sea: 5.0}, "max_tokens": 1, "seed": 1, "logprobs": True}
    assert (await ask(model, "The sea", **fields)).logprobs[0].token_id == sea
    assert (await ask(model, "The sea", repetition_penalty=100.0, **fields)).logprobs[0].token_id != sea
    assert (await ask(model, "The sky", repetition_penalty=100.0, **fields)).logprobs[0].token_id == sea


@pytest.mark.parametrize("penalty", [0.0, -1.0])
async def test_a_penalty_that_divides_by_nothing_is_refused(model: Instance, penalty: float) -> None:
    with pytest.raises(InvalidRequest) as refused:
        await ask(model, repetition_penalty=penalty)
    assert refused.value.param == "repetition_penalty"


@pytest.mark.parametrize("fields", [{"top_k": 1}, {"min_p": 1.0}, {"top_p": 0.0}, {"top_p": 1e-7}])
async def test_a_cut_to_one_token_is_greedy(model: Instance, fields: dict[str, float]) -> None:
    answer = await ask(model, "Cut.", temperature=2.0, seed=9, max_tokens=8, logprobs=True, top_logprobs=1, **fields)
    for token in answer.logprobs:
        assert token.logprob == pytest.approx(token.top[0].logprob, abs=1e-4)


# ---- logprobs ----


async def test_logprobs_describe_the_text_and_are_sorted(model: Instance) -> None:
    answer = await ask(model, "Measure.", temperature=1.0, seed=2, logprobs=True, top_logprobs=5, max_tokens=20)
    assert joined(answer.logprobs).rstrip("\ufffd") == answer.text.rstrip("\ufffd") or "\ufffd" in answer.text
    for token in answer.logprobs:
        values = [other.logprob for other in token.top]
        assert len(values) == 5
        assert values == sorted(values, reverse=True)
        assert len({other.token_id for other in token.top}) == 5
        assert token.logprob <= values[0] + 1e-6


async def test_a_greedy_token_is_the_first_alternative(model: Instance) -> None:
    answer = await ask(model, "Measure.", logprobs=True, top_logprobs=2)
    for token in answer.logprobs:
        assert (token.top[0].token_id, token.top[0].logprob) == (token.token_id, token.logprob)


async def test_logprobs_are_of_raw_logits(model: Instance) -> None:
    plain = await ask(model, "Raw.", seed=1, max_tokens=1, logprobs=True, top_logprobs=3)
    (sea,) = await model.tokenize(" sea")  # type: ignore[attr-defined]  # it is Inspectable
    changed = {"logit_bias": {sea: 50.0}, "temperature": 2.0, "top_k": 5, "frequency_penalty": 1.0}
    bent = await ask(model, "Raw.", seed=1, max_tokens=1, logprobs=True, top_logprobs=3, **changed)
    assert [o.token_id for o in bent.logprobs[0].top] == [o.token_id for o in plain.logprobs[0].top]
    for one, other in zip(bent.logprobs[0].top, plain.logprobs[0].top, strict=True):
        assert one.logprob == pytest.approx(other.logprob, abs=1e-4)


async def test_each_choice_has_the_logprobs_of_its_own_text(model: Instance) -> None:
    answer = await ask(model, "Each.", n=3, seed=6, temperature=1.0, logprobs=True, max_tokens=6)
    for choice in answer.choices:
        if "\ufffd" not in choice.text:
            assert joined(choice.logprobs) == choice.text


async def test_logprobs_end_where_a_stop_string_begins(model: Instance) -> None:
    free = await ask(model, "End.", seed=1, max_tokens=10)
    stop = free.choices[0].deltas[5].text
    answer = await ask(model, "End.", seed=1, max_tokens=10, logprobs=True, stop=(stop,))
    assert joined(answer.logprobs) == answer.text == free.text.split(stop)[0]
