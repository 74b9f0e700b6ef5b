"""Answers that are alike: an engine's heads differ in the body's length, and in the time where they tell it, and most
chunks of a stream in their text.

An answer that came whole in one read is remembered by its head, and the next that has the same is taken without
a parser; so is a read that is one chunk of HTTP's and nothing else. A chunk of a stream is remembered by what stands
around its text, and the next that has the same is not decoded.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from .exchange import Incoming

_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]+)[ \t]*\r\n", re.IGNORECASE)
_NAME = b"content-length"
_END = b"\r\n\r\n"
_MOST_BYTES = 4096
_MOST_DIGITS = 18
_QUOTE: Final = 0x22
_BACKSLASH: Final = 0x5C
_LF: Final = 0x0A
_SIZES: Final = {b"%x" % size: size for size in range(1, 4096)}
"""Sizes of chunks as most servers write them. All else is for the parser to judge."""
_OTHER = "other"


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


def body_of_chunk(data: bytes) -> bytes | None:
    """The body of *data*, if that is exactly one chunk."""
    at = data.find(b"\r", 1, 4)
    size = _SIZES.get(data[:at]) if at > 0 else None
    if size is None or len(data) != at + size + 4 or data[at + 1] != _LF or data[-2:] != b"\r\n":
        return None
    return data[at + 2 : -2]


class TextLikeness:
    """A chunk of a stream in its bytes, but for its text: what stands *before* and *after* that."""

    __slots__ = ("_after", "_before", "_least_bytes")

    def __init__(self, before: bytes, after: bytes) -> None:
        self._before = before
        self._after = after
        self._least_bytes = len(before) + len(after)

    def text_of(self, payload: bytes) -> str | None:
        """The text of *payload*, if that is surely such a chunk. What JSON escapes, or may not hold, is left to others.

        Raises:
            UnicodeDecodeError: it is not UTF-8.
        """
        if len(payload) <= self._least_bytes:
            return None
        if not payload.startswith(self._before) or not payload.endswith(self._after):
            return None
        quoted = payload[len(self._before) : -len(self._after)]
        if _QUOTE in quoted or _BACKSLASH in quoted:
            return None
        text = quoted.decode()
        return text if text.isprintable() else None


def text_likeness(payload: bytes, text: str, read: Callable[[bytes], str | None]) -> TextLikeness | None:
    """Remember *payload*, in which *read* found *text*; None: where it stands cannot be told.

    That it stands there is tried: with another text in that place *read* must find the other one.
    """
    if not text.isprintable():
        return None
    quoted = b'"%b"' % text.encode()
    at = payload.find(quoted)
    if at < 0:
        return None
    before, after = payload[: at + 1], payload[at + len(quoted) - 1 :]
    return TextLikeness(before, after) if read(before + _OTHER.encode() + after) == _OTHER else None
