"""Who asks, and what it took: keys, counts and usage."""

from __future__ import annotations

from .keys import KeyRing, Unauthorized, hash_secret, new_secret
from .trace import Trace

__all__ = ["KeyRing", "Trace", "Unauthorized", "hash_secret", "new_secret"]
