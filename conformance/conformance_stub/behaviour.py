"""All seams of the stub in one place.

The plain `Behaviour` is right in everything. A mutant is a subclass that overrides one method, so that it is the
stub with one fault:

    class IgnoresStop(Behaviour):
        def accept(self, request):
            return msgspec.structs.replace(request, stop=())
"""

from __future__ import annotations

from .dialect_parts import DialectParts
from .engine_parts import EngineParts
from .wire_parts import WireParts


class Behaviour(EngineParts, WireParts, DialectParts):
    """How the stub behaves: the engine's parts, the wire's, and those of the endpoints beside chat."""
