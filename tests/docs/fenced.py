"""Fenced blocks of a Markdown page."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]

_BLOCK = re.compile(
    r"^(?:<!-- (?P<kind>\w+): (?P<value>.+?) -->\n)?```(?P<language>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)


class Block(NamedTuple):
    """A block, the comment before it (`<!-- kind: value -->`), and the line on which its text begins."""

    language: str
    text: str
    line: int
    kind: str | None
    value: str | None


def blocks(page: str) -> list[Block]:
    """All fenced blocks of *page*, a path below the project's root."""
    text = (ROOT / page).read_text()
    return [
        Block(
            match["language"],
            match["text"],
            text.count("\n", 0, match.start("text")) + 1,
            match["kind"],
            match["value"],
        )
        for match in _BLOCK.finditer(text)
    ]
