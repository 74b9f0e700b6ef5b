"""What plugins would offer that are not installed here: all that the router knows of engines by name."""

from __future__ import annotations

from collections.abc import Container
from typing import Final

import msgspec

from enginehouse_plugin import DeviceKind


class AbsentBackend(msgspec.Struct, frozen=True, kw_only=True):
    """A backend, its engine, what to install for it, the kinds of device it runs on, the best first, and the formats of
    weights that it loads.
    """

    name: str
    engine: str
    requirement: str
    kinds: tuple[DeviceKind, ...]
    formats: tuple[str, ...]


_TABLE: Final = (
    AbsentBackend(
        name="llamacpp",
        engine="llama.cpp",
        requirement="enginehouse-llamacpp[engine]",
        kinds=("cuda", "rocm", "apple", "vulkan", "cpu"),
        formats=("gguf",),
    ),
    AbsentBackend(
        name="mlx",
        engine="MLX",
        requirement="enginehouse-mlx[engine]",
        kinds=("apple", "cpu"),
        formats=("safetensors",),
    ),
    # Without the engine, which has an environment of its own: the plugin then says how to make one.
    AbsentBackend(
        name="vllm", engine="vLLM", requirement="enginehouse-vllm", kinds=("cuda", "cpu"), formats=("safetensors",)
    ),
    AbsentBackend(
        name="upstream", engine="an OpenAI-compatible server", requirement="enginehouse-upstream", kinds=(), formats=()
    ),
)


def absent_backends(installed: Container[str] = ()) -> dict[str, AbsentBackend]:
    """Backends by their name that a plugin would offer, without those *installed*."""
    return {backend.name: backend for backend in _TABLE if backend.name not in installed}
