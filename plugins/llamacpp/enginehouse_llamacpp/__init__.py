"""llama.cpp behind Enginehouse: the embedded default engine."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Sequence

from enginehouse_plugin import BackendType, hookimpl

from .backend import LlamaCppBackend
from .options import LlamaCppOptions

enginehouse_api = "2.0"


@hookimpl
def enginehouse_backends() -> Sequence[BackendType]:
    """Offer the backend `llamacpp`."""
    return [
        BackendType(
            name="llamacpp",
            version=importlib.metadata.version("enginehouse-llamacpp"),
            create=LlamaCppBackend,
            options=LlamaCppOptions,
            kinds=("cuda", "rocm", "apple", "vulkan", "cpu"),
            description="llama.cpp: GGUF models on processors, CUDA and Metal",
        )
    ]
