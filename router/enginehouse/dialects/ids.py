"""Ids of requests and answers."""

from __future__ import annotations

import random

_ids = random.Random()  # noqa: S311  # seeded by the operating system; ids are to be unique, not secret


def unique_hex() -> str:
    """Make 24 hexadecimal digits that nobody else has."""
    return _ids.randbytes(12).hex()
