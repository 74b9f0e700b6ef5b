"""The engines under comparison, each with the same weights, through the contract alone."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.asking import Answer, collected

from enginehouse.plugins import Plugins
from enginehouse_plugin import Device, GenerationRequest, Instance, Placement
from tests.weights import smollm2_gguf_f32, smollm2_hf, tiny_gguf, tiny_hf

CONTEXT_TOKENS = 2048
SLOTS = 4
NOTHING: Mapping[str, Any] = {}
CPU = Device(id="cpu", kind="cpu", name="cpu", memory_bytes=8 << 30)


class Engine(msgspec.Struct, frozen=True, kw_only=True):
    """A backend with its options, and where it finds each model.

    `interpreter` is the environment variable that names the engine's own Python; None: the engine is always here.
    """

    backend: str
    options: dict[str, Any]
    tiny: Callable[[], Path]
    real: Callable[[], Path]
    interpreter: str | None = None
    build: str = ""

    @property
    def missing(self) -> str | None:
        """What must be done before this engine can be tested; None if it is here."""
        if self.interpreter is None or self.interpreter in os.environ:
            return None
        return f"needs the environment of {self.backend} ({self.interpreter} names its Python): {self.build}"

    @property
    def python(self) -> str | None:
        """The engine's own interpreter."""
        return os.environ[self.interpreter] if self.interpreter else None


ENGINES = (
    # Everything in f32: the KV cache too, which llama.cpp would keep in f16.
    Engine(
        backend="llamacpp",
        options={"slots": SLOTS, "cache_type_k": "f32", "cache_type_v": "f32", "reproducible": True},
        tiny=tiny_gguf,
        real=smollm2_gguf_f32,
    ),
    Engine(backend="mlx", options={"slots": SLOTS}, tiny=tiny_hf, real=smollm2_hf),
    Engine(
        backend="vllm",
        options={"max_sequences": SLOTS, "cache_gib": 1},
        tiny=tiny_hf,
        real=smollm2_hf,
        interpreter="ENGINEHOUSE_VLLM_PYTHON",
        build="make test-vllm builds it and runs these tests",
    ),
)
MODELS = {f"tiny/{engine.backend}": engine for engine in ENGINES}
"""As a router names the tiny model of each."""
LOAD_S = 1500.0
"""What a router may take to load them."""


@asynccontextmanager
async def loaded(
    engine: Engine, weights: Path, *, options: Mapping[str, Any] = NOTHING, **fields: Any
) -> AsyncIterator[Instance]:
    """An instance of *engine* with *weights*, unloaded at the end; *options* and *fields* go over the placement's."""
    backend = Plugins.load().backends[engine.backend]
    placement = Placement(
        model="parity",
        backend=engine.backend,
        source=weights.name,
        path=str(weights),
        context_tokens=CONTEXT_TOKENS,
        python=engine.python,
        options=msgspec.convert({**engine.options, **options}, backend.options),
    )
    placement = msgspec.structs.replace(placement, **fields)
    instance = await backend.create().load(placement, (CPU,), lambda _: None)
    try:
        yield instance
    finally:
        await instance.unload()


async def answers(instance: Instance, requests: Iterable[GenerationRequest]) -> list[Answer]:
    """The answers in the order of *requests*, as many at once as the engine has slots."""
    slots = asyncio.Semaphore(SLOTS)

    async def one(request: GenerationRequest) -> Answer:
        async with slots:
            return await collected(instance, request)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(request)) for request in requests]
    return [task.result() for task in tasks]


class Loaded:
    """Engines with the tiny model, each loaded when a test first asks for it, and what they answered."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self._stack = stack
        self._instances: dict[str, Instance] = {}
        self._answered: dict[tuple[str, bytes], Answer] = {}

    async def instance(self, engine: Engine) -> Instance:
        """The one of *engine*; without it the test is skipped."""
        if engine.missing:
            pytest.skip(engine.missing)
        if engine.backend not in self._instances:
            self._instances[engine.backend] = await self._stack.enter_async_context(loaded(engine, engine.tiny()))
        return self._instances[engine.backend]

    async def answers(self, engine: Engine, requests: list[GenerationRequest]) -> list[Answer]:
        """The answers to *requests*; a request that was asked before is not asked again."""
        instance = await self.instance(engine)
        keys = [(engine.backend, msgspec.json.encode(request)) for request in requests]
        new = {key: request for key, request in zip(keys, requests, strict=True) if key not in self._answered}
        found = await answers(instance, new.values())
        self._answered.update(zip(new, found, strict=True))
        return [self._answered[key] for key in keys]


def configured(name: str, engine: Engine) -> str:
    """The model *name* in a router's configuration: the tiny one on *engine*."""
    options = ", ".join(f"{key} = {json.dumps(value)}" for key, value in engine.options.items())
    return f"""
[models."{name}"]
context_tokens = {CONTEXT_TOKENS}

[[models."{name}".placements]]
backend = "{engine.backend}"
source = {json.dumps(str(engine.tiny()))}
options = {{ {options} }}
{f"python = {json.dumps(engine.python)}" if engine.python else ""}
"""
