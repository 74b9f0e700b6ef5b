"""Which request is held to have ended an engine."""

from __future__ import annotations

import pytest
from tests.unit.conftest import a_request
from tests.unit.service.desk import Desk, holds_on, says_one_word_then_waits

from enginehouse.fleet import RequestPoisonous
from enginehouse.fleet.suspects import REFUSED_S, Suspects, digest_of
from enginehouse_plugin import Text

BAD, GOOD, OTHER = (a_request(max_tokens=tokens) for tokens in (1, 2, 3))


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def suspects(clock):
    return Suspects(clock)


def test_after_one_end_a_request_runs_as_others_do(suspects):
    suspects.ended([BAD])
    assert not suspects.must_run_alone(BAD)
    assert not suspects.must_run_alone(GOOD)


def test_a_request_with_a_bias_is_told_from_others_by_it(suspects):
    biased = [a_request(logit_bias=bias) for bias in ({1: 2.0, 3: 4.0}, {3: 4.0, 1: 2.0}, {1: 2.0})]
    digests = [digest_of(request) for request in biased]
    assert None not in digests
    assert digests[0] == digests[1] != digests[2]
    suspects.ended([biased[0]])
    suspects.ended([biased[1]])
    with pytest.raises(RequestPoisonous):
        suspects.must_run_alone(biased[0])


def test_a_request_in_flight_at_two_ends_is_refused_whoever_asks_it(suspects):
    suspects.ended([BAD, GOOD])
    suspects.ended([BAD])
    with pytest.raises(RequestPoisonous, match=r"refused for 600 s") as refused:
        suspects.must_run_alone(a_request(max_tokens=1, id="another", stream=False))
    assert not refused.value.retryable
    assert not suspects.must_run_alone(GOOD)


def test_nobody_has_another_request_refused_by_what_differs_each_time(suspects):
    suspects.ended([GOOD, BAD])
    suspects.ended([GOOD, OTHER])
    assert suspects.must_run_alone(GOOD), "alone nothing can end its engine but itself"
    suspects.ended([GOOD, a_request(prompt=Text(text="\ud800"))])
    assert suspects.must_run_alone(GOOD), "what has no digest was there, too"


def test_of_several_that_were_there_twice_none_is_refused_before_it_ran_alone(suspects):
    suspects.ended([BAD, GOOD])
    suspects.ended([BAD, GOOD])
    assert suspects.must_run_alone(BAD)
    assert suspects.must_run_alone(GOOD)
    suspects.ended([BAD])
    with pytest.raises(RequestPoisonous):
        suspects.must_run_alone(BAD)
    suspects.clear(GOOD)
    assert not suspects.must_run_alone(GOOD)


def test_a_request_that_completes_in_between_is_cleared(suspects):
    suspects.ended([BAD])
    suspects.clear(BAD)
    suspects.ended([BAD])
    assert not suspects.must_run_alone(BAD)


def test_a_refusal_ends_in_time(suspects, clock):
    suspects.ended([BAD])
    suspects.ended([BAD])
    clock.now_s = REFUSED_S + 1
    assert not suspects.must_run_alone(BAD)


def test_the_digest_is_that_of_what_is_asked_for():
    same = a_request(max_tokens=1, id="r2", stream=False)
    assert digest_of(BAD) == digest_of(same)
    assert digest_of(BAD) != digest_of(GOOD)
    assert digest_of(a_request(logit_bias={2: -100.0})) is not None
    assert digest_of(a_request(prompt=Text(text="\ud800"))) is None


async def test_a_request_whose_client_has_left_is_suspected_until_the_engine_lets_go_of_it(house):
    house.script.answer = holds_on
    desk = Desk(house)
    for _ in range(2):
        await house.until("ready")
        desk.open()
        await desk.hear(1)
        desk.lease.cancel()
        house.hosted.instance.crash()
        await house.until("failed")
    await house.until("ready")
    with pytest.raises(RequestPoisonous):
        desk.open()


async def test_a_request_that_is_to_run_alone_waits_for_all_slots(house):
    house.script.answer = says_one_word_then_waits
    desk = Desk(house)
    await house.until("ready")
    for _ in range(2):
        house.fleet.model("m").suspects.ended([BAD, GOOD])
    desk.open()
    await desk.hear(2)
    first = desk.lease
    desk.open(max_tokens=1)
    assert desk.gate.waiting == 1, "a slot is free, but not all of them"
    first.cancel()
    await desk.hear(2)
    assert desk.gate.running == desk.gate.capacity
    desk.lease.cancel()
