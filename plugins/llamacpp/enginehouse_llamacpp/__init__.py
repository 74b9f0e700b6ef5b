"""llama.cpp behind Enginehouse: the embedded default engine."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Sequence

from enginehouse_plugin import BackendType, Device, hookimpl

from . import devices
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
            formats=("gguf",),
            description="llama.cpp: GGUF models on processors, CUDA, ROCm, Metal and Vulkan",
        )
    ]


@hookimpl
def enginehouse_devices() -> Sequence[Device]:
    """Devices for ROCm and Vulkan, as the llama.cpp that is here sees them."""
    return devices.brought()
