"""Server-sent events, the framing of streams: https://html.spec.whatwg.org/multipage/server-sent-events.html."""

from __future__ import annotations

from typing import Final

CONTENT_TYPE: Final[bytes] = b"text/event-stream; charset=utf-8"

BEGIN: Final[bytes] = b"data: "
END: Final[bytes] = b"\n\n"
"""An event is its data between BEGIN and END. Encoded JSON has no line feeds, so one line holds it."""

KEEP_ALIVE: Final[bytes] = b": keep-alive\n\n"
"""A comment: it keeps a silent stream's connection open, and clients ignore it."""


def event(data: bytes) -> bytes:
    """Frame *data*, which has no line feed, as one event."""
    return b"data: %b\n\n" % data
