"""The two ways to start llama.cpp's server, and what is installed of either."""

from __future__ import annotations

import asyncio
import importlib.metadata
import importlib.util
import json
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from enginehouse_kit.process.cgroups import usable_processors
from enginehouse_kit.process.cuda import visible_devices
from enginehouse_kit.text.bounds import check_context
from enginehouse_kit.text.chat_messages import read_template
from enginehouse_plugin import Device, Placement, Task
from enginehouse_plugin.errors import EngineMissing, LoadFailed

from . import step
from .devices import visible
from .gguf import RANK, Gguf
from .options import LlamaCppOptions

DEFAULT_CONTEXT_TOKENS = 8192
"""Context of a slot where the placement names none and the model allows more."""

FIX = "Install it with: pip install 'enginehouse-llamacpp[engine]' (or put llama-server on the PATH)"
_EMBEDDED = str(Path(__file__).with_name("embedded.py"))
_SPARE_HTTP_THREADS = 16  # for health, slots and tokenize calls beside one connection for each sequence
_ALL_LAYERS = 999
_ENCODERS = frozenset({
    "bert", "nomic-bert", "nomic-bert-moe", "jina-bert-v2", "jina-bert-v3", "neo-bert", "modern-bert", "eurobert",
    "gemma-embedding",
})  # fmt: skip
"""Architectures that generate nothing."""


class Launch(msgspec.Struct, frozen=True):
    """A command line, given the socket's path, and its environment."""

    argv: Callable[[str], Sequence[str]]
    env: dict[str, str]


def embedded_version() -> str | None:
    """Version of xllamacpp in this interpreter, without importing it."""
    if importlib.util.find_spec("xllamacpp") is None:
        return None
    return importlib.metadata.version("xllamacpp")


