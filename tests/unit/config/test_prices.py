"""Amounts of credit are exact, and what is not is refused with the form that is wanted."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from enginehouse.config import UNITS, ConfigError, Prices, load_config, text_of, units_of

MODEL = """
[[models.m.placements]]
backend = "b"
source = "s"
[models.m.prices]
"""


@pytest.mark.parametrize("text", ["0", "1", "12.5", "0.000000000001", "8999999.999999999999", "9000000"])
def test_an_amount_is_the_same_when_it_is_written_again(text: str) -> None:
    assert text_of(units_of(text)) == text
    assert Decimal(units_of(text)) == Decimal(text) * UNITS


def test_amounts_below_zero_and_zeros_at_the_end_are_written_plainly() -> None:
    assert text_of(-units_of("2.50")) == "-2.5"
    assert text_of(units_of("10.00")) == "10"


@pytest.mark.parametrize("text", ["", "-1", "1e3", "1,5", ".5", "1.", "nan", "٣", "0.0000000000001", "9000000.1"])
def test_what_is_no_exact_amount_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"'.*'"):
        units_of(text)


def test_a_price_for_a_million_is_a_whole_number_of_units_for_one() -> None:
    assert Prices(input="0.15", output="0.600001").per_token == (150_000, 150_000, 600_001)
    assert Prices(input="3", cached="0.3", output="999999").per_token == (3_000_000, 300_000, 999_999_000_000)


@pytest.mark.parametrize(
    ("prices", "told"),
    [
        ('input = 0.15\noutput = "1"', 'input = "0.15"'),
        ('input = "a"\noutput = "1"', "no amount"),
        ('input = "1"\noutput = "0.1234567"', "more than 6 digits"),
        ('input = "1"\noutput = "1000000"', "too much"),
        ('input = "1"', "output"),
    ],
)
def test_a_price_that_cannot_be_used_names_its_key(tmp_path: Path, prices: str, told: str) -> None:
    (tmp_path / "c.toml").write_text(MODEL + prices)
    with pytest.raises(ConfigError, match=r"prices") as caught:
        load_config(tmp_path / "c.toml")
    assert told in str(caught.value)
