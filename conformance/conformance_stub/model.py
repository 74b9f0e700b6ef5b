"""The toy model: logits that depend on the whole prefix, and on nothing else."""

from __future__ import annotations

import random
from collections.abc import Iterable
from functools import lru_cache

from . import vocabulary

_MASK = (1 << 61) - 1
_NOISE = 2.5
_CLEAR_GAP = 0.5


def start() -> int:
    """The state before any token."""
    return 0x5EED


def feed(state: int, tokens: Iterable[int]) -> int:
    """The state after *tokens*."""
    for token in tokens:
        state = ((state ^ (token + 1)) * 0x9E3779B97F4A7C15 + 0x632BE59BD9B4E019) & _MASK
    return state


def _prose() -> list[float]:
    base = [-60.0] * vocabulary.SIZE
    for token in range(32, 127):
        base[token] = -4.0
    for char in b"abcdefghijklmnopqrstuvwxyz ":
        base[char] = -0.5
    for token in range(256, vocabulary.EOS):
        base[token] = 2.5
    base[ord("\n")] = 0.5
    return base


def _structured() -> list[float]:
    base = _prose()
    for char in b'"}]':
        base[char] = 4.5
    for char in b"0123456789truefalsn,:{[-":
        base[char] = 1.5
    for token in range(128, 256):
        base[token] = -9.0
    base[ord("\\")] = -9.0
    return base


_PROSE, _STRUCTURED = _prose(), _structured()


@lru_cache(maxsize=20_000)
def logits(state: int, position: int, is_structured: bool) -> tuple[float, ...]:
    """Raw logits after *position* tokens of output.

    The end grows likelier with the position. The likeliest token leads clearly, so that no greedy answer is a tie.
    A model that is asked for JSON leans to JSON, as real ones do.
    """
    rng = random.Random(state)  # noqa: S311  # a toy model
    base = _STRUCTURED if is_structured else _PROSE
    values = [value + _NOISE * (2 * rng.random() - 1) for value in base]
    values[vocabulary.EOS] = -7.0 + 0.08 * position
    values[values.index(max(values))] += _CLEAR_GAP
    return tuple(values)
