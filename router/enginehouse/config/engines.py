"""Engines that Enginehouse has plugins for, known also where these are not installed."""

from __future__ import annotations

import msgspec

from enginehouse_plugin import DeviceKind


class KnownEngine(msgspec.Struct, frozen=True, kw_only=True):
    """The backend's name, the engine's, the distribution that adds it, and the kinds of device it runs on."""

    backend: str
    engine: str
    distribution: str
    kinds: tuple[DeviceKind, ...]

    @property
    def requirement(self) -> str:
        """What to install for the plugin and its engine."""
        return f"{self.distribution}[engine]"


KNOWN_ENGINES = {
    known.backend: known
    for known in (
        KnownEngine(
            backend="llamacpp",
            engine="llama.cpp",
            distribution="enginehouse-llamacpp",
            kinds=("cuda", "apple", "cpu"),
        ),
        KnownEngine(backend="mlx", engine="MLX", distribution="enginehouse-mlx", kinds=("apple", "cpu")),
        KnownEngine(backend="vllm", engine="vLLM", distribution="enginehouse-vllm", kinds=("cuda", "cpu")),
    )
}
