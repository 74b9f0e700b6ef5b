"""A request without what a model lacks."""

from __future__ import annotations

import msgspec

from enginehouse_plugin import Chat, GenerationRequest
from enginehouse_plugin.errors import UnsupportedFeature

_SILENT = GenerationRequest(id="", prompt=Chat(()))


def without(request: GenerationRequest, lack: UnsupportedFeature) -> GenerationRequest:
    """Return *request* as it would be without the field that *lack* is about."""
    field = str(lack.param)
    return msgspec.structs.replace(request, **{field: getattr(_SILENT, field)})
