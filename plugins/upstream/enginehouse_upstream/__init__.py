"""OpenAI-compatible servers behind Enginehouse: upstreams."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Sequence

from enginehouse_plugin import BackendType, hookimpl

from .backend import UpstreamBackend
from .options import UpstreamOptions

enginehouse_api = "2.0"


@hookimpl
def enginehouse_backends() -> Sequence[BackendType]:
    """Offer the backend `upstream`."""
    return [
        BackendType(
            name="upstream",
            version=importlib.metadata.version("enginehouse-upstream"),
            create=UpstreamBackend,
            options=UpstreamOptions,
            kinds=(),
            needs_weights=False,
            description="any OpenAI-compatible server, by its URL",
        )
    ]
