"""A breaker opens after failures in a row, lets one request try, and closes when that is answered."""

from __future__ import annotations

from enginehouse.fleet.breaker import MOST_OPEN_S, PROBE_S, Breaker


def opened(failures: int = 3, open_s: float = 5.0) -> Breaker:
    breaker = Breaker(failures, open_s)
    for _ in range(failures):
        breaker.failed(0.0)
    return breaker


def test_it_opens_after_failures_in_a_row() -> None:
    breaker = Breaker(3, 5.0)
    assert [breaker.failed(0.0), breaker.failed(0.0)] == [False, False]
    breaker.succeeded()
    assert [breaker.failed(0.0) for _ in range(3)] == [False, False, True]
    assert (breaker.state(0.0), breaker.lets(4.9), breaker.opened) == ("open", False, 1)


def test_one_request_at_a_time_tries_it_and_an_answer_closes_it() -> None:
    breaker = opened()
    assert breaker.state(5.0) == "half_open"
    assert breaker.lets(5.0)
    breaker.begin(5.0)
    assert not breaker.lets(5.1)
    breaker.succeeded()
    assert (breaker.state(5.2), breaker.lets(5.2)) == ("closed", True)


def test_a_probe_that_fails_opens_it_for_twice_as_long_up_to_a_minute() -> None:
    breaker, now = opened(), 5.0
    for wanted in (10.0, 20.0, 40.0, MOST_OPEN_S, MOST_OPEN_S):
        breaker.begin(now)
        assert breaker.failed(now)
        assert breaker.state(now + wanted - 0.1) == "open"
        now += wanted
        assert breaker.state(now) == "half_open"
    breaker.begin(now)
    breaker.succeeded()
    for _ in range(3):
        breaker.failed(now)
    assert breaker.state(now + 5.0) == "half_open", "it begins anew"


def test_failures_of_requests_that_began_before_it_opened_change_nothing() -> None:
    breaker = opened()
    assert not breaker.failed(1.0)
    assert breaker.state(5.0) == "half_open"
    assert not breaker.failed(5.0)
    assert breaker.state(5.0) == "half_open"


def test_a_probe_whose_client_left_or_that_says_nothing_makes_room_for_another() -> None:
    breaker = opened()
    breaker.begin(5.0)
    breaker.left()
    assert breaker.lets(5.1)
    breaker.begin(5.1)
    assert not breaker.lets(5.2)
    assert breaker.lets(5.1 + PROBE_S)
