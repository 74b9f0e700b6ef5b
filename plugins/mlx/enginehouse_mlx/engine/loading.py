"""From a folder of weights to a model in memory; runs on the thread that owns it."""

from __future__ import annotations

import ctypes
import gc
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import mlx.core as mx
import msgspec
from mlx.utils import tree_flatten
from mlx_lm.models.cache import make_prompt_cache
from mlx_lm.utils import load_model, load_tokenizer

from enginehouse_kit.text.chat_messages import read_template as template_file
from enginehouse_mlx.options import MlxOptions
from enginehouse_plugin import Device, LoadProgress, OnProgress
from enginehouse_plugin.errors import DoesNotFit, LoadFailed

from .templates import ModelTemplate, read_template
from .vocabulary import Vocabulary

_EVALUATED_AT_ONCE = 256 * 2**20
_FREED_CACHE_BYTES = 256 * 2**20
"""Freed memory that MLX keeps for itself on a processor; its own limit is all of the memory."""


class LoadedModel(msgspec.Struct, frozen=True):
    """A model, its tokenizer and its template. mlx_lm has no types."""

    model: Any
    tokenizer: Any
    vocabulary: Vocabulary
    template: ModelTemplate

    def beside(self) -> LoadedModel:
        """All of it but the model itself, whose memory belongs to one thread alone."""
        return msgspec.structs.replace(self, model=None)


def load(
    path: Path, options: MlxOptions, devices: Sequence[Device], memory_limit_bytes: int | None, progress: OnProgress
) -> LoadedModel:
    """Load the weights in *path*.

    Raises:
        LoadFailed, DoesNotFit: it could not be made; the error says why.
    """
    _choose_device(devices, memory_limit_bytes)
    progress(LoadProgress(stage="loading weights", fraction=0.1))
    try:
        model, config = load_model(path, lazy=True)
        if options.dtype is not None:
            model.set_dtype(getattr(mx, options.dtype))
        _evaluate(model, progress)
        progress(LoadProgress(stage="loading tokenizer", fraction=0.8))
        tokenizer = _tokenizer(path, config)
        template = read_template(tokenizer, _template_text(options))
        progress(LoadProgress(stage="warming up", fraction=0.9))
        vocabulary = _vocabulary(tokenizer, _warm_up(model), template, path)
    except (LoadFailed, DoesNotFit):
        raise
    except Exception as error:
        raise _explained(error, path, devices, memory_limit_bytes) from error
    return LoadedModel(model, tokenizer, vocabulary, template)


