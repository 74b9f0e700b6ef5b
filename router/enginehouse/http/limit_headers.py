"""What a client is told of the limits of its key and model: the usual headers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from enginehouse.accounts import Left
from enginehouse.dialects.endpoint import Header

_NAMES: Final = {
    kind: tuple(f"x-ratelimit-{what}-{kind}".encode() for what in ("limit", "remaining", "reset"))
    for kind in ("requests", "tokens")
}
LIMIT_LINES: Final = {kind: b"%b: %%d\r\n%b: %%d\r\n%b: %%.3fs\r\n" % names for kind, names in _NAMES.items()}
"""The same as lines of a head, which lack what is told."""
LIMIT_HEADERS: Final = tuple(name.decode() for names in _NAMES.values() for name in names)


def limit_headers(told: Sequence[Left]) -> list[Header]:
    """The headers for each kind of *told*: the limit per minute, what is left of it, and when all is left again."""
    headers: list[Header] = []
    for kind, limit, left, reset_s in told:
        names = _NAMES[kind]
        headers += ((names[0], b"%d" % limit), (names[1], b"%d" % left), (names[2], b"%.3fs" % reset_s))
    return headers
