"""The tiny random model, and the environment with vLLM, without which the tests of the engine are skipped."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from enginehouse_plugin import Device, Placement
from enginehouse_vllm.environment import PYTHON_VARIABLE
from enginehouse_vllm.options import VllmOptions
from tests.weights import tiny_hf

CPU = Device(id="cpu", kind="cpu", name="cpu", memory_bytes=8 << 30)
CONTEXT_TOKENS = 2048

Place = Callable[..., Placement]


@pytest.fixture(scope="session")
def tiny() -> Path:
    """A random model in f32 with a real tokenizer."""
    return tiny_hf()


@pytest.fixture(scope="session")
def engine_python() -> str:
    """The interpreter that vLLM is installed for."""
    python = os.environ.get(PYTHON_VARIABLE)
    if python is None:
        pytest.skip("needs vLLM's environment for processors: make test-vllm builds it and runs these tests")
    return python


@pytest.fixture(scope="session")
def placement(tiny: Path) -> Place:
    """`placement(path, python, context_tokens, **options)` on the tiny model, unless *path* names another."""

    def place(
        path: Path = tiny, *, python: str | None = None, context_tokens: int | None = CONTEXT_TOKENS, **options: Any
    ) -> Placement:
        return Placement(
            model="tiny",
            backend="vllm",
            source=path.name,
            path=str(path),
            context_tokens=context_tokens,
            python=python,
            options=VllmOptions(**{"max_sequences": 4, "cache_gib": 1, **options}),
        )

    return place
