"""Retries are a share of the requests."""

from __future__ import annotations

from enginehouse.fleet.retries import MOST, REFILL_S, RESERVE, RetryBudget


def taken(budget: RetryBudget, now: float = 0.0) -> int:
    before = budget.taken
    while budget.take(now):
        pass
    return budget.taken - before


def test_there_is_a_reserve_at_the_start_which_comes_back() -> None:
    budget = RetryBudget(0.2)
    assert taken(budget) == RESERVE
    assert budget.refused == 1
    assert taken(budget, REFILL_S / 2) == RESERVE / 2
    assert taken(budget, 100 * REFILL_S) == RESERVE


def test_each_request_adds_its_share_up_to_a_bound() -> None:
    budget = RetryBudget(0.25)
    assert taken(budget) == RESERVE
    for _ in range(40):
        budget.add()
    assert taken(budget) == 10
    for _ in range(10_000):
        budget.add()
    assert taken(budget) == MOST


def test_without_a_share_there_are_none() -> None:
    budget = RetryBudget(0.0)
    for _ in range(100):
        budget.add()
    assert taken(budget, 50.0) == 0
