"""The tiny random model, and the environment with vLLM, without which the tests of the engine are skipped."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from enginehouse_conformance import BackendTarget, read_declared
from enginehouse_plugin import Device, Placement
from enginehouse_vllm.environment import PYTHON_VARIABLE
from enginehouse_vllm.instance import VllmInstance
from enginehouse_vllm.options import VllmOptions
from tests.weights import tiny_hf

from .hosted import Hosted

CPU = Device(id="cpu", kind="cpu", name="cpu", memory_bytes=8 << 30)
CONTEXT_TOKENS = 2048
FEATURES = Path(__file__).parents[3] / "conformance/reports/features.toml"

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
            source="tiny-hf" if path == tiny else path.name,
            path=str(path),
            context_tokens=context_tokens,
            python=python,
            options=VllmOptions(**{"max_sequences": 4, "cache_gib": 1, **options}),
        )

    return place


@pytest.fixture(scope="session")
def hosted(placement: Place, engine_python: str) -> Iterator[Hosted]:
    """The tiny model in f32, four sequences at once."""
    engine = Hosted(placement(python=engine_python), (CPU,))
    try:
        yield engine
    finally:
        engine.close()


@pytest_asyncio.fixture
async def model(hosted: Hosted) -> AsyncIterator[VllmInstance]:
    """The shared engine, for one test."""
    instance = hosted.attach()
    try:
        yield instance
    finally:
        await instance.unload()


@pytest.fixture(scope="session")
def conformance_target(hosted: Hosted, placement: Place) -> BackendTarget:
    """The shared engine, with the declaration that every engine shares."""
    return BackendTarget(hosted.backend(), placement(), declared=read_declared(FEATURES), hardware="2 cores, CPU")
