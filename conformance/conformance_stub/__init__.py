"""A correct stub: a small HTTP server and backend with a deterministic toy model that honours every parameter.

It is what the suite is tested on. Mutants are the stub with one method of `Behaviour` replaced.
"""

from __future__ import annotations

from .behaviour import Behaviour
from .engine import CONTEXT_TOKENS, STUB_FEATURES, StubInstance, stub_backend
from .server import StubServer
from .wire_parts import Rejected

__all__ = ["CONTEXT_TOKENS", "STUB_FEATURES", "Behaviour", "Rejected", "StubInstance", "StubServer", "stub_backend"]
