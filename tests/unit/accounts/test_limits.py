"""Limits of keys and models, to the request, by a clock of their own."""

from __future__ import annotations

import random
import time

import pytest

from enginehouse.accounts import Facts, Limiter, RateLimited
from enginehouse.accounts.meters import DAY_S, MINUTE_S, Window
from enginehouse.config import Limits


class House:
    """A limiter with a clock that is set by hand."""

    def __init__(self, key: Limits | None = None, model: Limits | None = None) -> None:
        self.now = 1000.0
        self.limiter = Limiter(lambda: self.now)
        self.limiter.set_keys({"k": key or Limits()})
        self.limiter.set_models({"m": model or Limits()})

    def begin(self, *, key: str = "k", model: str = "m", reserve: int = 0) -> Facts:
        facts = Facts("r")
        facts.key, facts.model = key, model
        self.limiter.enter(facts, reserve)
        return facts

    def end(self, facts: Facts, tokens: int = 0) -> None:
        facts.prompt_tokens = tokens
        self.limiter.leave(facts)

    def count(self, tries: int, **asked) -> int:
        """How many of so many tries are let in; each ends at once."""
        passed = 0
        for _ in range(tries):
            try:
                self.end(self.begin(**asked))
                passed += 1
            except RateLimited:
                pass
        return passed


@pytest.mark.parametrize("where", ["key", "model"])
def test_requests_per_minute_hold_to_the_request_and_there_is_room_when_it_says(where):
    house = House(**{where: Limits(requests_per_minute=5)})
    assert house.count(20) == 5
    with pytest.raises(RateLimited) as caught:
        house.begin()
    wait_s = caught.value.retry_after_s
    assert MINUTE_S <= wait_s <= MINUTE_S + 1
    house.now += wait_s - 0.01
    assert house.count(1) == 0
    house.now += 0.02
    assert house.count(20) == 5


def test_no_minute_has_more_requests_than_the_limit_whenever_they_come():
    chance, house = random.Random(7), House(Limits(requests_per_minute=20))
    let_in: list[float] = []
    for _ in range(3000):
        house.now += chance.expovariate(1.0)
        let_in += [house.now] * house.count(1)
    for at, began in enumerate(let_in):
        assert sum(began <= other < began + MINUTE_S for other in let_in[at:]) <= 20
    assert len(let_in) > 20 * 45


def test_concurrent_requests_hold_and_a_place_is_free_when_one_ends():
    house = House(Limits(concurrent_requests=2))
    first, _ = house.begin(), house.begin()
    with pytest.raises(RateLimited):
        house.begin()
    house.end(first)
    house.end(first)  # an end is told once
    house.begin()
    with pytest.raises(RateLimited):
        house.begin()


def test_tokens_of_what_runs_are_held_and_what_was_really_taken_is_counted():
    house = House(Limits(tokens_per_minute=100))
    first = house.begin(reserve=60)
    with pytest.raises(RateLimited):
        house.begin(reserve=60)
    house.end(first, tokens=30)
    house.end(house.begin(reserve=60), tokens=69)
    with pytest.raises(RateLimited):
        house.begin(reserve=2)
    house.end(house.begin(reserve=1), tokens=1)
    with pytest.raises(RateLimited):
        house.begin()
    house.now += MINUTE_S + 1
    house.begin(reserve=100)


def test_tokens_per_day_are_a_days_also_those_before_the_router_began():
    house = House(Limits(tokens_per_day=1000))
    house.limiter.remember([("k", "m", 20 * 3600.0, 400), ("k", "other", 3600.0, 500), ("x", "m", 0.0, 5000)])
    house.end(house.begin(), tokens=100)
    with pytest.raises(RateLimited) as caught:
        house.begin()
    assert 3.9 * 3600 < caught.value.retry_after_s < 4.2 * 3600
    house.now += 4.2 * 3600
    house.end(house.begin(reserve=400), tokens=400)
    house.now += DAY_S + 400
    house.begin(reserve=1000)


def test_a_time_of_day_that_jumps_opens_and_locks_nothing(monkeypatch):
    limiter = Limiter()
    limiter.set_keys({"k": Limits(requests_per_minute=1, tokens_per_day=10)})
    facts = Facts("r")
    facts.key = "k"
    limiter.enter(facts, 0)
    limiter.leave(facts)
    now = time.time
    for step_s in (-(10**9), 10**9):
        monkeypatch.setattr(time, "time", lambda step_s=step_s: now() + step_s)
        with pytest.raises(RateLimited) as caught:
            limiter.enter(facts, 0)
        assert caught.value.retry_after_s < MINUTE_S + 1
    # What the database tells of the future, or of long ago, counts for a day at most.
    limiter.remember([("k", "m", -(10.0**9), 10), ("k", "m", 10.0**9, 10)])
    with pytest.raises(RateLimited):
        limiter.enter(facts, 0)


def test_a_limit_that_changes_counts_what_was_before_and_one_that_is_gone_holds_nobody():
    house = House(Limits(requests_per_minute=5))
    assert house.count(3) == 3
    house.limiter.set_keys({"k": Limits(requests_per_minute=4)})
    assert house.count(9) == 1
    house.limiter.set_keys({"k": Limits()})
    assert house.count(9) == 9


def test_others_are_not_held_up():
    house = House(Limits(requests_per_minute=1))
    assert house.count(5) == 1
    assert house.count(5, key="other") == 5


def test_a_client_is_told_what_is_left_by_its_keys_limit_before_the_models():
    house = House(Limits(requests_per_minute=10), Limits(requests_per_minute=99, tokens_per_minute=1000))
    facts = house.begin(reserve=300)
    (_, limit, left, reset_s), tokens = sorted(house.limiter.told(facts))
    assert (limit, left) == (10, 9)
    assert MINUTE_S <= reset_s <= MINUTE_S + 1
    assert tokens == ("tokens", 1000, 700, 0.0)
    assert house.limiter.told(Facts("r")) == []


def test_a_window_takes_little_memory_however_much_comes():
    window = Window(MINUTE_S)
    for at in range(100_000):
        window.add(1000 + at * 0.01, 1)
    assert len(window._slots) <= 4002
    window.used(2000.0)
    assert len(window._slots) <= 242
