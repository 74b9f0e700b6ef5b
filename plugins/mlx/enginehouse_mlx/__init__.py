"""MLX behind Enginehouse: models in safetensors on Apple silicon, and on Linux processors."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Sequence

from enginehouse_plugin import BackendType, hookimpl

from .backend import MlxBackend
from .options import MlxOptions

enginehouse_api = "2.0"


@hookimpl
def enginehouse_backends() -> Sequence[BackendType]:
    """Offer the backend `mlx`."""
    return [
        BackendType(
            name="mlx",
            version=importlib.metadata.version("enginehouse-mlx"),
            create=MlxBackend,
            options=MlxOptions,
            kinds=("apple", "cpu"),
            formats=("safetensors",),
            description="MLX: safetensors models on Apple silicon and on processors",
        )
    ]
