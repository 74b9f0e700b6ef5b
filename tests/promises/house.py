"""A router with a small model of 8,192 tokens on each engine, and two keys."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from tests.integration.served import Served
from tests.parity.engines import ENGINES, SLOTS, Engine
from tests.promises.asking import KEYS
from tests.promises.asks import CONTEXT_TOKENS

from tests.weights import brief_gguf, brief_hf

_WEIGHTS: dict[str, Callable[[], Path]] = {"llamacpp": brief_gguf, "mlx": brief_hf, "vllm": brief_hf}
_OPTIONS: dict[str, dict[str, Any]] = {
    "llamacpp": {"slots": SLOTS, "batch_tokens": 512},
    "mlx": {"slots": SLOTS},
    "vllm": {"max_sequences": SLOTS, "cache_gib": 1},
}
HERE: Sequence[Engine] = tuple(engine for engine in ENGINES if engine.missing is None)
"""The engines that can run here."""
_LOAD_S = 900.0
_PATIENCE_S = 300.0


def config(engines: Sequence[Engine]) -> str:
    """The configuration: a model called after each of *engines*, and the keys."""
    lines = ["[server]", "port = 0"]
    for is_lenient, secret in KEYS.items():
        digest = hashlib.sha256(secret.encode()).hexdigest()
        lines += ["[[keys]]", f'name = "{secret}"', f'sha256 = "{digest}"']
        lines += ['unsupported = "report"'] if is_lenient else []
    for engine in engines:
        options = ", ".join(f"{key} = {json.dumps(value)}" for key, value in _OPTIONS[engine.backend].items())
        lines += [
            f"[models.{engine.backend}]",
            f"context_tokens = {CONTEXT_TOKENS}",
            f"[[models.{engine.backend}.placements]]",
            f'backend = "{engine.backend}"',
            f"source = {json.dumps(str(_WEIGHTS[engine.backend]()))}",
            f"options = {{ {options} }}",
            *([f"python = {json.dumps(engine.python)}"] if engine.python else []),
        ]
    return "\n".join(lines) + "\n"


@contextmanager
def serving(engines: Sequence[Engine], folder: Path) -> Iterator[httpx.Client]:
    """A client of a router with *engines*, once all of them have loaded."""
    served = Served(config(engines), folder)
    try:
        served.wait_ready(_LOAD_S)
        with httpx.Client(base_url=served.url, timeout=_PATIENCE_S, trust_env=False) as http:
            yield http
        assert served.end() == 0, served.text()
    finally:
        served.close()
