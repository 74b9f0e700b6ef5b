"""Numbers between two bounds, as regular expressions: compared digit by digit."""

from __future__ import annotations

from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

import msgspec

_MOST_DIGITS = 15
_FRACTION_DIGITS = 8


def integer_rule(low: int | None, high: int | None) -> str | None:
    """Integers from *low* to *high* (None: without bound); None if there are none.

    An open end reaches to fifteen digits, or as many as the other bound has.
    """
    reach = _reach(low, high) - 1
    low = -reach if low is None else low
    high = reach if high is None else high
    if low > high:
        return None
    parts = []
    if low < 0:
        magnitudes = _naturals(max(1, -high), -low)
        parts.append(f"-(?:{magnitudes})")
    if high >= 0:
        parts.append(_naturals(max(low, 0), high))
    return "|".join(parts)


def number_rule(low: Decimal | None, high: Decimal | None, *, is_open_low: bool, is_open_high: bool) -> str | None:
    """Decimal numbers between *low* and *high*, without exponent; None if there are none.

    A number has no more digits than a 64-bit float tells apart from its bounds.
    """
    reach = Decimal(10**_MOST_DIGITS)
    low, is_open_low = _told_apart(low, is_open_low, 1)
    high, is_open_high = _told_apart(high, is_open_high, -1)
    bounds = [bound for bound in (low, high) if bound is not None and abs(bound) <= reach] or [Decimal(0)]
    if low is None or low < -reach:
        low, is_open_low = -reach, True
    if high is None or high > reach:
        high, is_open_high = reach, True
    if low > high or (low == high and (is_open_low or is_open_high)):
        return None
    whole = max(len(str(abs(int(bound)))) for bound in bounds)
    fraction = max(_FRACTION_DIGITS, *(len(_parts(abs(bound))[1]) for bound in bounds))
    digits = _Digits(fraction, is_shared=whole + _FRACTION_DIGITS > _MOST_DIGITS)
    zero = Decimal(0)
    parts = []
    if low < 0:
        # Magnitudes of negative numbers: the bounds change places. Zero is written without a sign.
        nearest, is_open = (zero, True) if high >= 0 else (-high, is_open_high)
        magnitudes = _decimals(nearest, -low, is_open, is_open_low, digits)
        if magnitudes:
            parts.append(f"-(?:{magnitudes})")
    if high > 0 or (high == 0 and not is_open_high):
        nearest, is_open = (zero, False) if low < 0 else (low, is_open_low)
        magnitudes = _decimals(nearest, high, is_open, is_open_high, digits)
        if magnitudes:
            parts.append(magnitudes)
    return "|".join(parts) or None


class _Digits(msgspec.Struct, frozen=True):
    """Digits behind the point: *most*, or what the whole part leaves of those that a float tells apart."""

    most: int
    is_shared: bool

    def behind(self, whole: int) -> int:
        """Of numbers with this *whole* part, or another one of its length."""
        return max(min(self.most, _MOST_DIGITS - len(str(whole))), 0) if self.is_shared else self.most


def _told_apart(bound: Decimal | None, is_open: bool, sign: int) -> tuple[Decimal | None, bool]:
    """*bound*, moved inwards where it has more digits than a decimal number can have and stay itself in a float."""
    if bound is None or not bound or len(bound.normalize().as_tuple().digits) <= _MOST_DIGITS:
        return bound, is_open
    unit = Decimal(1).scaleb(bound.adjusted() - _MOST_DIGITS + 1)
    held = bound.quantize(unit, ROUND_CEILING if sign > 0 else ROUND_FLOOR)
    return (held + sign * unit if is_open else held), False


def _reach(low: int | None, high: int | None) -> int:
    """A power of ten beyond both bounds, with fifteen zeros at least."""
    digits = [len(str(abs(bound))) for bound in (low, high) if bound is not None]
    return int(10 ** max([_MOST_DIGITS, *digits]))


def _naturals(low: int, high: int) -> str:
    """Integers from *low* >= 0 to *high*, without leading zeros."""
    if low == 0:
        return "0" if high == 0 else "0|" + _naturals(1, high)
    parts = []
    full = []  # lengths of which every number belongs to the range
    for length in range(len(str(low)), len(str(high)) + 1):
        first, last = max(low, 10 ** (length - 1)), min(high, 10**length - 1)
        if first == 10 ** (length - 1) and last == 10**length - 1:
            full.append(length)
        else:
            parts.append(_same_length(str(first), str(last)))
    if full:
        parts.append(f"[1-9][0-9]{{{full[0] - 1},{full[-1] - 1}}}")
    return "|".join(parts)


