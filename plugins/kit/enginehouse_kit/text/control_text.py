"""Texts of control tokens in what users write: taken out before a template is rendered, so that they stay mere text."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import msgspec

from .chat_messages import TemplateMessage

# A stand-in for a control token's text while the template is rendered; these code points are unassigned for ever.
_STAND_IN = "\ufdd0{}\ufdd1"
_STAND_INS = re.compile("\ufdd0([0-9]+)\ufdd1")


class ControlText:
    """Hides the texts of *control_tokens*; one object serves one prompt."""

    def __init__(self, pattern: re.Pattern[str]) -> None:
        self._pattern = pattern
        self._hidden: list[str] = []

    @staticmethod
    def pattern(control_tokens: Iterable[str]) -> re.Pattern[str]:
        """A pattern that finds *control_tokens*, and stand-ins that somebody wrote."""
        longest_first = sorted(control_tokens, key=len, reverse=True)
        return re.compile("|".join([*map(re.escape, longest_first), "[\ufdd0\ufdd1]"]))

    def hide(self, text: str) -> str:
        """*text* with stand-ins."""

        def stand_in(found: re.Match[str]) -> str:
            self._hidden.append(found.group())
            return _STAND_IN.format(len(self._hidden) - 1)

        return self._pattern.sub(stand_in, text)

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
        return msgspec.json.decode(self.hide(raw)) if self._pattern.search(raw) else value

    def pieces(self, rendered: str) -> list[tuple[str, bool]]:
        """The parts of the *rendered* prompt, each with whether it is text of a control token that is mere text."""
        pieces = []
        for at, part in enumerate(_STAND_INS.split(rendered)):
            if at % 2:
                pieces.append((self._hidden[int(part)], True))
            elif part:
                pieces.append((part, False))
        return pieces
