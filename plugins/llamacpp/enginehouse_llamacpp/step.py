"""How many prompt tokens one step of the engine takes: as many as it computes in about a quarter of a second.

Running streams and the end of a cancelled request wait for a step, and a long prompt is read faster in long ones. What
this host does with these weights is measured once, on the loaded model.
"""

from __future__ import annotations

import time

from .gguf import Gguf
from .options import LlamaCppOptions
from .server import Server

STEP_S = 0.25
LEAST, MOST = 64, 2048
"""Below 64 tokens a step takes a quarter more processor time for each of them, and longer ones hardly less."""
TRIED = 512
"""The step that the engine is started with to be measured: with another it must be started once more."""

_ON_GPU = 512
# From 64 tokens of one sequence on, the attention of llama.cpp (build 11549) on a processor takes another way, and
# its rounding moves logits of the demo model by up to 0.3. Below, what a token computes does not depend on what shares
# its step or on how much of its prompt was cached.
_REPRODUCIBLE = 60
_LONG_ENOUGH_S = 0.1
_NEAR = 1.4

_measured: dict[tuple[object, ...], int] = {}
"""Steps by weights and options that change the pace: an engine that is started again is not measured again."""


def given(options: LlamaCppOptions, on_gpu: bool) -> int | None:
    """Return the step that *options* ask for; None: it is to be measured."""
    if options.batch_tokens is not None:
        return options.batch_tokens
    if on_gpu:
        return _ON_GPU
    return _REPRODUCIBLE if options.reproducible else None


def known(path: str, options: LlamaCppOptions) -> int | None:
    """Return the step that was measured before for the weights at *path*."""
    return _measured.get(_key(path, options))


async def measured(path: str, options: LlamaCppOptions, server: Server, model: Gguf, context_tokens: int) -> int:
    """Return the step for the weights at *path*, which *server* has loaded, and keep it."""
    pace = await _pace(server, model.vocabulary_size, min(TRIED, context_tokens - 1))
    return _measured.setdefault(_key(path, options), step_of(pace))


def step_of(tokens_per_s: float) -> int:
    """Return the step at a pace of *tokens_per_s*."""
    return min(max(int(tokens_per_s * STEP_S), LEAST), MOST)


def is_near(step: int, other: int) -> bool:
    """Whether it is not worth a second start to have *step* instead of *other*."""
    return other / _NEAR <= step <= other * _NEAR


def _key(path: str, options: LlamaCppOptions) -> tuple[object, ...]:
    return (path, options.threads, options.binary, options.start, options.flash)


async def _pace(server: Server, vocabulary_size: int, most: int) -> float:
    """Prompt tokens a second, by a prompt that takes long enough to tell: a slow host is not kept busy for long."""
    count = min(16, most)
    while True:
        prompt = [number * 7919 % vocabulary_size for number in range(1, count + 1)]
        body = {"prompt": prompt, "n_predict": 1, "n_probs": 1, "cache_prompt": False, "temperature": 0}
        began_at = time.perf_counter()
        await server.alternatives(body)
        took_s = time.perf_counter() - began_at
        if took_s >= _LONG_ENOUGH_S or count == most:
            return count / took_s
        count = min(count * 4, most)
