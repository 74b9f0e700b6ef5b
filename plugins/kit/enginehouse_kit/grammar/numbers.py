"""Numbers of a schema as they are written in JSON: bounds, multiples, and values that are left out."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

import msgspec

from . import ranges
from .pattern import pattern_language
from .regex import Algebra, Regex, Steps

MAX_MODULUS = 1000
"""Largest step of `multipleOf`, in units of its last digit: each remainder is a state of the grammar."""
_MAX_PLACES = 6
_TOLD_APART = r"^-?(?:[0-9]{1,15}|[0-9]{1,9}\.[0-9]{1,6})$"
"""Numbers no two of which are the same 64-bit float: what is not to be a number must not be read as it."""
_MOST_DIGITS = 1000  # of a bound
_OFF = -1  # in place of a remainder: no multiple, whatever follows

INTEGER = r"^-?(?:0|[1-9][0-9]{0,18})$"
_FRACTION = r"^-?[0-9]+\.[0-9]*[1-9][0-9]*$"
NUMBER = r"^-?(?:0|[1-9][0-9]{0,18})(?:\.[0-9]{1,16})?(?:[eE][+-]?(?:[0-9]{1,2}|1[0-9]{2}|2[0-7][0-9]))?$"


class Numbers(msgspec.Struct, frozen=True, gc=False):
    """Numbers between bounds, multiples of each of *steps*; *values* alone if not None.

    *is_integer*: whole numbers; *is_fraction*: no whole numbers. None of *without*, nor a multiple of *off_steps*.
    """

    low: Decimal | None = None
    high: Decimal | None = None
    is_open_low: bool = False
    is_open_high: bool = False
    is_integer: bool = False
    is_fraction: bool = False
    steps: tuple[Decimal, ...] = ()
    values: tuple[Decimal, ...] | None = None
    without: tuple[Decimal, ...] = ()
    off_steps: tuple[Decimal, ...] = ()

    def has(self, value: Decimal) -> bool:
        """Whether *value* is one of them."""
        if self.low is not None and (value <= self.low if self.is_open_low else value < self.low):
            return False
        if self.high is not None and (value >= self.high if self.is_open_high else value > self.high):
            return False
        if (self.is_fraction if _is_whole(value) else self.is_integer) or value in self.without:
            return False
        if any(_is_multiple(value, step) for step in self.off_steps):
            return False
        return (self.values is None or value in self.values) and all(_is_multiple(value, step) for step in self.steps)

    def and_(self, other: Numbers) -> Numbers:
        """Numbers of both."""
        low, is_open_low = _narrower(self.low, self.is_open_low, other.low, other.is_open_low, 1)
        high, is_open_high = _narrower(self.high, self.is_open_high, other.high, other.is_open_high, -1)
        joined = Numbers(
            low,
            high,
            is_open_low,
            is_open_high,
            self.is_integer or other.is_integer,
            self.is_fraction or other.is_fraction,
            tuple(dict.fromkeys((*self.steps, *other.steps))),
            other.values if self.values is None else self.values,
            tuple(dict.fromkeys((*self.without, *other.without))),
            tuple(dict.fromkeys((*self.off_steps, *other.off_steps))),
        )
        if joined.values is None:
            return joined
        known = None if other.values is None else frozenset(other.values)
        free = msgspec.structs.replace(joined, values=None)
        return Numbers(values=tuple(v for v in joined.values if free.has(v) and (known is None or v in known)))

    @property
    def is_never(self) -> bool:
        """Whether there are none."""
        if self.values is not None:
            return not self.values
        if self.is_integer and self.is_fraction:
            return True
        if self.low is None or self.high is None:
            return False
        if self.is_integer:
            least, most = self._whole_bounds()
            return least is not None and most is not None and least > most
        return self.low > self.high or (self.low == self.high and (self.is_open_low or self.is_open_high))

    def _whole_bounds(self) -> tuple[int | None, int | None]:
        low = high = None
        if self.low is not None:
            low = math.floor(self.low) + 1 if self.is_open_low else math.ceil(self.low)
        if self.high is not None:
            high = math.ceil(self.high) - 1 if self.is_open_high else math.floor(self.high)
        return low, high

    def language(self, algebra: Algebra) -> Regex:
        """How they are written.

        Raises:
            ValueError: a step is too fine or too large, or a bound too long.
        """
        if self.values is not None:
            return algebra.either([algebra.text(written(value)) for value in self.values])
        for bound in (self.low, self.high):
            if bound is not None and abs(bound.adjusted()) > _MOST_DIGITS:
                raise ValueError("is too large or too small")
        base = self._between(algebra)
        parts = [algebra.steps(Multiples(step)) for step in self.steps if not (step == 1 and self.is_integer)]
        parts += [pattern_language(algebra, _FRACTION)] if self.is_fraction else []
        if self.is_fraction or self.off_steps or self.without:
            parts.append(pattern_language(algebra, _TOLD_APART))
        parts += [algebra.steps(Multiples(step, is_opposite=True)) for step in self.off_steps]
        parts += [algebra.negated(_spellings(algebra, value)) for value in self.without]
        return algebra.both(base, *parts) if base is not algebra.none else base

    def _between(self, algebra: Algebra) -> Regex:
        if (
            self.low is None
            and self.high is None
            and not (self.steps or self.off_steps or self.without or self.is_fraction)
        ):
            return pattern_language(algebra, INTEGER if self.is_integer else NUMBER)
        if self.is_integer:
            rule = ranges.integer_rule(*self._whole_bounds())
        else:
            rule = ranges.number_rule(self.low, self.high, is_open_low=self.is_open_low, is_open_high=self.is_open_high)
        return algebra.none if rule is None else pattern_language(algebra, f"^(?:{rule})$")


def written(value: Decimal) -> str:
    """*value* in JSON: whole numbers without a point; an exponent where there would be many zeros."""
    if _is_whole(value) and value.adjusted() < 400:
        return str(int(value))
    return msgspec.json.encode(float(value)).decode()


def decimal_of(value: Any) -> Decimal:  # Any: a JSON number
    """The decimal number that *value* is written as."""
    return Decimal(value) if isinstance(value, int) else Decimal(repr(value))


class Multiples(Steps):
    """Multiples of a decimal *step*, or all others, followed digit by digit: remainder, and digits behind the point."""

    alphabet = "-.0123456789"

    def __init__(self, step: Decimal, *, is_opposite: bool = False) -> None:
        self._is_opposite = is_opposite
        sign, digits, exponent = step.normalize().as_tuple()
        places = max(-int(exponent), 0)
        self._modulus = int(step.scaleb(places))
        self._places = places
        if self._modulus > MAX_MODULUS or places > _MAX_PLACES or sign or not digits:
            raise ValueError(f"is only supported up to {MAX_MODULUS} units of its last digit")

    def start(self) -> tuple[int, int]:
        """See `Steps.start`."""
        return 0, -1

    def next(self, state: tuple[int, int], character: str) -> tuple[int, int] | None:
        """See `Steps.next`."""
        remainder, place = state
        if character == "-":
            return state
        if character == ".":
            return (remainder, 0) if place < 0 and (self._places or self._is_opposite) else None
        if not character.isdigit():
            return None
        if place == self._places:  # a digit more: with a zero the same number, otherwise none of the multiples
            if not self._is_opposite:
                return None
            return state if character == "0" else (_OFF, place)
        if remainder == _OFF:
            return state
        return (remainder * 10 + int(character)) % self._modulus, place + (place >= 0)

    def is_end(self, state: tuple[int, int]) -> bool:
        """See `Steps.is_end`."""
        remainder, place = state
        if remainder == _OFF:
            return self._is_opposite
        return self._is_opposite != bool(remainder * 10 ** (self._places - max(place, 0)) % self._modulus == 0)


def _spellings(algebra: Algebra, value: Decimal) -> Regex:
    text = format(value, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    sign = "-?" if not value else ""
    dot = "" if "." in text else r"\."
    return pattern_language(algebra, f"^{sign}{text.replace('.', chr(92) + '.')}(?:{dot}0*)?$")


def _is_whole(value: Decimal) -> bool:
    return value == value.to_integral_value()


def _is_multiple(value: Decimal, step: Decimal) -> bool:
    scale = -min(int(value.as_tuple().exponent), int(step.as_tuple().exponent), 0)
    if scale > _MOST_DIGITS or abs(value.adjusted()) > _MOST_DIGITS:
        return False
    return int(value.scaleb(scale)) % int(step.scaleb(scale)) == 0


def _narrower(
    one: Decimal | None, is_open: bool, other: Decimal | None, is_other_open: bool, sign: int
) -> tuple[Decimal | None, bool]:
    if one is None or other is None:
        return (other, is_other_open) if one is None else (one, is_open)
    if one == other:
        return one, is_open or is_other_open
    return (one, is_open) if sign * one > sign * other else (other, is_other_open)
