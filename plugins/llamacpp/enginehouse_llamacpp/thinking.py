"""Reasoning between `<think>` and `</think>`, told apart from the answer."""

from __future__ import annotations

from typing import Literal

from .grammar import Grammar

OPENS, CLOSES = "<think>", "</think>"

Part = tuple[Literal["reasoning", "content", "mark"], str]
"""A part of the text; `mark` is what belongs to neither."""

State = Literal["never", "may begin", "inside"]
"""Whether the model reasons: its template has no place for it, the answer may begin with it, it is at it already."""


def state_after(prompt: str, template_has_thinking: bool) -> State:
    """What the end of the rendered *prompt* says."""
    if not template_has_thinking or prompt.rstrip().endswith(CLOSES):
        return "never"
    return "inside" if prompt.rstrip().endswith(OPENS) else "may begin"


def thinking_rule(grammar: Grammar, state: State) -> str:
    """An expression for the reasoning that may stand before an answer; empty if none may."""
    if state == "never":
        return ""
    # One rule for each part of the closing mark that has been read: any other character leads back.
    names = [grammar.reserve() for _ in CLOSES]
    grammar.write(names[0], f'[^<] {names[0]} | "<" {names[1]}')
    for at in range(1, len(CLOSES)):
        onward = f'"{CLOSES[at]}"' if at == len(CLOSES) - 1 else f'"{CLOSES[at]}" {names[at + 1]}'
        grammar.write(names[at], f'"<" {names[1]} | [^{CLOSES[at]}<] {names[0]} | {onward}')
    rest = f"{names[0]} [ \\n]{{0,4}}"
    return rest if state == "inside" else f'("{OPENS}" {rest})?'


class ThinkSplitter:
    """Splits a growing text."""

    def __init__(self, state: State) -> None:
        self._state: Literal["before", "inside", "behind", "after"] = "after"
        if state != "never":
            self._state = "inside" if state == "inside" else "before"
        self._held = ""

    @property
    def is_reasoning(self) -> bool:
        """The text so far ends in reasoning."""
        return self._state == "inside"

    def push(self, text: str) -> list[Part]:
        """Take more text; what may become a mark is held back."""
        if self._state == "after":
            return [("content", text)] if text else []
        text, self._held = self._held + text, ""
        parts: list[Part] = []
        if self._state == "before":
            body = text.lstrip()
            if body.startswith(OPENS):
                at = len(text) - len(body) + len(OPENS)
                parts.append(("mark", text[:at]))
                text, self._state = text[at:], "inside"
            elif OPENS.startswith(body):
                self._held = text
                return parts
            else:
                self._state = "after"
        if self._state == "inside":
            before, mark, behind = text.partition(CLOSES)
            if not mark:
                keep = next((n for n in range(len(CLOSES) - 1, 0, -1) if before.endswith(CLOSES[:n])), 0)
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
