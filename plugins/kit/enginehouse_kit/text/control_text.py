"""Texts of control tokens in what users write: taken out before a template is rendered, so that they stay mere text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from .chat_messages import TemplateMessage

# A stand-in for a control token's text while the template is rendered; these code points are unassigned for ever.
_STAND_IN = "\ufdd0{}\ufdd1"
_STAND_INS = re.compile("\ufdd0([0-9]+)\ufdd1")


_WINDOW_CHARS = 64 * 1024
"""Searched in one go. Other threads wait meanwhile, 10 ms for text that looks like control tokens everywhere."""


class ControlFinder:
    """Finds the *texts* of control tokens, and stand-ins that somebody wrote."""

    def __init__(self, texts: Iterable[str]) -> None:
        longest_first = sorted(texts, key=len, reverse=True)
        # Each alternative begins with a literal: so `re` looks for their first characters alone, 25 times as fast.
        self._pattern = re.compile("|".join([*map(re.escape, longest_first), "\ufdd0", "\ufdd1"]))
        self._longest = max(map(len, longest_first), default=1)

    def search(self, text: str, at: int = 0) -> re.Match[str] | None:
        """The first of them in *text* behind the place *at*."""
        while at < len(text):
            end = at + _WINDOW_CHARS
            match = self._pattern.search(text, at, end + self._longest - 1)
            if match is not None and match.start() < end:
                return match
            at = end
        return None

    def found(self, text: str) -> Iterator[re.Match[str]]:
        """All of them in *text*, in order."""
        match = self.search(text)
        while match is not None:
            yield match
            match = self.search(text, match.end())


class ControlText:
    """Hides the texts of control tokens that *finder* finds; one object serves one prompt."""

    def __init__(self, finder: ControlFinder) -> None:
        self._finder = finder
        self._hidden: list[str] = []

    def hide(self, text: str) -> str:
        """*text* with stand-ins."""
        parts, at = [], 0
        for found in self._finder.found(text):
            parts += [text[at : found.start()], _STAND_IN.format(len(self._hidden))]
            self._hidden.append(found.group())
            at = found.end()
        return "".join([*parts, text[at:]]) if parts else text

    def hide_in_message(self, message: TemplateMessage) -> TemplateMessage:
        """*message* with stand-ins."""
        return msgspec.structs.replace(
            message,
            content=self.hide(message.content),
            reasoning_content=self.hide(message.reasoning_content) if message.reasoning_content else None,
            tool_calls=self.hide_in_json(message.tool_calls) if message.tool_calls else None,
        )

    def hide_in_json(self, value: Any) -> Any:  # Any: JSON
        """JSON *value* with stand-ins in its strings."""
        raw = msgspec.json.encode(value).decode()
        hidden = self.hide(raw)
        return value if hidden is raw else msgspec.json.decode(hidden)

    def pieces(self, rendered: str) -> list[tuple[str, bool]]:
        """The parts of the *rendered* prompt, each with whether it is text of a control token that is mere text."""
        pieces = []
        for at, part in enumerate(_STAND_INS.split(rendered)):
            if at % 2:
                pieces.append((self._hidden[int(part)], True))
            elif part:
                pieces.append((part, False))
        return pieces
