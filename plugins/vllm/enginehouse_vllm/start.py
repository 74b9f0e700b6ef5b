"""The command line and the environment of `vllm serve`, from a placement."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence

import msgspec

from enginehouse_kit.process.cuda import visible_devices
from enginehouse_kit.text.bounds import check_context
from enginehouse_kit.text.chat_messages import read_template
from enginehouse_kit.text.inputs import pooling_in
from enginehouse_plugin import Device, Placement, Task
from enginehouse_plugin.errors import LoadFailed

from .checkpoint import Checkpoint
from .environment import Installed
from .families import Parsers
from .options import VllmOptions

DEFAULT_CONTEXT_TOKENS = 8192
"""Context where the placement names none and the model allows more."""
CPU_CACHE_GIB = 4
MEMORY_SHARE = 0.9
"""Share of a GPU's memory where the option names none; vLLM is told, because `fit` counts with it."""
MAX_STOPS = 64
RANK = "rank"
"""In place of a way to pool: the model makes one score of query and document."""

_CPU_SEQUENCES, _GPU_SEQUENCES = 8, 128
_STRICT_LEVEL_SINCE = (0, 32)
_HIDES_LOG_SINCE = (0, 12)


class Launch(msgspec.Struct, frozen=True):
    """A command line, given the socket's path, and the variables that are added to the environment."""

    argv: Callable[[str], Sequence[str]]
    env: dict[str, str]


def task_of(placement: Placement, checkpoint: Checkpoint) -> Task:
    """What the model is for: as its owner says, else as its weights do."""
    if placement.task is not None:
        return placement.task
    if any(name.endswith("ForSequenceClassification") for name in checkpoint.architectures):
        return "rerank"
    is_encoder = any(name.endswith("Model") for name in checkpoint.architectures)
    return "embed" if is_encoder or pooling_in(checkpoint.folder) is not None else "chat"


def pooling(placement: Placement, options: VllmOptions, checkpoint: Checkpoint) -> str | None:
    """How the tokens of a text become one vector, or `rank`: one score. None: it generates.

    Raises:
        LoadFailed: nobody says how.
    """
    task = task_of(placement, checkpoint)
    if task != "embed":
        return RANK if task == "rerank" else None
    found = options.pooling or pooling_in(checkpoint.folder)
    if found is None:
        raise LoadFailed(
            "The weights do not say how the tokens of a text become one vector: set the option pooling to what the "
            "model was trained with.",
            retryable=False,
            code="bad_options",
        )
    return found


def is_on_gpu(devices: Sequence[Device]) -> bool:
    """Whether *devices* has a GPU."""
    return any(device.kind == "cuda" for device in devices)


def context_tokens(placement: Placement, checkpoint: Checkpoint) -> int:
    """Tokens of context.

    Raises:
        LoadFailed: the placement asks for more than the model was trained for.
    """
    if not checkpoint.text_config.get("rope_scaling"):  # which stretches it
        check_context(placement.context_tokens, checkpoint.context_tokens)
    trained = checkpoint.context_tokens or DEFAULT_CONTEXT_TOKENS
    return placement.context_tokens or min(trained, DEFAULT_CONTEXT_TOKENS)


def max_sequences(options: VllmOptions, on_gpu: bool) -> int:
    """Sequences that run at once."""
    return options.max_sequences or (_GPU_SEQUENCES if on_gpu else _CPU_SEQUENCES)


def launch(
    placement: Placement,
    devices: tuple[Device, ...],
    options: VllmOptions,
    checkpoint: Checkpoint,
    installed: Installed,
    parsers: Parsers,
) -> Launch:
    """Decide how to start vLLM for *placement* on *devices*.

    Raises:
        LoadFailed: the options contradict each other or the devices.
    """
    on_gpu = is_on_gpu(devices)
    gpus = [device for device in devices if device.kind == "cuda"]
    if not on_gpu and not installed.is_for_cpu:
        raise LoadFailed(
            f"This placement runs on a processor, but the vLLM of '{installed.python}' ({installed.vllm}) is built for "
            "GPUs. Name the interpreter of a CPU build with python, or let the placement require cuda.",
            retryable=False,
            code="engine_without_cpu",
        )
    if on_gpu and installed.is_for_cpu:
        raise LoadFailed(
            f"This placement runs on a GPU, but the vLLM of '{installed.python}' ({installed.vllm}) is built for "
            "processors. Name the interpreter of a CUDA build with python.",
            retryable=False,
            code="engine_without_gpu",
        )
    if options.sleep and not on_gpu:
        raise LoadFailed(
            "sleep = true needs a GPU: on a processor vLLM cannot sleep.", retryable=False, code="bad_options"
        )
    parallel = options.tensor_parallel or max(len(gpus), 1)
    if parallel > max(len(gpus), 1):
        raise LoadFailed(
            f"tensor_parallel = {parallel}, but this placement has {max(len(gpus), 1)} device(s).",
            retryable=False,
            code="bad_options",
        )
    heads = checkpoint.heads
    if heads % parallel:
        raise LoadFailed(
            f"{parallel} GPUs cannot share this model's {heads} attention heads evenly. Set tensor_parallel to a "
            f"number that divides {heads}.",
            retryable=False,
            code="bad_options",
        )
    before, after = _arguments(placement, options, checkpoint, installed, parsers, on_gpu, parallel)
    program = [installed.python, "-m", "vllm.entrypoints.cli.main", "serve", *before]
    return Launch(
        lambda socket: [*program, "--uds", socket, *after, *options.extra_arguments],
        _environment(options, gpus[:parallel], on_gpu),
    )


