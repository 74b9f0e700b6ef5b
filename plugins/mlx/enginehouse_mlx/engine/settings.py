"""How the owner of a model works, and how busy it is."""

from __future__ import annotations

import msgspec


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """How the owner works. `token_bytes` is what the KV cache takes for a token."""

    slots: int
    context_tokens: int
    batch_tokens: int
    token_bytes: int
    prefix_cache_bytes: int
    memory_limit_bytes: int | None = None


class Figures(msgspec.Struct, frozen=True):
    """How busy the owner is."""

    running: int
    waiting: int
    cache_used: float
