"""Sizes of memory as people write them."""

from __future__ import annotations

import re

_FORM = re.compile(r"(?P<number>[0-9]{1,9}(?:\.[0-9]+)?) ?(?P<unit>[A-Za-z]+)")
_UNITS = {
    **{unit: 1000**power for power, unit in enumerate(("MB", "GB", "TB"), 2)},
    **{unit: 1024**power for power, unit in enumerate(("MiB", "GiB", "TiB"), 2)},
}


def parse_size(text: str) -> int:
    """The bytes of *text*: a number and a unit, such as `24GB` (24 · 1000³) or `16GiB` (16 · 1024³).

    Raises:
        ValueError: it is no size, or none above zero; the message says how one is written.
    """
    match = _FORM.fullmatch(text)
    if match is None or match["unit"] not in _UNITS:
        raise ValueError(f"'{text}' is no size: write a number and a unit ({', '.join(_UNITS)}), such as \"16GiB\"")
    n_bytes = int(float(match["number"]) * _UNITS[match["unit"]])
    if n_bytes == 0:
        raise ValueError(f"'{text}' is no size above zero")
    return n_bytes


def binary_size(n_bytes: int) -> str:
    """*n_bytes* in binary units: `512 MiB`, `23.99 GiB` (two digits: a card of 24 GB has a little less than 24 GiB)."""
    if n_bytes < 1024**3:
        return f"{n_bytes / 1024**2:.0f} MiB"
    return f"{n_bytes / 1024**3:.2f} GiB"
