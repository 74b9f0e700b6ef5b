"""What the owner may set on a placement with `backend = "vllm"`."""

from __future__ import annotations

import re
from typing import Annotated, Literal

import msgspec

from enginehouse_plugin import FilePath

Positive = Annotated[int, msgspec.Meta(ge=1)]
Share = Annotated[float, msgspec.Meta(gt=0, le=1)]

_WRITTEN_FROM = {
    "--dtype": "dtype",
    "--quantization": "quantization",
    "-q": "quantization",
    "--max-num-seqs": "max_sequences",
    "--max-num-batched-tokens": "batch_tokens",
    "--tensor-parallel-size": "tensor_parallel",
    "-tp": "tensor_parallel",
    "--gpu-memory-utilization": "memory_share",
    "--kv-cache-memory-bytes": "cache_gib",
    "--kv-cache-dtype": "cache_type",
    "--enable-prefix-caching": "prefix_cache",
    "--structured-outputs-config": "structured_outputs",
    "--tool-call-parser": "tool_parser",
    "--reasoning-parser": "reasoning_parser",
    "--chat-template": "chat_template",
    "--enforce-eager": "eager",
    "--enable-sleep-mode": "sleep",
    "--trust-remote-code": "trust_remote_code",
    "--max-model-len": "context_tokens",
}
"""Arguments that are written from options, and `context_tokens`."""
_NOT_OPEN = frozenset(
    {
        *("--model", "--served-model-name", "--uds", "--host", "--port", "--api-key", "--ssl-keyfile"),
        *("--ssl-certfile", "--root-path", "--headless", "--grpc", "--generation-config", "--logprobs-mode"),
        *("--disable-log-stats", "--enable-force-include-usage", "--enable-prompt-tokens-details"),
        *("--enable-auto-tool-choice", "--tool-strict-level", "--disable-uvicorn-access-log"),
        *("--enable-log-requests", "--enable-log-outputs"),
    }
)
"""Arguments that would cut the adapter off from its server, change what it answers, or log what clients write."""
_SETS_DEVICES = frozenset({"CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"})


class VllmOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of one placement; every one has a default that suits a first start."""

    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Type that the model computes in; `auto`: as its weights are, on a processor bfloat16 for those in float16."""
    quantization: str | None = None
    """How the weights are quantised, where `config.json` does not say: a name that vLLM knows (`awq`, `fp8`, …)."""
    max_sequences: Positive | None = None
    """Sequences that run at once. Default: 128 on a GPU, 8 on a processor."""
    batch_tokens: Positive | None = None
    """Tokens of prompts in one step; default: vLLM's own for the device."""
    tensor_parallel: Positive | None = None
    """GPUs that share each layer; default: all of the placement."""
    memory_share: Share | None = None
    """Share of each GPU's memory that weights and cache may take; default: 0.9."""
    cache_gib: Positive | None = None
    """KV cache in GiB on each device. Default: on a GPU what `memory_share` leaves, on a processor 4."""
    cache_type: Literal["auto", "fp8", "fp8_e4m3", "fp8_e5m2", "bfloat16"] = "auto"
    """Type of the KV cache; `auto`: the model's."""
    prefix_cache: bool = True
    """Keep the KV cache of finished prompts, so that a repeated prefix is not computed again."""
    structured_outputs: Literal["xgrammar", "auto"] = "xgrammar"
    """What holds the output to a grammar; `auto` lets vLLM choose."""
    tool_parser: str = "auto"
    """vLLM's parser of tool calls. `auto`: by the model's family; `none`: calls in the adapter's own form."""
    reasoning_parser: str = "auto"
    """vLLM's parser of reasoning. `auto`: by the model's family; `none`: none."""
    chat_template: str | None = None
    """Jinja text that replaces the model's own chat template."""
    chat_template_file: FilePath | None = None
    """File with Jinja text that replaces the model's own chat template."""
    eager: bool | None = None
    """Compile nothing and capture no CUDA graphs: starts faster, runs slower. Default: true on a processor."""
    sleep: bool = False
    """Let the model sleep: its memory on the GPU is given back, and it returns faster than by loading."""
    trust_remote_code: bool = False
    """Run code that comes with the weights."""
    pooling: Literal["mean", "cls", "last"] | None = None
    """How the tokens of a text become one vector, for a model with the task `embed`; default: as its weights say."""
    load_timeout_s: Annotated[float, msgspec.Meta(gt=0)] = 1800.0
    """Loading fails after this time."""
    environment: dict[str, str] = {}
    """Further environment variables of the engine."""
    extra_arguments: tuple[str, ...] = ()
    """Further arguments of `vllm serve`, as they are; none that an option stands for."""

    def __post_init__(self) -> None:
        if self.chat_template is not None and self.chat_template_file is not None:
            raise ValueError("give chat_template or chat_template_file, not both")
        for argument in self.extra_arguments:
            name = _name_of(argument)
            if name in _WRITTEN_FROM:
                raise ValueError(f"extra_arguments cannot have {argument}: set {_WRITTEN_FROM[name]} instead")
            if name in _NOT_OPEN:
                raise ValueError(f"extra_arguments cannot have {argument}: Enginehouse decides it")
        for name in _SETS_DEVICES & self.environment.keys():
            raise ValueError(f"environment cannot have {name}: the placement's devices decide it")


def _name_of(argument: str) -> str:
    """The name of a command line's part, as vLLM reads it: `--max_num_seqs=4` is `--max-num-seqs`."""
    name = re.split(r"[=.]", argument, maxsplit=1)[0].replace("_", "-")
    return f"--{name.removeprefix('--no-')}" if name.startswith("--no-") else name
