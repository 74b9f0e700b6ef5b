"""The toy tokenizer: a token for each byte, some words, and the marks of the chat template."""

from __future__ import annotations

import re

_WORDS = (
    " the", " a", " and", " of", " light", " lighthouse", " house", " sea", " old", " keeper", " story", " night",
    " was", " in", " to", " wind", " stone", " said", " ship", " storm", " over", " under", " never", " always",
    " blue", " quiet", "ing", "ed", "er", "ly", "th", "qu", "ight", "tion", ".\n", ", ", ". ", "The", "And",
    " ocean", " amber", " maple", " river", " song", " clock", " window", " winter", " summer", " letter", " road",
)  # fmt: skip

_BYTES = 256
WORDS: tuple[bytes, ...] = tuple(word.encode() for word in _WORDS)
EOS = _BYTES + len(WORDS)
TURN = EOS + 1
END_TURN = EOS + 2
SIZE = EOS + 3
SPECIALS = {TURN: "<|turn|>", END_TURN: "<|end|>", EOS: "<|eos|>"}

_TEXTS: tuple[bytes, ...] = (
    *(bytes([value]) for value in range(_BYTES)),
    *WORDS,
    b"",
    b"",
    b"",
)
_IDS = {text: token for token, text in enumerate(_TEXTS) if text}
_PIECES = re.compile(b"|".join([*map(re.escape, sorted(WORDS, key=len, reverse=True)), b"."]), re.DOTALL)


def text_of(token: int) -> bytes:
    """The bytes of *token*; none for the marks."""
    return _TEXTS[token]


def name_of(token: int) -> str:
    """The text of *token* as log probabilities tell it."""
    return SPECIALS.get(token) or _TEXTS[token].decode("utf-8", "replace")


def encode(text: str) -> list[int]:
    """Token ids of *text*: the longest word that fits, else a byte. Marks written out in a text stay text."""
    return [_IDS[piece] for piece in _PIECES.findall(text.encode())]
