"""Distances, intervals, lines and parting, on cases that can be computed by hand."""

from __future__ import annotations

import itertools
import math
import random
from statistics import NormalDist

import pytest

from enginehouse_conformance.identity.bands import BANDS, band_of, families_at
from enginehouse_conformance.identity.measure import distance, far_ones, interval, line
from enginehouse_conformance.identity.prompts import prompts


def softmax_logs(logits: dict[str, float], heat: float = 1.0) -> dict[str, float]:
    norm = math.log(sum(math.exp(value / heat) for value in logits.values()))
    return {token: value / heat - norm for token, value in logits.items()}


def drawn(seed: int, tokens: int = 20) -> dict[str, float]:
    dice = random.Random(seed)
    return {f"t{at}": dice.gauss(0, 2) for at in range(tokens)}


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ({"a": -1.0, "b": -2.0}, {"a": -1.0, "b": -2.0}, 0.0),
        ({"a": -1.0, "b": -2.0}, {"a": -1.5, "b": -2.1}, 0.3),
        ({"a": -1.0, "b": -2.0}, {"a": -1.25, "c": -2.0}, 0.25),  # what is in one list alone does not count
        ({"a": -1.0}, {"a": -9.0}, 1.0),  # clipped
        ({"a": -1.0}, {"b": -1.0}, 1.0),  # nothing in common
        ({}, {}, 1.0),
    ],
)
def test_the_distance_is_the_clipped_mean_difference_of_what_both_have(one, other, expected) -> None:
    assert distance(one, other) == pytest.approx(expected)
    assert distance(other, one) == pytest.approx(expected)


def test_the_interval_holds_the_mean_of_what_was_drawn() -> None:
    """Of 60 samples of 24 from a known distribution about one in a hundred misses."""
    dice, missed = random.Random(3), 0
    for seed in range(60):
        low, high = interval([dice.gauss(0.1, 0.03) for _ in range(24)], seed=seed, level=0.99)
        missed += not low <= 0.1 <= high
    assert missed <= 5


def test_the_interval_is_as_wide_as_theory_says_and_repeats_itself() -> None:
    values = [NormalDist(0.1, 0.03).inv_cdf((at + 0.5) / 24) for at in range(24)]
    low, high = interval(values, seed=1, level=0.99)
    assert (low, high) == interval(values, seed=1, level=0.99)
    assert high - low == pytest.approx(2 * 2.576 * 0.03 / math.sqrt(24), rel=0.15)
    assert interval([0.2] * 24, seed=1, level=0.99) == pytest.approx((0.2, 0.2))


def test_a_temperature_is_a_slope_that_leaves_nothing() -> None:
    lists = [drawn(seed) for seed in range(8)]
    found = line([(softmax_logs(each), softmax_logs(each, 0.7)) for each in lists])
    assert found is not None
    assert found.slope == pytest.approx(1 / 0.7)
    assert found.rest == pytest.approx(0, abs=1e-9)
    assert found.rest_after_offset > 0.1


def test_a_softmax_over_fewer_tokens_is_an_offset_that_leaves_nothing() -> None:
    lists = [drawn(seed) for seed in range(8)]
    pairs = []
    for each in lists:
        kept = sorted(each, key=each.__getitem__, reverse=True)[:5]
        pairs.append((softmax_logs(each), softmax_logs({token: each[token] for token in kept})))
    found = line(pairs)
    assert found is not None
    assert found.slope == pytest.approx(1)
    assert found.offset > 0.01
    assert found.rest_after_offset == pytest.approx(0, abs=1e-9)


def test_there_is_no_line_through_nothing() -> None:
    assert line([]) is None
    assert line([({"a": -1.0}, {"a": -1.0})]) is None
    assert line([({"a": -1.0, "b": -1.0, "c": -1.0}, {"a": -1.0, "b": -2.0, "c": -1.0})]) is None


@pytest.mark.parametrize(
    ("distances", "far"),
    [
        ([1e-4, 0.6, 2e-4, 1e-4, 0.5], [1, 4]),
        ([0.0, 0.0, 0.0, 0.02], [3]),
        ([0.06, 0.08, 0.1, 0.4, 0.5], []),  # the others are not equal: a quantisation
        ([1e-4, 2e-4, 5e-4, 2e-3, 3e-3], []),  # no far one: arithmetic
        ([1e-4, 2e-4, 0.5], []),  # too few to say what is usual
        ([2.5e-3, 2.5e-3, 2.5e-3, 0.021], []),  # not ten times as far
        ([0.5] * 6, []),
    ],
)
def test_what_parts_is_far_from_what_is_equal(distances, far) -> None:
    assert far_ones(distances) == far


def test_every_distance_has_one_band() -> None:
    assert [band_of(value).name for value in (0, 5e-4, 6e-4, 3e-3, 0.03, 0.031, 0.2, 0.201, 1.0)] == [
        *("arithmetic", "arithmetic", "weights", "weights", "near", "undecided", "undecided", "other", "other")
    ]
    assert [band.limit for band in BANDS] == sorted(band.limit for band in BANDS)


def test_families_are_those_whose_range_is_reached() -> None:
    assert families_at(0.077, 0.08) == (
        "Q4_1 against the float32 made of it",
        "Q8_0",
        "one character more in the system prompt",
    )
    assert families_at(0.2, 0.21) == ()


def test_prompts_are_those_of_their_seed_short_and_each_once() -> None:
    taken = list(itertools.islice(prompts(7), 2000))
    assert taken == list(itertools.islice(prompts(7), 2000))
    assert len(set(taken)) == 2000
    assert all(len(prompt) <= 90 and prompt.isascii() for prompt in taken)
    assert len(set(taken[:100]) & set(itertools.islice(prompts(8), 2000))) <= 2