def _same_length(low: str, high: str) -> str:
    """Digits from *low* to *high*, which have the same length."""
    if not low:
        return ""
    if low[0] == high[0]:
        return _joined(f"[{low[0]}]", _same_length(low[1:], high[1:]))
    rest = len(low) - 1
    parts = []
    first, last = int(low[0]), int(high[0])
    if low[1:] != "0" * rest:
        parts.append(_joined(f"[{first}]", _same_length(low[1:], "9" * rest)))
        first += 1
    if high[1:] != "9" * rest:
        last -= 1
    if first <= last:
        parts.append(_joined(f"[{first}-{last}]", f"[0-9]{{{rest}}}" if rest else ""))
    if last < int(high[0]):
        parts.append(_joined(f"[{high[0]}]", _same_length("0" * rest, high[1:])))
    return parts[0] if len(parts) == 1 else "(?:" + "|".join(parts) + ")"


def _decimals(low: Decimal, high: Decimal, is_open_low: bool, is_open_high: bool, digits: _Digits) -> str:
    """Numbers from *low* >= 0 to *high*, with as many behind the point as *digits* says."""
    low_whole, low_fraction = _parts(low)
    high_whole, high_fraction = _parts(high)
    near_low, near_high = (
        max(digits.behind(low_whole), len(low_fraction)),
        max(digits.behind(high_whole), len(high_fraction)),
    )
    if low_whole == high_whole:
        tails = _tails(low_fraction, high_fraction, is_open_low, is_open_high, max(near_low, near_high))
        return _with_fraction(low_whole, tails)
    parts = [_with_fraction(low_whole, _tails(low_fraction, None, is_open_low, False, near_low))]
    first, last = low_whole + 1, high_whole - 1
    while first <= last:  # stretches of numbers with as many digits behind the point
        most, until = digits.behind(first), first
        while until < last and digits.behind(until + 1) == most:
            until = min(last, 10 ** len(str(until + 1)) - 1)
        parts.append(f"(?:{_naturals(first, until)})" + (rf"(?:\.[0-9]{{1,{most}}})?" if most else ""))
        first = until + 1
    parts.append(_with_fraction(high_whole, _tails(None, high_fraction, False, is_open_high, near_high)))
    return "|".join(part for part in parts if part)


def _parts(value: Decimal) -> tuple[int, str]:
    """Whole part, and digits after the point without trailing zeros."""
    whole, _, fraction = format(value, "f").partition(".")
    return int(whole), fraction.rstrip("0")


def _with_fraction(whole: int, tails: list[str]) -> str:
    """*whole*, followed by a point and one of *tails*; or by nothing, if an empty tail is among them."""
    if not tails:
        return ""
    digits = [tail for tail in tails if tail]
    if not digits:
        return str(whole)
    return rf"{whole}(?:\.(?:{'|'.join(digits)}))" + ("?" if "" in tails else "")


def _tails(low: str | None, high: str | None, is_open_low: bool, is_open_high: bool, digits: int) -> list[str]:
    """Alternatives for the digits, up to *digits*, that follow those which a number shares with its bounds.

    *low* and *high* are what is left of the bounds' digits; None where the number is off that bound already.
    """
    if high == "":
        return [""] if not is_open_high and (low is None or (low == "" and not is_open_low)) else []
    if low == "" and not is_open_low:
        low = None
    if not digits:
        return [""] if low is None else []
    if low == "" and high is None:
        return [f"0{{0,{digits - 1}}}[1-9][0-9]{{0,{digits - 1}}}"]
    alternatives = [""] if low is None else []
    first = int(low[0]) if low else 0
    last = int(high[0]) if high else 9
    if low is not None and high is not None and first == last:
        return alternatives + _each(first, _tails(low[1:], high[1:], is_open_low, is_open_high, digits - 1))
    if low is not None:
        alternatives += _each(first, _tails(low[1:], None, is_open_low, False, digits - 1))
        first += 1
    if high is not None:
        alternatives += _each(last, _tails(None, high[1:], False, is_open_high, digits - 1))
        last -= 1
    if first <= last:
        alternatives.append(f"[{first}-{last}][0-9]{{0,{digits - 1}}}")
    return alternatives


def _each(digit: int, tails: list[str]) -> list[str]:
    return [_joined(f"[{digit}]", tail) for tail in tails]


def _joined(first: str, rest: str) -> str:
    return f"{first}(?:{rest})" if "|" in rest else first + rest
