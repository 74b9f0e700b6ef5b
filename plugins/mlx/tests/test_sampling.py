"""The choice of one token, on logits given by hand."""

from __future__ import annotations

from collections import Counter
from typing import Any

import mlx.core as mx
import pytest

from enginehouse_mlx.engine.sampling import RowSampling, shared_sampler
from enginehouse_plugin import GenerationRequest, Text


@pytest.fixture(autouse=True)
def on_a_processor() -> None:
    mx.set_default_device(mx.cpu)


def row(choice: int = 0, prompt: tuple[int, ...] = (0,), size: int = 4, **fields: Any) -> RowSampling:
    request = GenerationRequest(id="r", prompt=Text(""), **fields)
    return RowSampling(request, choice, prompt, size, [size - 1], None)


def processed(sampling: RowSampling, steps: list[int], logits: list[float]) -> list[float]:
    """The logits after *steps* have been sampled one after another, behind a prompt of one token."""
    tokens = [0]
    (process,) = sampling.processors
    result = process(mx.array(tokens), mx.array([logits]))
    for step in steps:
        tokens.append(step)
        result = process(mx.array(tokens), mx.array([logits]))
    values: Any = result[0].tolist()
    return values


def sampled(temperature: float, min_p: float, top_k: int, top_p: float, shares: list[float]) -> set[int]:
    """All tokens that come up where the likelihoods are *shares*."""
    sample = shared_sampler(temperature, min_p, top_k, top_p)
    logprobs = mx.log(mx.array([shares] * 500))
    found: Any = sample(logprobs).tolist()
    return set(Counter(found))


def test_a_row_that_needs_nothing_has_no_processor_and_shares_its_sampler() -> None:
    one, other = row(temperature=0.7), row(choice=1, temperature=0.7)
    assert one.processors == ()
    assert one.sampler is other.sampler
    assert one.sampler is not row(temperature=0.8).sampler


@pytest.mark.parametrize(
    ("min_p", "top_k", "top_p", "kept"),
    [
        (0.0, 0, 1.0, {0, 1, 2, 3}),
        (0.0, 2, 1.0, {0, 1}),
        (0.0, 99, 1.0, {0, 1, 2, 3}),
        (0.5, 0, 1.0, {0, 1}),
        (1.0, 0, 1.0, {0}),
        (0.0, 0, 0.3, {0}),
        (0.0, 0, 0.41, {0, 1}),
        (0.0, 0, 0.0, {0}),
        # top_p is of what the other cuts have left: 0.4 of 0.7 is more than a half
        (0.0, 2, 0.5, {0}),
        (0.0, 0, 0.5, {0, 1}),
        (0.5, 0, 0.5, {0}),
    ],
)
def test_cuts_come_one_after_another(min_p: float, top_k: int, top_p: float, kept: set[int]) -> None:
    assert sampled(1.0, min_p, top_k, top_p, [0.4, 0.3, 0.18, 0.12]) == kept


def test_tokens_come_up_as_often_as_they_are_likely() -> None:
    mx.random.seed(1)
    shares = [0.0, 0.55, 0.3, 0.0, 0.1, 0.05, 0.0]
    draws = 40_000
    for temperature, weights in ((1.0, shares), (0.5, [share**2 for share in shares])):
        logprobs = mx.log(mx.array([shares] * draws))
        tokens: Any = shared_sampler(temperature, 0.0, 0, 1.0)(logprobs).tolist()
        counts = Counter(tokens)
        for token, weight in enumerate(weights):
            share = weight / sum(weights)
            assert abs(counts[token] / draws - share) <= 5 * (share * (1 - share) / draws) ** 0.5


def test_temperature_comes_before_the_cuts() -> None:
    shares = [0.5, 0.26, 0.14, 0.1]
    assert sampled(1.0, 0.0, 0, 0.7, shares) == {0, 1}
    assert sampled(2.0, 0.0, 0, 0.7, shares) == {0, 1, 2}
    assert sampled(0.25, 0.0, 0, 0.7, shares) == {0}


