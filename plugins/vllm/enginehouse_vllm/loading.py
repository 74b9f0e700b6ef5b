"""What vLLM's log tells while it loads: how far it is, and why it gave up."""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

from enginehouse_plugin import LoadProgress

# Lines that tell how far it is, with the share of the time that has gone by on the machines this was measured on.
_STAGES = (
    (re.compile(r"non-default args"), "reading the configuration", 0.05),
    (re.compile(r"Initializing a V\d LLM engine"), "starting the engine", 0.3),
    (re.compile(r"Starting to load model"), "loading weights", 0.5),
    (re.compile(r"Loading weights took"), "weights loaded", 0.7),
    (re.compile(r"torch\.compile takes|Compiling a graph"), "compiling", 0.75),
    (re.compile(r"KV cache size"), "reserving the cache", 0.85),
    (re.compile(r"Capturing CUDA graphs|Capturing cudagraphs"), "capturing CUDA graphs", 0.9),
    (re.compile(r"Starting vLLM (?:API )?server"), "starting server", 0.95),
)
_SHARDS = re.compile(r"checkpoint shards:\s+(\d+)% Completed")
_WEIGHTS_FROM, _WEIGHTS_TO = 0.5, 0.7


def stage_of(line: str) -> LoadProgress | None:
    """How far the engine is, where *line* tells."""
    shards = _SHARDS.search(line)
    if shards is not None:
        done = int(shards.group(1)) / 100
        return LoadProgress(
            stage="loading weights", fraction=round(_WEIGHTS_FROM + (_WEIGHTS_TO - _WEIGHTS_FROM) * done, 3)
        )
    for pattern, stage, fraction in _STAGES:
        if pattern.search(line):
            return LoadProgress(stage=stage, fraction=fraction)
    return None


class Reason(msgspec.Struct, frozen=True):
    """Why loading failed, for people; *code* for programs. *is_memory*: the device has too little."""

    code: str
    message: str
    is_memory: bool = False


# The first that matches tells the cause: those that only follow from others stand last.
_REASONS = (
    (
        re.compile(r"No module named '?vllm|cannot import name|undefined symbol|ImportError: lib"),
        Reason(
            "engine_broken",
            "vLLM cannot be imported in its environment: its packages do not fit each other. Build the environment "
            "anew: pip install vllm into an empty one.",
        ),
    ),
    (
        re.compile(
            r"Found no NVIDIA driver|NVIDIA driver on your system is too old|CUDA driver version is insufficient"
            r"|libcuda\.so|Failed to infer device type|No CUDA GPUs are available|no CUDA-capable device"
        ),
        Reason(
            "driver_missing",
            "vLLM finds no GPU driver that it can use. Install NVIDIA's driver, or a newer one (nvidia-smi shows it), "
            "or let the placement run on a processor with a CPU build of vLLM.",
        ),
    ),
    (
        re.compile(r"no kernel image is available|Minimum capability|compute capability"),
        Reason(
            "gpu_too_old",
            "This GPU is too old for this model or this build of vLLM. Choose another dtype or quantization, or let "
            "the placement require a higher compute capability.",
        ),
    ),
    (
        re.compile(
            r"out of memory|OutOfMemoryError|Free memory on device|No available memory for the cache blocks"
            r"|can be stored in KV cache|KV cache is needed|not enough memory|Cannot allocate memory"
            r"|can't allocate memory|Available memory on node"
        ),
        Reason(
            "out_of_memory",
            "The device has too little free memory for the weights and the KV cache. Lower context_tokens, "
            "max_sequences or cache_gib, raise memory_share on a GPU, or choose smaller or quantised weights.",
            is_memory=True,
        ),
    ),
    (
        re.compile(
            r"are not supported for now|does not recognize this architecture|Unrecognized model in|"
            r"has no vLLM implementation|no transformers model|Cannot find model module"
        ),
        Reason(
            "unknown_architecture",
            "This vLLM does not know the model's architecture. A newer vLLM may; models that bring their own code "
            "need trust_remote_code = true.",
        ),
    ),
    (
        re.compile(
            r"SafetensorError|Error while deserializing header|There is no module or parameter named"
            r"|Tried to load weights of size|loaded_weight|size mismatch|shape mismatch|UnpicklingError"
            r"|weights were not initialized from checkpoint|does not appear to have a file named"
        ),
        Reason(
            "bad_weights",
            "The weights cannot be read, or are not those that config.json describes. Fetch the model again.",
        ),
    ),
    (
        re.compile(r"Can't load tokenizer|Couldn't instantiate the backend tokenizer|tokenizer\.json"),
        Reason("bad_tokenizer", "The model's tokenizer cannot be read. Fetch the model again."),
    ),
    (
        re.compile(r"unrecognized arguments|invalid choice|serve: error|expected one argument"),
        Reason("bad_options", "vLLM does not take one of the options; its last words name it."),
    ),
    (
        re.compile(r"greater than the derived max_model_len"),
        Reason(
            "bad_options",
            "context_tokens is more than the model was trained for. Lower it, or set VLLM_ALLOW_LONG_MAX_MODEL_LEN in "
            "the option environment if the model can be stretched.",
        ),
    ),
    (
        re.compile(r"validation errors? for \w*Config"),
        Reason("bad_options", "vLLM refuses the configuration; its last words say why."),
    ),
)


def reason_of(last_words: Sequence[str]) -> Reason | None:
    """Why the engine gave up, where its *last_words* tell."""
    text = "\n".join(last_words)
    return next((reason for pattern, reason in _REASONS if pattern.search(text)), None)