async def binary_version(path: str) -> str:
    """What `llama-server --version` says, or an empty text."""
    process = await asyncio.create_subprocess_exec(
        path, "--version", stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await process.communicate()
    lines = [line for line in output.decode(errors="replace").splitlines() if line.startswith("version")]
    return lines[0].partition(":")[2].strip() if lines else ""


def context_tokens(placement: Placement, model: Gguf) -> int:
    """Tokens of context of one slot.

    Raises:
        LoadFailed: the placement asks for more than the model was trained for.
    """
    if not (placement.options and placement.options.extra_arguments):  # they may stretch it
        check_context(placement.context_tokens, model.training_context)
    trained = model.training_context or DEFAULT_CONTEXT_TOKENS
    return placement.context_tokens or min(trained, DEFAULT_CONTEXT_TOKENS)


def task_of(placement: Placement, model: Gguf) -> Task:
    """What *model* is for: as its owner says, else as its weights do."""
    if placement.task is not None:
        return placement.task
    if model.pooling == RANK:
        return "rerank"
    return "embed" if model.pooling is not None or model.architecture in _ENCODERS else "chat"


def pooling(placement: Placement, options: LlamaCppOptions, model: Gguf) -> str | None:
    """How the tokens of a text become one vector, or `rank`: one score. None: it generates.

    Raises:
        LoadFailed: nobody says how.
    """
    task = task_of(placement, model)
    if task == "chat":
        return None
    if task == "rerank":
        return RANK
    found = options.pooling or model.pooling
    if found is None or found == RANK:
        raise LoadFailed(
            "The weights do not say how the tokens of a text become one vector: set the option pooling to what the "
            "model was trained with.",
            retryable=False,
            code="bad_options",
        )
    return found


def is_on_gpu(devices: tuple[Device, ...]) -> bool:
    """Whether layers go to a GPU."""
    return any(device.kind != "cpu" for device in devices)


def micro_batch_tokens(options: LlamaCppOptions, on_gpu: bool) -> int:
    """Prompt tokens that are computed at once, in which the engine needs room for one token of each slot.

    A longer step is made of several: what it needs of memory stays bounded.
    """
    return max(step.given(options, on_gpu) or step.TRIED, options.slots)


def launch(
    placement: Placement,
    devices: tuple[Device, ...],
    options: LlamaCppOptions,
    model: Gguf,
    step_tokens: int = step.TRIED,
) -> Launch:
    """Decide how to start the engine for *placement* on *devices*, with steps of *step_tokens* unless options say else.

    Raises:
        EngineMissing: neither way is installed.
        LoadFailed: the options contradict what is installed.
    """
    gpus = [device for device in devices if device.kind != "cpu"]
    layers = options.gpu_layers if options.gpu_layers is not None else (_ALL_LAYERS if gpus else 0)
    settings: dict[str, object] = {
        "model": placement.path,
        "slots": options.slots,
        "context_tokens": context_tokens(placement, model),
        "batch_tokens": max(step.given(options, bool(gpus)) or step_tokens, options.slots),
        "micro_batch_tokens": min(micro_batch_tokens(options, bool(gpus)), max(step_tokens, options.slots)),
        "gpu_layers": layers,
        "http_threads": options.slots + _SPARE_HTTP_THREADS,
        "threads": options.threads or usable_processors(),
        "flash": {"auto": "AUTO", "on": "ENABLED", "off": "DISABLED"}[options.flash],
        "cache_type_k": options.cache_type_k,
        "cache_type_v": options.cache_type_v,
        "cache_ram_mib": options.prefix_cache_mib if options.prefix_cache else 0,
        "memory_map": options.memory_map,
        "chat_template": _template(options),
        "pooling": pooling(placement, options, model),
    }
    if settings["pooling"] is not None:  # a text is read in one step, or it could not be pooled
        settings["batch_tokens"] = settings["micro_batch_tokens"] = settings["context_tokens"]
    env = {**_environment(), **visible_devices(gpus), **visible(devices)}
    binary = _binary(placement, options)
    if binary is not None:
        return Launch(lambda socket: [binary, *_arguments(settings, socket), *options.extra_arguments], env)
    python = placement.python or sys.executable
    return Launch(lambda socket: [python, _EMBEDDED, json.dumps({**settings, "socket": socket})], env)


def _environment() -> dict[str, str]:
    """What an engine runs best with, each unless the router's own environment says otherwise."""
    best = {
        # Threads that spin while they wait are 5 to 50 times slower where anything else uses the processors.
        "OMP_WAIT_POLICY": "passive",
        # Each thread that answers HTTP keeps what it once needed: 700 MiB after one answer with log probabilities.
        "MALLOC_ARENA_MAX": "2",
    }
    return {name: os.environ.get(name, value) for name, value in best.items()}


def _binary(placement: Placement, options: LlamaCppOptions) -> str | None:
    """Path of the program to start, or None for the embedded engine."""
    embedded_is_here = placement.python is not None or embedded_version() is not None
    if options.start == "embedded" or (options.start == "auto" and options.binary is None and embedded_is_here):
        if not embedded_is_here:
            raise EngineMissing("xllamacpp", fix=FIX)
        if options.extra_arguments:
            raise LoadFailed(
                'extra_arguments are for a llama-server program: set start = "binary".',
                retryable=False,
                code="bad_options",
            )
        return None
    name = options.binary or "llama-server"
    path = shutil.which(name)
    if path is None:
        raise EngineMissing(name, fix=FIX)
    return path


def template(options: LlamaCppOptions, model: Gguf) -> tuple[str | None, str]:
    """The chat template that will be used, and where it is from in words.

    Raises:
        LoadFailed: the file of the option cannot be read.
    """
    own = _template(options)
    if own is not None:
        return own, f"'{options.chat_template_file}'" if options.chat_template_file else "the option chat_template"
    of_model = model.metadata.get("tokenizer.chat_template")
    return (of_model if isinstance(of_model, str) else None), "the weights"


def _template(options: LlamaCppOptions) -> str | None:
    if options.chat_template_file is None:
        return options.chat_template
    return read_template(options.chat_template_file)


def _arguments(settings: dict[str, object], socket: str) -> list[str]:
    """Turn *settings* into the arguments of llama-server."""
    slots, context = int(str(settings["slots"])), int(str(settings["context_tokens"]))
    arguments = {
        "--model": settings["model"],
        "--host": socket,
        "--parallel": slots,
        "--ctx-size": slots * context,
        "--batch-size": settings["batch_tokens"],
        "--ubatch-size": settings["micro_batch_tokens"],
        "--gpu-layers": settings["gpu_layers"],
        "--threads-http": settings["http_threads"],
        "--threads": settings["threads"],
        "--flash-attn": {"AUTO": "auto", "ENABLED": "on", "DISABLED": "off"}[str(settings["flash"])],
        "--cache-type-k": settings["cache_type_k"],
        "--cache-type-v": settings["cache_type_v"],
        "--cache-ram": settings["cache_ram_mib"],
        "--fit": "off",
    }
    if settings["chat_template"] is not None:
        arguments["--chat-template"] = settings["chat_template"]
    if settings["pooling"] is not None:
        arguments["--pooling"] = settings["pooling"]
    flags = [
        "--jinja",
        "--metrics",
        "--slots",
        "--no-webui",
        "--offline",
        "--no-prefill-assistant",
        "--no-context-shift",
    ]
    if settings["pooling"] is not None:
        flags.append("--reranking" if settings["pooling"] == RANK else "--embeddings")
    flags.append("--no-kv-unified" if settings["pooling"] is None else "--kv-unified")  # see `embedded.parameters`
    if not settings["memory_map"]:
        flags += ["--load-mode", "none"]
    return [part for name, value in arguments.items() for part in (name, str(value))] + flags
