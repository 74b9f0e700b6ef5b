"""The sequential test: how soon it tells a change, and how rarely it does where there is none."""

from __future__ import annotations

import itertools
import random
import statistics
from collections.abc import Callable

from enginehouse.fleet.drift import Drift, of_distances, of_texts

MONTH = 43_200.0
"""Probes of 30 days, one a minute."""


def heard_until_alarm(drift: Drift, draw: Callable[[], float], most: int = 100_000) -> int:
    return next((number for number in range(1, most) if drift.hear(draw())), most)


def test_what_is_far_each_time_is_told_by_the_fourth_probe() -> None:
    drift = Drift(of_distances(5e-4), MONTH)
    assert [drift.hear(0.07) for _ in range(4)] == [False, False, False, True]
    assert (drift.heard, drift.counted) == (4, 4)


def test_what_is_as_far_as_the_baseline_is_no_evidence() -> None:
    drift = Drift(of_distances(5e-4), MONTH)
    assert not any(drift.hear(5e-4) for _ in range(1000))
    assert not drift.is_suspicious


def test_one_far_probe_now_and_then_is_forgotten() -> None:
    drift = Drift(of_distances(5e-4), MONTH)
    for _ in range(50):
        assert not drift.hear(1e-3)
        assert not any(drift.hear(0.0) for _ in range(30))
    assert not drift.is_suspicious


def test_a_tenth_of_the_requests_elsewhere_is_told_within_a_few_dozens() -> None:
    dice = random.Random(1)
    needed = [
        heard_until_alarm(Drift(of_distances(5e-4), MONTH), lambda: 0.65 if dice.random() < 0.1 else 1e-4)
        for _ in range(300)
    ]
    assert 30 <= statistics.median(needed) <= 90


def test_false_alarms_are_as_rare_as_is_said() -> None:
    """Each bet at its worst: as many probes count as may where nothing has changed."""
    dice = random.Random(2)
    stated = 60.0
    for draw in (
        lambda: 1e-3 if dice.random() < 0.05 else 0.0,
        lambda: 0.5 if dice.random() < 0.005 else 0.0,
    ):
        lengths = [heard_until_alarm(Drift(of_distances(5e-4), stated), draw) for _ in range(200)]
        assert statistics.mean(lengths) >= stated
    lengths = [heard_until_alarm(Drift(of_texts(), stated), lambda: float(dice.random() < 0.02)) for _ in range(200)]
    assert statistics.mean(lengths) >= stated


def test_texts_are_told_apart_where_most_or_some_of_them_differ() -> None:
    assert heard_until_alarm(Drift(of_texts(), MONTH), lambda: 1.0) == 4
    third = itertools.cycle([1.0, 0.0, 0.0])
    assert heard_until_alarm(Drift(of_texts(), MONTH), lambda: next(third)) <= 30


def test_fewer_false_alarms_need_more_evidence() -> None:
    assert heard_until_alarm(Drift(of_distances(5e-4), 100 * MONTH), lambda: 0.07) == 6
