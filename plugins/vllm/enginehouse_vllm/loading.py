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
    (re.compile(r"Compiling a graph|torch\.compile took"), "compiling", 0.75),
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
    """Why loading failed, for people; *code* for programs.

    *is_memory*: the device has too little. *may_pass*: another try may succeed.
    """

    code: str
    message: str
    is_memory: bool = False
    may_pass: bool = False


# The first that matches tells the cause: those that only follow from others stand last.
# Source of the texts: vLLM 0.25.1, 0.32.0 and 0.33.0, and torch, triton and transformers as these pin them.
_REASONS = (
    (
        re.compile(
            r"Found no NVIDIA driver|NVIDIA driver on your system is too old|CUDA driver version is insufficient"
            r"|libcuda\.so|Failed to infer device type|No CUDA GPUs are available|no CUDA-capable device"
            r"|CUDA driver initialization failed|CUDA unknown error|forward compatibility was attempted"
            r"|compiled with an unsupported toolchain|Torch not compiled with CUDA enabled"
        ),
        Reason(
            "driver_missing",
            "vLLM finds no GPU driver that it can use. Install NVIDIA's driver, or a newer one (nvidia-smi shows it), "
            "or let the placement run on a processor with a CPU build of vLLM.",
        ),
    ),
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
            r"Failed to find C compiler|Could not find nvcc|CUDA_HOME environment variable is not set"
            r"|Ninja is required to load|Python\.h: No such file"
        ),
        Reason(
            "compiler_missing",
            "vLLM compiles code for this device while it starts, and a compiler is missing; its last words name it. "
            "Install gcc, the headers of Python, ninja, or the CUDA toolkit, or try eager = true.",
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
        re.compile(r"Free memory on device"),
        Reason(
            "out_of_memory",
            "Less of the GPU's memory is free than memory_share of it: something else uses this GPU. End that, or set "
            "memory_share to a smaller share.",
            is_memory=True,
        ),
    ),
    (
        re.compile(
            r"out of memory|OutOfMemoryError|No available memory for the cache blocks"
            r"|can be stored in KV cache|KV cache is needed|not enough memory|Cannot allocate memory"
            r"|can't allocate memory|Available memory on node|leaving none for the KV cache"
            r"|exceeds available Mamba cache blocks"
        ),
        Reason(
            "out_of_memory",
            "The device has too little free memory for the weights and the KV cache. Lower context_tokens, "
            "max_sequences or cache_gib, raise memory_share on a GPU, or choose smaller or quantised weights.",
            is_memory=True,
        ),
    ),
    (
        re.compile(r"No space left on device"),
        Reason(
            "disk_full",
            "A file system is full: the one of ~/.cache/vllm, where vLLM keeps what it compiles, that of temporary "
            "files, or /dev/shm, which in a container needs a larger --shm-size.",
        ),
    ),
    (
        re.compile(r"NCCL error|ncclSystemError|ncclUnhandledCudaError"),
        Reason(
            "gpus_not_connected",
            "The GPUs cannot talk to each other. Give a container more shared memory (--ipc=host), try "
            'environment = { NCCL_P2P_DISABLE = "1" }, or use one GPU: tensor_parallel = 1.',
        ),
    ),
    (
        re.compile(r"contains custom code which must be executed|`trust_remote_code=True`"),
        Reason(
            "needs_remote_code",
            "This model brings code of its own. If you trust it, set the option trust_remote_code = true.",
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
            r"Unknown quantization method|does not match the quantization method|for quantization method"
            r"|quantization is currently not supported|The quantization method .* is deprecated"
        ),
        Reason(
            "quantization_unsupported",
            "This vLLM cannot run these weights in this quantisation on this device; its last words say why. Leave the "
            "option quantization out where config.json names one, try another dtype, or choose other weights.",
        ),
    ),
    (
        re.compile(
            r"SafetensorError|Error while deserializing header|There is no module or parameter named"
            r"|Tried to load weights of size|loaded_weight|size mismatch|shape mismatch|UnpicklingError"
            r"|weights were not initialized from checkpoint|does not appear to have a file named"
            r"|Cannot find any model weights"
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
        re.compile(r"must be divisible by tensor parallel size|is larger than the number of available GPUs"),
        Reason(
            "bad_options",
            "The model cannot be shared by this many GPUs, or not all of them are there; its last words say which. Set "
            "tensor_parallel to a number that divides the model's attention heads.",
        ),
    ),
    (
        re.compile(r"validation errors? for \w*Config"),
        Reason("bad_options", "vLLM refuses the configuration; its last words say why."),
    ),
    (
        re.compile(r"Failed core proc\(s\): \{.*: -9\b|Worker proc \S+ died unexpectedly \(exit code: -9\)"),
        Reason(
            "out_of_memory",
            "A process of vLLM was killed while it loaded, as the system does where memory runs out (dmesg tells). "
            "Lower cache_gib, context_tokens or max_sequences, or choose smaller weights.",
            is_memory=True,
            may_pass=True,
        ),
    ),
)
_HARMLESS = re.compile(r"\b(?:DEBUG|INFO|WARNING) \d\d-\d\d \d\d:\d\d:\d\d")  # vLLM's form of a line


def reason_of(last_words: Sequence[str]) -> Reason | None:
    """Why the engine gave up, where its *last_words* tell; what it only notes or warns of is not why."""
    text = "\n".join(line for line in last_words if not _HARMLESS.search(line))
    return next((reason for pattern, reason in _REASONS if pattern.search(text)), None)
