"""Whether a text is the beginning of some JSON: what a constrained answer is that max_tokens cut short."""

from __future__ import annotations

import json
from typing import NoReturn

_ESCAPES = ("", "n", "0", "00", "000", "0000")  # what a cut escape sequence may lack
_REST = (
    "", '"', '":0', ":0", "0", '"":0', "rue", "ue", "e", "alse", "lse", "se", "ull", "ll", "l",
)  # fmt: skip


def begins_json(text: str) -> bool:
    """Whether something can follow *text* that makes it JSON. Tried, not parsed: what may follow is a short list."""
    closers = _closers(text)
    return any(_is_json(text + escape + rest + closers) for escape in _ESCAPES for rest in _REST)


def _closers(text: str) -> str:
    """The brackets that close what is open at the end of *text*."""
    open_brackets = []
    is_quoted = is_escaped = False
    for char in text:
        if is_quoted:
            is_quoted = is_escaped or char != '"'
            is_escaped = char == "\\" and not is_escaped
        elif char == '"':
            is_quoted = True
        elif char in "{[":
            open_brackets.append("}" if char == "{" else "]")
        elif char in "}]" and open_brackets:
            open_brackets.pop()
    return "".join(reversed(open_brackets))


def _is_json(text: str) -> bool:
    try:
        json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return False
    return True


def _refuse(name: str) -> NoReturn:
    raise ValueError(name)
