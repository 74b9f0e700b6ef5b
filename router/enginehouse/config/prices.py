"""Amounts of credit: exact decimals for people, whole numbers of the smallest unit inside."""

from __future__ import annotations

import re
from typing import Final

import msgspec

UNITS: Final = 10**12
"""The units of one credit: so many that a token has a whole number of them at any price of six digits."""
MOST_CREDITS: Final = 9_000_000
"""What a key holds at most: more does not fit into a database's whole numbers."""
_DIGITS: Final = 12
_PRICE_DIGITS: Final = 6
_AMOUNT = re.compile(r"([0-9]{1,9})(?:\.([0-9]+))?")


def units_of(text: str) -> int:
    """The amount that is written as *text*, such as `12.50`, in units.

    Raises:
        ValueError: it is no decimal number, has too many digits, or is too large.
    """
    whole, part = _parsed(text, _DIGITS)
    units = whole * UNITS + part
    if units > MOST_CREDITS * UNITS:
        raise ValueError(f"'{text}' is more than {MOST_CREDITS} credits, which is the most")
    return units


def text_of(units: int) -> str:
    """*units* as an exact decimal number of credits, without zeros at its end."""
    whole, part = divmod(abs(units), UNITS)
    digits = f"{part:0{_DIGITS}d}".rstrip("0")
    return f"{'-' if units < 0 else ''}{whole}{'.' if digits else ''}{digits}"


def per_token(text: str) -> int:
    """The price of a token, in units, that is written as *text*: credits for a million of them.

    Raises:
        ValueError: it is no decimal number, has too many digits, or is too large.
    """
    whole, part = _parsed(text, _PRICE_DIGITS)
    if whole >= 1_000_000:
        raise ValueError(f"'{text}' is a million credits for a million tokens or more, which is too much")
    return whole * 10**_PRICE_DIGITS + part


def _parsed(text: str, digits: int) -> tuple[int, int]:
    found = _AMOUNT.fullmatch(text)
    if found is None:
        raise ValueError(f"'{text}' is no amount: write a decimal number, such as \"12.50\"")
    part = found[2] or ""
    if len(part) > digits:
        raise ValueError(f"'{text}' has more than {digits} digits behind the point, which is the most")
    return int(found[1]), int(part.ljust(digits, "0"))


class Prices(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a model costs, in credits for a million tokens: decimal numbers as strings, which are exact."""

    input: str | float
    """A bare number is read to be refused with the form that is wanted: it is not exact."""
    output: str | float
    cached: str | float | None = None
    """Of tokens of the prompt that came from a cache; None: as `input`."""

    def __post_init__(self) -> None:
        for name in ("input", "output", "cached"):
            value = getattr(self, name)
            if value is None:
                continue
            if not isinstance(value, str):
                raise ValueError(f'`{name}` is a decimal number in quotes, so that it is exact: {name} = "{value}"')
            try:
                per_token(value)
            except ValueError as error:
                raise ValueError(f"`{name}`: {error}") from None

    @property
    def per_token(self) -> tuple[int, int, int]:
        """Of a token of the prompt, of one from a cache, and of one of an answer, in units of credit."""
        cached = self.input if self.cached is None else self.cached
        return per_token(str(self.input)), per_token(str(cached)), per_token(str(self.output))
