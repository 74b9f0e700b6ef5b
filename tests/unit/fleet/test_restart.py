"""How long the fleet waits before it starts an instance again."""

from __future__ import annotations

from enginehouse.fleet import RestartPolicy


def test_the_backoff_doubles_from_the_first_to_the_cap():
    policy = RestartPolicy(first_s=0.5, factor=2, cap_s=5)
    assert [policy.delay_s(failures) for failures in range(1, 7)] == [0.5, 1, 2, 4, 5, 5]


def test_any_number_of_failures_has_a_backoff():
    assert RestartPolicy(cap_s=60).delay_s(100_000) == 60
