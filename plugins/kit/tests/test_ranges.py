"""Numbers between bounds, digit by digit."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from enginehouse_kit.grammar.limits import Budget
from enginehouse_kit.grammar.pattern import pattern_language
from enginehouse_kit.grammar.ranges import integer_rule, number_rule
from enginehouse_kit.grammar.regex import Algebra

integers = st.integers(-30, 30) | st.integers(-5000, 5000) | st.integers(-(10**9), 10**9)
decimals = st.decimals(-3000, 3000, places=3, allow_nan=False).map(lambda d: Decimal(format(d.normalize(), "f")))


def taker(rule: str) -> Callable[[str], bool]:
    """Whether *rule* takes a text."""
    algebra = Algebra(Budget())
    language = pattern_language(algebra, f"^(?:{rule})$")
    return lambda text: algebra.matches(language, text)


@given(integers, integers, st.lists(integers, max_size=20))
@settings(deadline=None, max_examples=150)
def test_integers_are_taken_within_their_bounds_alone(one: int, other: int, values: list[int]) -> None:
    low, high = sorted((one, other))
    rule = integer_rule(low, high)
    assert rule is not None
    takes = taker(rule)
    for value in (low, high, low - 1, high + 1, *values):
        assert takes(str(value)) == (low <= value <= high), value
    assert not takes("-0")
    assert not takes("007")


@given(decimals, decimals, st.booleans(), st.booleans(), st.lists(decimals, max_size=20))
@settings(deadline=None, max_examples=200)
def test_decimals_are_taken_within_their_bounds_alone(
    one: Decimal, other: Decimal, is_open_low: bool, is_open_high: bool, values: list[Decimal]
) -> None:
    low, high = sorted((one, other))
    rule = number_rule(low, high, is_open_low=is_open_low, is_open_high=is_open_high)
    if rule is None:
        assert low == high
        return
    takes = taker(rule)
    step = Decimal("0.001")
    for value in (low, high, low - step, high + step, low + step, high - step, Decimal(0), *values):
        fits = (low < value if is_open_low else low <= value) and (value < high if is_open_high else value <= high)
        text = format(value.normalize(), "f")
        assert takes("0" if text == "-0" else text) == fits, value


def test_an_open_end_reaches_far() -> None:
    up, down = integer_rule(5, None), integer_rule(None, -5)
    assert up is not None
    assert down is not None
    assert taker(up)("999999999999999")
    assert not taker(up)("4")
    assert taker(down)("-999999999999999")
    assert integer_rule(2, 1) is None
    assert integer_rule(10**20, None) is not None
