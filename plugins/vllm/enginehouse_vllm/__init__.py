"""vLLM behind Enginehouse: Hugging Face weights on CUDA, with continuous batching."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Sequence

from enginehouse_plugin import BackendType, hookimpl

from .backend import VllmBackend
from .options import VllmOptions

enginehouse_api = "2.0"


@hookimpl
def enginehouse_backends() -> Sequence[BackendType]:
    """Offer the backend `vllm`."""
    return [
        BackendType(
            name="vllm",
            version=importlib.metadata.version("enginehouse-vllm"),
            create=VllmBackend,
            options=VllmOptions,
            kinds=("cuda", "cpu"),
            formats=("safetensors",),
            description="vLLM: Hugging Face weights on CUDA (and, for trials, on processors)",
        )
    ]
