"""Logprobs of a token as the engine has them."""

from __future__ import annotations

import msgspec


class RawLogprobs(msgspec.Struct, frozen=True, gc=False):
    """Logprobs of a sampled token, from raw logits: its own, and (id, logprob) of the likeliest, sorted."""

    logprob: float
    top: tuple[tuple[int, float], ...]