def give_back() -> None:
    """Have the system take back what nobody refers to any more."""
    gc.collect()
    mx.clear_cache()
    # glibc keeps what was freed once, and would for as long as the process lives.
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _choose_device(devices: Sequence[Device], memory_limit_bytes: int | None) -> None:
    wants_gpu = any(device.kind == "apple" for device in devices)
    if wants_gpu and not mx.metal.is_available():
        raise LoadFailed(
            "This build of MLX has no Metal, which the placement's device needs.",
            retryable=False,
            code="engine_without_gpu",
        )
    if not wants_gpu:
        mx.set_default_device(mx.cpu)
        mx.disable_compile()  # on a processor it runs a C++ compiler, which may not be there, and gains little
        mx.set_cache_limit(_FREED_CACHE_BYTES)
    elif memory_limit_bytes is not None:
        # Not MLX's own memory limit as well: near it every operation waits for memory.
        mx.set_cache_limit(max(memory_limit_bytes // 8, _FREED_CACHE_BYTES))


def _evaluate(model: Any, progress: OnProgress) -> None:  # Any: mlx_lm has no types
    """Read the weights, some at a time, so that the progress can be told."""
    parameters: Any = tree_flatten(model.parameters())  # Any: its type allows for other forms
    arrays: list[mx.array] = [array for _, array in parameters]
    total = sum(array.nbytes for array in arrays) or 1
    done = waiting = 0
    group: list[mx.array] = []
    for array in arrays:
        group.append(array)
        waiting += array.nbytes
        if waiting >= _EVALUATED_AT_ONCE:
            mx.eval(group)
            done, waiting, group = done + waiting, 0, []
            progress(LoadProgress(stage="loading weights", fraction=0.1 + 0.7 * done / total))
    mx.eval(group)


def _tokenizer(path: Path, config: dict[str, Any]) -> Any:  # JSON; mlx_lm has no types
    try:
        tokenizer = load_tokenizer(path, eos_token_ids=config.get("eos_token_id"))
    except Exception as error:
        raise LoadFailed(
            f"The tokenizer in '{path}' cannot be loaded: {error}", retryable=False, code="bad_tokenizer"
        ) from error
    if not hasattr(tokenizer, "backend_tokenizer"):
        raise LoadFailed(
            f"'{path}' has no tokenizer.json; tokenizers of other forms are not supported.",
            retryable=False,
            code="bad_tokenizer",
        )
    return tokenizer


def _vocabulary(tokenizer: Any, size: int, template: ModelTemplate, path: Path) -> Vocabulary:  # mlx_lm has no types
    """The tokens that the model has *size* logits for."""
    eos_ids = [identity for identity in tokenizer.eos_token_ids if identity < size]
    if not eos_ids:
        raise LoadFailed(
            f"Neither config.json nor the tokenizer in '{path}' names an end-of-sequence token of this model.",
            retryable=False,
            code="bad_tokenizer",
        )
    known = tokenizer.backend_tokenizer.get_vocab_size(with_added_tokens=False)
    if known > size:
        raise LoadFailed(
            f"The tokenizer in '{path}' has {known} tokens, and the model only {size}. Take the tokenizer that the "
            "model was made with.",
            retryable=False,
            code="bad_tokenizer",
        )
    return Vocabulary(tokenizer, size, eos_ids, template.visible_marks)


def _template_text(options: MlxOptions) -> str | None:
    path = options.chat_template_file
    return options.chat_template if path is None else template_file(path)


def _warm_up(model: Any) -> int:  # Any: mlx_lm has no types
    """Compute one token; returns the number of logits."""
    cache = make_prompt_cache(model)
    unbatched = {type(part).__name__ for part in cache if not hasattr(part, "merge")}
    if unbatched:
        raise LoadFailed(
            f"This architecture's cache ({', '.join(sorted(unbatched))}) cannot hold several sequences in mlx_lm, "
            "which continuous batching needs.",
            retryable=False,
            code="unknown_architecture",
        )
    logits = model(mx.array([[0]]), cache=cache)
    mx.eval(logits)
    return int(logits.shape[-1])


def _explained(
    error: Exception, path: Path, devices: Sequence[Device], memory_limit_bytes: int | None
) -> LoadFailed | DoesNotFit:
    """Tell apart why mlx_lm gave up."""
    text = f"{type(error).__name__}: {error}"
    says: Callable[..., bool] = lambda *words: any(word in text for word in words)  # noqa: E731
    if says("unable to allocate", "Unable to allocate", "Attempting to allocate", "bad_alloc"):
        needed = sum(os.path.getsize(file) for file in path.glob("model*.safetensors"))
        device = devices[0].id if devices else "cpu"
        free = memory_limit_bytes or (devices[0].free_bytes if devices else None) or 0
        return DoesNotFit(device=device, needed_bytes=needed, free_bytes=free)
    if says("not supported", "requires importing and running a custom module", "unexpected keyword"):
        return LoadFailed(
            f"mlx_lm cannot run the architecture of '{path}': {error} A newer mlx-lm may know it.",
            retryable=False,
            code="unknown_architecture",
        )
    return LoadFailed(f"mlx_lm cannot load '{path}': {text}", retryable=False, code="bad_weights")
