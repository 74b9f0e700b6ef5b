"""Engines that Enginehouse has plugins for, known also where these are not installed."""

from __future__ import annotations

import msgspec

from enginehouse_plugin import DeviceKind


class KnownEngine(msgspec.Struct, frozen=True, kw_only=True):
    """The backend's name, the engine's, what to install for it, and the kinds of device it runs on, the best first."""

    backend: str
    engine: str
    requirement: str
    kinds: tuple[DeviceKind, ...]


KNOWN_ENGINES = {
    known.backend: known
    for known in (
        KnownEngine(
            backend="llamacpp",
            engine="llama.cpp",
            requirement="enginehouse-llamacpp[engine]",
            kinds=("cuda", "rocm", "apple", "vulkan", "cpu"),
        ),
        KnownEngine(backend="mlx", engine="MLX", requirement="enginehouse-mlx[engine]", kinds=("apple", "cpu")),
        # Without the engine, which has an environment of its own: the plugin then says how to make one.
        KnownEngine(backend="vllm", engine="vLLM", requirement="enginehouse-vllm", kinds=("cuda", "cpu")),
    )
}
