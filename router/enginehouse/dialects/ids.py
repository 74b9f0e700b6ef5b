"""Ids of requests and answers."""

from __future__ import annotations

import secrets
from itertools import count

_BYTES = 12
_BITS = 8 * _BYTES
_MASK = (1 << _BITS) - 1
_STEP = secrets.randbits(_BITS) | 1
"""Odd, so that a step leads to every number before it leads to one again; large and unknown, so that neighbours do not
tell how many came between them."""
_next = count(secrets.randbits(_BITS), _STEP).__next__


def unique_hex() -> str:
    """Make 24 hexadecimal digits that nobody else has."""
    return (_next() & _MASK).to_bytes(_BYTES, "big").hex()  # in half the time of formatting a number
