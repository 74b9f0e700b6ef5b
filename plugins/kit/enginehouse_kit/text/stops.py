"""Stop strings matched in text, wherever the pieces of the text are split."""

from __future__ import annotations

from collections.abc import Sequence


class StopMatcher:
    """Cuts a growing text before the first stop string in it, and holds back what may become one.

    The stop string that is complete first ends the text; of several that end at the same character the
    longest. So the result does not depend on how the text is split.
    """

    __slots__ = ("_held", "_stops", "matched")

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stop for stop in stops if stop)
        self._held = ""
        self.matched: str | None = None
        """The stop string that ended the text."""

    def push(self, text: str) -> tuple[str, str | None]:
        """Take more text; the text that can be passed on now, and the stop string if one is complete.

        After a match nothing more is passed on.
        """
        if self.matched is not None:
            return "", self.matched
        if not self._stops:
            return text, None
        text = self._held + text
        end = start = len(text) + 1
        for stop in self._stops:
            at = text.find(stop)
            if at >= 0 and (at + len(stop), at) < (end, start):
                end, start, self.matched = at + len(stop), at, stop
        if self.matched is not None:
            self._held = ""
            return text[:start], self.matched
        keep_from = min(self._beginning(text, stop) for stop in self._stops)
        self._held = text[keep_from:]
        return text[:keep_from], None

    def flush(self) -> str:
        """Give what is held back: the text has ended without a match."""
        held, self._held = self._held, ""
        return held

    @staticmethod
    def _beginning(text: str, stop: str) -> int:
        """Where the longest end of *text* that *stop* begins with starts; the length of *text* if none does."""
        at = text.find(stop[0], max(0, len(text) - len(stop) + 1))
        while at >= 0:
            if stop.startswith(text[at:]):
                return at
            at = text.find(stop[0], at + 1)
        return len(text)
