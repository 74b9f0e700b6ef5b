"""Reasoning between two marks (`<think>` and `</think>`, unless a model has others), told apart from the answer."""

from __future__ import annotations

from typing import Literal

OPENS, CLOSES = "<think>", "</think>"

Marks = tuple[str, str]
"""What opens and what closes the reasoning."""

MARKS: Marks = (OPENS, CLOSES)

Part = tuple[Literal["reasoning", "content", "mark"], str]
"""A part of the text; `mark` is what belongs to neither."""

State = Literal["never", "may begin", "inside"]
"""Whether the model reasons: its template has no place for it, the answer may begin with it, it is at it already."""


def state_after(prompt: str, template_has_thinking: bool, marks: Marks = MARKS) -> State:
    """What the end of the rendered *prompt* says."""
    if not template_has_thinking or prompt.rstrip().endswith(marks[1]):
        return "never"
    return "inside" if prompt.rstrip().endswith(marks[0]) else "may begin"


class ThinkSplitter:
    """Splits a growing text."""

    def __init__(self, state: State, marks: Marks = MARKS) -> None:
        self._opens, self._closes = marks
        self._state: Literal["before", "inside", "behind", "after"] = "after"
        if state != "never":
            self._state = "inside" if state == "inside" else "before"
        self._held = ""

    def push(self, text: str) -> list[Part]:
        """Take more text; what may become a mark is held back."""
        if self._state == "after":
            return [("content", text)] if text else []
        text, self._held = self._held + text, ""
        parts: list[Part] = []
        if self._state == "before":
            body = text.lstrip()
            if body.startswith(self._opens):
                at = len(text) - len(body) + len(self._opens)
                parts.append(("mark", text[:at]))
                text, self._state = text[at:], "inside"
            elif self._opens.startswith(body):
                self._held = text
                return parts
            else:
                self._state = "after"
        if self._state == "inside":
            before, mark, behind = text.partition(self._closes)
            if not mark:
                keep = next((n for n in range(len(self._closes) - 1, 0, -1) if before.endswith(self._closes[:n])), 0)
                self._held = before[len(before) - keep :]
                before = before[: len(before) - keep]
            if before:
                parts.append(("reasoning", before))
            if not mark:
                return parts
            parts.append(("mark", mark))
            text, self._state = behind, "behind"
        if self._state == "behind":
            body = text.lstrip()
            if len(body) < len(text):
                parts.append(("mark", text[: len(text) - len(body)]))
            if body:
                self._state = "after"
            text = body
        if text:
            parts.append(("content", text))
        return parts

    def flush(self) -> list[Part]:
        """Give what is held back: the text has ended."""
        held, self._held = self._held, ""
        if not held:
            return []
        return [("reasoning" if self._state == "inside" else "content", held)]