def _arguments(
    placement: Placement,
    options: VllmOptions,
    checkpoint: Checkpoint,
    installed: Installed,
    parsers: Parsers,
    on_gpu: bool,
    parallel: int,
) -> tuple[list[str], list[str]]:
    """What stands before and behind the socket."""
    values: dict[str, object] = {
        "--served-model-name": placement.model,
        "--generation-config": "vllm",  # or the weights' own sampling values and caps would stand for absent ones
        "--dtype": options.dtype if on_gpu else checkpoint.dtype(options.dtype, on_gpu),
        "--max-model-len": context_tokens(placement, checkpoint),
        "--max-num-seqs": max_sequences(options, on_gpu),
        "--tensor-parallel-size": parallel,
        "--structured-outputs-config": json.dumps({"backend": options.structured_outputs}),
    }
    if on_gpu and options.cache_gib is not None:
        values["--kv-cache-memory-bytes"] = options.cache_gib * 2**30
    optional = {
        "--quantization": options.quantization,
        "--max-num-batched-tokens": options.batch_tokens,
        "--gpu-memory-utilization": (options.memory_share or MEMORY_SHARE) if on_gpu else None,
        "--kv-cache-dtype": None if options.cache_type == "auto" else options.cache_type,
        "--chat-template": options.chat_template_file or options.chat_template,
        "--reasoning-parser": parsers.reasoning,
    }
    values.update({name: value for name, value in optional.items() if value is not None})
    flags = ["--enable-prompt-tokens-details"]
    if installed.release >= _HIDES_LOG_SINCE:
        flags.append("--disable-uvicorn-access-log")
    if parsers.tool is not None:
        values["--tool-call-parser"] = parsers.tool
        flags.append("--enable-auto-tool-choice")
        if installed.release >= _STRICT_LEVEL_SINCE:
            values["--tool-strict-level"] = "parameter"  # or arguments need not fit their schema
    if options.eager if options.eager is not None else not on_gpu:
        flags.append("--enforce-eager")
    if not options.prefix_cache:
        flags.append("--no-enable-prefix-caching")
    if options.sleep:
        flags.append("--enable-sleep-mode")
    if options.trust_remote_code:
        flags.append("--trust-remote-code")
    pooled = pooling(placement, options, checkpoint)
    if pooled is not None:
        values["--runner"] = "pooling"
        values["--convert"] = "embed" if pooled != RANK else "auto"
        if pooled != RANK:
            values["--pooler-config"] = json.dumps({"pooling_type": pooled.upper(), "use_activation": True})
    return [str(placement.path)], [*(part for name, value in values.items() for part in (name, str(value))), *flags]


def _environment(options: VllmOptions, gpus: Sequence[Device], on_gpu: bool) -> dict[str, str]:
    env = {
        "HF_HUB_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "VLLM_MAX_STOP_STRINGS": str(MAX_STOPS),
        "VLLM_MAX_N_SEQUENCES": "16384",
        "VLLM_API_KEY": "",  # one in the router's own environment would lock the adapter out
        "VLLM_CONFIGURE_LOGGING": "1",
        "VLLM_LOGGING_LEVEL": "INFO",
        "PYTHONUNBUFFERED": "1",
        # For `/collective_rpc`, which the workers of the engine answer: calls of any method, so the socket's folder is
        # 0700.
        "VLLM_SERVER_DEV_MODE": "1",
    }
    if on_gpu:
        env |= visible_devices(gpus)
    else:
        env["VLLM_CPU_KVCACHE_SPACE"] = str(options.cache_gib or CPU_CACHE_GIB)
        env["VLLM_CPU_NUM_OF_RESERVED_CPU"] = "0"  # or one processor idles
        env["OMP_WAIT_POLICY"] = os.environ.get("OMP_WAIT_POLICY", "passive")
    return {**env, **options.environment}


def template_text(options: VllmOptions, checkpoint: Checkpoint) -> str | None:
    """The chat template that will be used.

    Raises:
        LoadFailed: the file of the option cannot be read.
    """
    if options.chat_template is not None:
        return options.chat_template
    if options.chat_template_file is None:
        return checkpoint.template
    return read_template(options.chat_template_file)
