"""The engines of this repository on weights that all of them have, as targets of the conformance suite."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import msgspec
from tests.integration.served import Served

import enginehouse_llamacpp
import enginehouse_mlx
import enginehouse_vllm
from enginehouse.dialects.profiles import built_in
from enginehouse_conformance import ENDPOINTS, BackendTarget, Declared, Target, UrlTarget, read_declared
from enginehouse_plugin import BackendType, Device, Placement, Profile
from enginehouse_vllm.environment import PYTHON_VARIABLE
from tests.weights import rank_gguf, rank_hf, smollm2_gguf_f32, smollm2_hf, tiny_gguf, tiny_hf

ROOT = Path(__file__).parents[2]
REPORTS = ROOT / "conformance/reports"
WANTED: Declared = read_declared(REPORTS / "features.toml")
"""What every engine must declare, written down before the runs."""
BESIDE: dict[str, frozenset[str]] = {"mlx": frozenset({"min_tokens"}), "vllm": frozenset({"min_tokens"})}
"""What an engine must declare beside that."""

Weights = Literal["tiny", "real"]
Way = Literal["contract", "http", "endpoints", "embeddings", "rerank"]
"""How an engine is asked: its plugin under the contract, the whole server over HTTP, of that all endpoints but chat
that a model which generates has, or that of models for vectors, or of rerankers."""
TASKS: dict[Way, str] = {"embeddings": "embed", "rerank": "rerank"}

MODELS: dict[Weights, str] = {"tiny": "tiny", "real": "smollm2-135m-f32"}
CONTEXT_TOKENS: dict[Weights, int] = {"tiny": 2048, "real": 8192}
CONTEXT_OF_TEXTS = 512
_OWN = "openai"
_SLOTS = 4
_READY_S = 900.0
_VLLM_PYTHON = ROOT / ".cache/vllm-venv/bin/python"


class Missing(Exception):
    """An engine that is not here; the message says what it needs."""


class Engine(msgspec.Struct, frozen=True, kw_only=True):
    """An engine: its plugin's backend, its form of the weights, and options for four sequences in float32.

    `python` names the interpreter that the engine is installed for, where that is another than this one; it raises
    `Missing` where there is none.
    """

    title: str
    backends: Callable[[], Sequence[BackendType]]
    paths: dict[Weights, Callable[[], Path]]
    options: dict[str, Any]  # what each backend has for it
    ranks: Callable[[], Path] | None = None
    python: Callable[[], str | None] = lambda: None


def _python_with_vllm() -> str:
    if named := os.environ.get(PYTHON_VARIABLE):
        return named
    if not _VLLM_PYTHON.exists():
        raise Missing("needs vLLM's environment for processors: make vllm-env")
    return str(_VLLM_PYTHON)


ENGINES: dict[str, Engine] = {
    "llamacpp": Engine(
        title="llama.cpp",
        backends=enginehouse_llamacpp.enginehouse_backends,
        paths={"tiny": tiny_gguf, "real": smollm2_gguf_f32},
        options={"slots": _SLOTS, "reproducible": True},
        ranks=rank_gguf,
    ),
    "mlx": Engine(
        title="MLX",
        backends=enginehouse_mlx.enginehouse_backends,
        paths={"tiny": tiny_hf, "real": smollm2_hf},
        options={"slots": _SLOTS, "dtype": "float32"},
    ),
    "vllm": Engine(
        title="vLLM",
        backends=enginehouse_vllm.enginehouse_backends,
        paths={"tiny": tiny_hf, "real": smollm2_hf},
        options={"max_sequences": _SLOTS, "cache_gib": 1, "dtype": "float32"},
        ranks=rank_hf,
        python=_python_with_vllm,
    ),
}


def folder_of(engine: str, weights: Weights, way: Way, profile: str = _OWN) -> str:
    """The name of the folder of a run's report."""
    folder = f"{engine}-{weights}" if way == "contract" else f"{engine}-{weights}-{way}"
    return folder if profile == _OWN else f"{folder}-{profile}"