def test_a_low_temperature_over_an_even_choice_keeps_something() -> None:
    assert sampled(0.001, 0.0, 0, 0.9, [0.25, 0.25, 0.25, 0.25]) == {0, 1, 2, 3}


@pytest.mark.parametrize("temperature", [1e-40, 1e-9, 1e-5, 1e-4])
def test_next_to_no_temperature_leaves_the_likeliest_token_in_any_type(temperature: float) -> None:
    """In 16 bits too, where a logprob divided by it would be infinite, of all tokens alike."""
    logprobs = mx.log(mx.array([[1e-4, 2e-4, 1.5e-4, 1e-4]] * 50)).astype(mx.float16)
    tokens: Any = shared_sampler(temperature, 0.0, 0, 1.0)(logprobs).tolist()
    assert set(tokens) == {1}
    seeded = row(temperature=temperature, seed=1).sampler
    drawn: Any = [seeded(logprobs[:1]).tolist() for _ in range(20)]
    assert drawn == [[1]] * 20


def test_frequency_and_presence_count_what_was_sampled() -> None:
    fields = {"frequency_penalty": 0.5, "presence_penalty": 1.0}
    assert processed(row(**fields), [], [1.0] * 4) == [1.0] * 4
    assert processed(row(**fields), [2, 2, 1], [1.0] * 4) == [1.0, -0.5, -1.0, 1.0]


def test_a_penalty_on_repetition_has_the_sign_of_the_logit_and_counts_the_prompt() -> None:
    sampling = row(prompt=(3,), repetition_penalty=2.0)
    assert processed(sampling, [1], [1.0, -1.0, 1.0, 4.0]) == [1.0, -2.0, 1.0, 2.0]


def test_bias_comes_before_the_penalties() -> None:
    sampling = row(prompt=(0,), logit_bias={0: 3.0}, repetition_penalty=2.0, frequency_penalty=1.0)
    assert processed(sampling, [0], [1.0, 1.0, 1.0, 1.0]) == [1.0, 1.0, 1.0, 1.0]


def test_choices_of_one_seed_are_the_next_seeds() -> None:
    logprobs = mx.log(mx.array([[1 / 4096] * 4096]))

    def draws(choice: int, seed: int) -> list[int]:
        sample = row(choice, size=4096, seed=seed, temperature=1.0).sampler
        return [int(sample(logprobs).item()) for _ in range(3)]  # type: ignore[arg-type]  # `item` may be complex

    assert draws(1, 7) == draws(0, 8) != draws(0, 7)


def test_measures_come_in_the_order_of_the_tokens_from_raw_logits() -> None:
    sampling = row(logprobs=True, top_logprobs=2, temperature=0.0, logit_bias={3: 9.0})
    (process,) = sampling.processors
    for logits in ([1.0, 0.0, 0.0, 0.0], [0.0, 5.0, 0.0, 5.0]):
        bent = process(mx.array([0]), mx.array([logits]))
        assert sampling.sampler(bent - mx.logsumexp(bent)).tolist() == [3]
    first = sampling.measured(3)
    assert first.logprob == pytest.approx(-1.7437, abs=1e-3)
    assert first.top[0][0] == 0
    second = sampling.measured(3)
    assert second.top[0] == (3, second.logprob)  # of equals, the sampled one stands first


def test_a_probability_that_a_float_cannot_hold_is_a_finite_logprob() -> None:
    sampling = row(logprobs=True, temperature=0.0, logit_bias={1: 100.0})
    (process,) = sampling.processors
    bent = process(mx.array([0]), mx.array([[0.0, float("-inf"), 0.0, 0.0]]))
    sampling.sampler(mx.where(mx.arange(4) == 1, 9.0, bent))
    assert sampling.measured(1).logprob == -9999.0
