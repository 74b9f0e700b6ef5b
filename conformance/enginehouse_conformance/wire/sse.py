"""A strict parser of server-sent events (WHATWG HTML, 9.2.6) that also keeps what is odd about a stream."""

from __future__ import annotations

import codecs
import re

import msgspec

_LINE_END = re.compile("\r\n|\n|\r")


class SSEEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One event: its data lines joined by newlines, and its name where it has one."""

    data: str
    event: str | None = None
    id: str | None = None


class SSEParser:
    """Feed bytes, take events. `problems` are violations; `comments` and `unknown_fields` are allowed."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self.comments: list[str] = []
        self.unknown_fields: list[str] = []
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="strict")
        self._text = ""
        self._searched = 0  # characters of `_text` that hold no end of a line
        self._data: list[str] = []
        self._event: str | None = None
        self._id: str | None = None
        self._is_first = True

    def feed(self, piece: bytes) -> list[SSEEvent]:
        """Take the next bytes of the stream; return the events that they complete."""
        try:
            self._text += self._decoder.decode(piece)
        except UnicodeDecodeError as exc:
            self.problems.append(f"not UTF-8: {exc.reason} at {exc.object[exc.start : exc.start + 8]!r}")
            self._decoder.reset()
            self._text += piece.decode("utf-8", "replace")
        if self._is_first and self._text:
            self._text = self._text.removeprefix("\ufeff")
            self._is_first = False
        return self._drain()

    def finish(self) -> list[SSEEvent]:
        """The stream has ended: an event without its empty line is a problem, and is not dispatched."""
        if self._decoder.getstate()[0]:
            self.problems.append("the stream ends inside a character")
        if self._text or self._data:
            self.problems.append(f"the stream ends inside an event: {(self._text or self._data[-1])[:60]!r}")
        return []

    def _drain(self) -> list[SSEEvent]:
        events: list[SSEEvent] = []
        start = 0
        while True:
            end = _LINE_END.search(self._text, max(start, self._searched))
            # A CR at the very end may yet be the first half of a CRLF.
            if end is None or (end.group() == "\r" and end.end() == len(self._text)):
                break
            event = self._line(self._text[start : end.start()])
            if event is not None:
                events.append(event)
            start = end.end()
        self._text = self._text[start:]
        self._searched = max(0, len(self._text) - 1)
        return events

    def _line(self, line: str) -> SSEEvent | None:
        if not line:
            return self._dispatch()
        name, colon, value = line.partition(":")
        value = value.removeprefix(" ")
        if not name and colon:
            self.comments.append(value)
        elif name == "data":
            self._data.append(value)
        elif name == "event":
            self._event = value
        elif name == "id":
            self._id = value
        elif name != "retry":
            self.unknown_fields.append(name)
            if not colon:
                self.problems.append(f"a line is no field: {line[:60]!r}")
        return None

    def _dispatch(self) -> SSEEvent | None:
        data, event = self._data, self._event
        self._data, self._event = [], None
        return SSEEvent(data="\n".join(data), event=event, id=self._id) if data else None