def endpoints_of(way: Way) -> frozenset[str] | None:
    """The endpoints that a run asks; None: those of its profile."""
    if way in ENDPOINTS:
        return frozenset({way})
    return frozenset(name for name, one in ENDPOINTS.items() if not one.has_task) if way == "endpoints" else None


def declared_of(name: str, weights: Weights, way: Way) -> Declared:
    """What the engine called *name* must declare."""
    if way in TASKS:
        return Declared(context_tokens=CONTEXT_OF_TEXTS, unknown_fields=WANTED.unknown_fields)
    features = frozenset(WANTED.present()) | BESIDE.get(name, frozenset())
    return msgspec.structs.replace(WANTED, features=features, context_tokens=CONTEXT_TOKENS[weights])


@contextmanager
def target_of(name: str, weights: Weights, way: Way, profile: str = _OWN) -> Iterator[Target]:
    """The engine called *name* with *weights* in float32, over HTTP by *profile*; the weights are made if needed.

    Raises:
        Missing: the engine is not installed here.
    """
    engine = ENGINES[name]
    python = engine.python()
    if way == "rerank" and engine.ranks is None:
        raise Missing("has no rerankers")
    path = engine.ranks() if way == "rerank" and engine.ranks else engine.paths[weights]()
    if way == "contract":
        yield _backend_target(name, weights, path, python)
        return
    with tempfile.TemporaryDirectory(prefix="conformance-") as folder:
        served = Served(_configuration(name, weights, path, python, way), Path(folder))
        try:
            declared = declared_of(name, weights, way)
            yield _url_target(served.wait_ready(timeout_s=_READY_S), weights, built_in()[profile], declared)
        finally:
            served.close()


def _backend_target(name: str, weights: Weights, path: Path, python: str | None) -> BackendTarget:
    (backend,) = ENGINES[name].backends()
    assert backend.options is not None
    placement = Placement(
        model=MODELS[weights],
        backend=name,
        source=f"{MODELS[weights]}, float32",
        path=str(path),
        context_tokens=CONTEXT_TOKENS[weights],
        python=python,
        options=backend.options(**ENGINES[name].options),
    )
    memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    cpu = Device(id="cpu", kind="cpu", name=_hardware(), memory_bytes=memory_bytes)
    return BackendTarget(backend, placement, devices=(cpu,), declared=WANTED, hardware=_hardware())


def _url_target(served: Served, weights: Weights, profile: Profile, declared: Declared) -> UrlTarget:
    under = "" if profile.name == _OWN else f"/{profile.name}"
    return UrlTarget(
        f"{served.url}{under}{profile.base_path}",
        model=MODELS[weights],
        query=profile.query,
        declared=declared,
        timeout_s=_READY_S,
        hardware=_hardware(),
    )


def _configuration(name: str, weights: Weights, path: Path, python: str | None, way: Way) -> str:
    task = TASKS.get(way)
    given = {**ENGINES[name].options, **({"pooling": "mean"} if task == "embed" else {})}
    options = ", ".join(f"{key} = {json.dumps(value)}" for key, value in given.items())
    context_tokens = CONTEXT_TOKENS[weights] if task is None else CONTEXT_OF_TEXTS
    lines = [
        "[server]\nport = 0",
        f'[models."{MODELS[weights]}"]\ncontext_tokens = {context_tokens}',
        *([] if task is None else [f'task = "{task}"']),
        f'[[models."{MODELS[weights]}".placements]]\nbackend = "{name}"\nsource = {json.dumps(str(path))}',
        'requires = ["cpu"]',
        f"options = {{ {options} }}",
    ]
    lines += [f"python = {json.dumps(python)}"] if python else []
    chats = [name for name, profile in built_in().items() if "chat" in profile.endpoints and name != _OWN]
    lines += [f'[[mounts]]\nprofile = "{name}"\npath = "/{name}"' for name in chats]
    lines += ['[[mounts]]\nprofile = "ollama"\npath = "/"']
    return "\n".join([*lines, ""])


def _hardware() -> str:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{cores} cores, CPU"
