"""From tokens to text: whole characters only, stop strings found in text, held-back text released in the end."""

from __future__ import annotations

import codecs

from enginehouse_plugin import TokenLogprob


class TextOutput:
    """The text of one choice as it grows.

    `push` takes a token's bytes and its entry; it returns what may be sent. Text that may be the beginning of a
    stop string is held back; entries travel with the first piece of their text.
    """

    def __init__(self, stops: tuple[str, ...]) -> None:
        self._stops = stops
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._held = ""
        self._sent_bytes = 0
        self._fed_bytes = 0
        self._entries: list[tuple[int, TokenLogprob]] = []
        self.matched: str | None = None

    def push(self, data: bytes, entry: TokenLogprob | None) -> tuple[str, tuple[TokenLogprob, ...]]:
        """Text and entries that may be sent after *data*; `matched` tells whether a stop string came."""
        if entry is not None:
            self._entries.append((self._fed_bytes, entry))
        self._fed_bytes += len(data)
        self._held += self._decoder.decode(data)
        found = [(at, stop) for stop in self._stops if (at := self._held.find(stop)) >= 0]
        if found:
            at, self.matched = min(found)
            self._held = self._held[:at]
            return self._send(at)
        return self._send(len(self._held) - self._possible_stop())

    def finish(self) -> tuple[str, tuple[TokenLogprob, ...]]:
        """What was held back, because no stop string came of it."""
        if self.matched is None:
            self._held += self._decoder.decode(b"", final=True)
        return self._send(len(self._held))

    def _possible_stop(self) -> int:
        """Length of the longest end of the held text that begins a stop string."""
        longest = 0
        for stop in self._stops:
            for length in range(min(len(stop) - 1, len(self._held)), longest, -1):
                if self._held.endswith(stop[:length]):
                    longest = length
                    break
        return longest

    def _send(self, chars: int) -> tuple[str, tuple[TokenLogprob, ...]]:
        text, self._held = self._held[:chars], self._held[chars:]
        self._sent_bytes += len(text.encode())
        ready = tuple(entry for start, entry in self._entries if start < self._sent_bytes)
        self._entries = [(start, entry) for start, entry in self._entries if start >= self._sent_bytes]
        return text, ready
