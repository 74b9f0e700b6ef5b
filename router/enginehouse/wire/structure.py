"""How much a body holds, and how deep it goes, seen without decoding any of it.

Whatever reads a body takes time by its values far more than by its bytes: sixteen megabytes of text are decoded in
milliseconds, as many of empty arrays in seconds. So values are what a body has a budget of, and all that is done with
a body afterwards is bounded by it.
"""

from __future__ import annotations

import time
from typing import Final

from enginehouse_plugin.errors import InvalidRequest

MAX_DEPTH: Final = 128
"""Most levels of arrays and objects in a body."""
MAX_BODY_VALUES: Final = 1 << 17
"""Most values of any kind in a body, nested ones included."""
_BYTES_OF_A_VALUE: Final = 2  # an item and its comma
_AT_ONCE: Final = 1 << 20  # one call of the interpreter's own holds its lock to the end
_SOUGHT_AT_ONCE: Final = 1 << 17  # to find several bytes takes far longer than to count one
_OTHERS_S: Final = 1e-9  # for each byte of what held it: about as long as that took
_ONE_KIND: Final = bytes.maketrans(b"{}", b"[]")
_NO_BRACKETS: Final = bytes(range(256)).translate(None, b"[]{}")
_SURELY_SMALL: Final = MAX_BODY_VALUES * _BYTES_OF_A_VALUE


def check_values(body: bytes) -> None:
    """Refuse a body with more than `MAX_BODY_VALUES` values, in time linear in its bytes.

    Raises:
        InvalidRequest: it has more.
    """
    if len(body) <= _SURELY_SMALL or _most_values(body) <= MAX_BODY_VALUES:
        return
    body = _without_escapes(body)
    if count(body, b'"') > 4 * MAX_BODY_VALUES or _most_values(_outside_strings(body)) > MAX_BODY_VALUES:
        raise InvalidRequest(
            f"The body holds more than {MAX_BODY_VALUES} values, nested ones included. Make it smaller.",
            param=None,
            code="too_large",
        )


def is_too_deep(body: bytes) -> bool:
    """Whether *body*, which passes `check_values`, has more than `MAX_DEPTH` levels, be it JSON or not.

    For bodies that are refused: how deep a decoder goes until it gives up depends on Python's version.
    """
    if count(body, b"[") + count(body, b"{") <= MAX_DEPTH:
        return False
    brackets = _outside_strings(_without_escapes(body)).translate(_ONE_KIND, _NO_BRACKETS)
    for _ in range(MAX_DEPTH):  # the innermost level of each goes
        brackets = brackets.replace(b"[]", b"")
    return b"[]" in brackets or brackets.count(b"[") > MAX_DEPTH


def count(text: bytes, part: bytes) -> int:
    """Count *part*, of one byte, in *text*; other threads have their turns meanwhile."""
    return sum(text.count(part, at, at + _AT_ONCE) for at in range(0, len(text), _AT_ONCE))


def holds(text: bytes, part: bytes) -> bool:
    """Whether *part* is in *text*; other threads have their turns meanwhile."""
    if len(text) <= _SOUGHT_AT_ONCE:
        return text.find(part) >= 0  # `in` takes bytes for a number first, and makes an error of that
    size = _SOUGHT_AT_ONCE
    return any(text.find(part, at, at + size + len(part)) >= 0 for at in range(0, len(text), size))


def let_others(size: int) -> None:
    """Let other threads go on where a call with text of *size* bytes has just held the interpreter's lock for long.

    Who waits for the lock gets it for a moment, and the event loop needs it several times for one answer: between two
    such calls it would wait for the next one, too. What is as large is never worked on by the loop itself.
    """
    if size > _AT_ONCE:
        time.sleep(size * _OTHERS_S)


def _without_escapes(body: bytes) -> bytes:
    """*body* with no quote in it but those around strings."""
    for escaped in (b"\\\\", b'\\"'):
        body = body.replace(escaped, b"")
        let_others(len(body))
    return body


def _outside_strings(body: bytes) -> bytes:
    """What stands outside of strings: texts may hold as many commas and brackets as they like."""
    return b"".join(body.split(b'"')[::2])


def _most_values(text: bytes) -> int:
    """The values of *text*, if no string of it holds what stands between values, else more."""
    return count(text, b",") + count(text, b"[") + count(text, b"{") + 1
