"""Answers that begin alike: an engine's heads differ in the body's length, and in the time where they tell it.

An answer that came whole in one read is remembered by its head, and the next that has the same is taken without
a parser.
"""

from __future__ import annotations

import re

from .exchange import Incoming

_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]+)[ \t]*\r\n", re.IGNORECASE)
_NAME = b"content-length"
_END = b"\r\n\r\n"
_MOST_BYTES = 4096
_MOST_DIGITS = 18


class Likeness:
    """A head in its bytes, but for the digits of the body's length, and what was read in it."""

    __slots__ = ("_after", "_before", "_raw_headers", "_status")

    def __init__(self, incoming: Incoming, before: bytes, after: bytes) -> None:
        self._status = incoming.status
        self._raw_headers = [header for header in incoming.raw_headers if header[0].lower() != _NAME]
        self._before = before
        self._after = after

    def fill(self, incoming: Incoming, data: bytes) -> bool:
        """Fill *incoming* if *data* is one whole answer with this head; returns whether it is."""
        if not data.startswith(self._before):
            return False
        start = len(self._before)
        end = data.find(b"\r", start, start + _MOST_DIGITS)
        digits = data[start:end]
        if not digits.isdigit() or not data.startswith(self._after, end):
            return False
        body = data[end + len(self._after) :]
        if len(body) != int(digits):
            return False
        incoming.status = self._status
        incoming.raw_headers = [*self._raw_headers, (_NAME, digits)]
        incoming.chunks.append(body)
        incoming.buffered_bytes = len(body)
        return True


def likeness_of(incoming: Incoming, data: bytes) -> Likeness | None:
    """Remember the head of *incoming*, which *data* filled; None: its body does not go by a length that it tells."""
    length = incoming.buffered_bytes
    raw = data[:-length] if length else b""
    if not raw or len(raw) > _MOST_BYTES or raw.find(_END) != len(raw) - len(_END):
        return None
    told = _LENGTH.search(raw)
    if told is None or int(told[1]) != length:
        return None
    return Likeness(incoming, raw[: told.start(1)], raw[told.end(1) :])
