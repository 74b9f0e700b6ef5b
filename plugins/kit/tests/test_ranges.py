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


large = st.decimals(-(10**15), 10**15, places=4, allow_nan=False) | decimals


@given(large, large, st.booleans(), st.booleans(), st.lists(large, max_size=10), st.integers(0, 16))
@settings(deadline=None, max_examples=150)
def test_what_is_taken_is_within_the_bounds_once_it_is_read_as_a_float(
    one: Decimal, other: Decimal, is_open_low: bool, is_open_high: bool, values: list[Decimal], places: int
) -> None:
    low, high = sorted((one, other))
    rule = number_rule(low, high, is_open_low=is_open_low, is_open_high=is_open_high)
    if rule is None:
        return
    takes = taker(rule)
    near = Decimal(1).scaleb(-places)
    for value in (low + near, high - near, low, high, *values):
        if takes(format(value, "f")):
            read = float(value)
            assert float(low) < read if is_open_low else float(low) <= read, value
            assert read < float(high) if is_open_high else read <= float(high), value


def test_a_bound_of_many_digits_takes_no_fraction_from_small_numbers() -> None:
    rule = number_rule(Decimal(0), Decimal("99999999999999.98"), is_open_low=False, is_open_high=False)
    assert rule is not None
    takes = taker(rule)
    assert all(map(takes, ("0.01", "12345.67", "1234567.12345678", "9999999999999.9", "1234567890123.45")))
    assert not any(map(takes, ("1234567890123.456", "99999999999999.99", "100000000000000")))
