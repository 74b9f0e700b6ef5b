"""What the owner may set on a placement with `backend = "llamacpp"`."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from enginehouse_plugin import FilePath, ProgramPath

CacheType = Literal["f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl"]
Positive = Annotated[int, msgspec.Meta(ge=1)]


class LlamaCppOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of one placement; every one has a default that suits a first start."""

    start: Literal["auto", "embedded", "binary"] = "auto"
    """How the engine is started: `embedded` (the package xllamacpp), `binary` (a llama-server program), or
    `auto`: the binary if `binary` is set, else xllamacpp if it is installed, else llama-server on the PATH."""
    binary: ProgramPath | None = None
    """Path of a llama-server program, or its name on the PATH."""
    slots: Positive = 4
    """Sequences that run at once; each has `context_tokens` of its own."""
    threads: Positive | None = None
    """Processor threads; default: the processors that this process may use, within a container's share of time."""
    batch_tokens: Positive | None = None
    """Prompt tokens in one engine step; running streams wait no longer than that. Default: on a processor as many as
    take a quarter of a second there, measured at load (64 to 2048); 512 on a GPU."""
    reproducible: bool = False
    """The same request gives the same answer on a processor, whatever runs beside it or was cached: steps of 60
    prompt tokens, which read long prompts slowly."""
    gpu_layers: Annotated[int, msgspec.Meta(ge=0)] | None = None
    """Layers on the GPU; default: all where the placement's device is one, else none."""
    flash_attention: Literal["auto", "on", "off"] = "auto"
    """Flash attention; a quantised `cache_type_v` needs it. `auto` is off with a KV cache in f32, which has no effect
    beside it: the engine computes as with f16 then."""
    cache_type_k: CacheType = "f16"
    """Type of the keys in the KV cache."""
    cache_type_v: CacheType = "f16"
    """Type of the values in the KV cache."""
    prefix_cache: bool = True
    """Keep the KV cache of finished prompts, so that a repeated prefix is not computed again. Requests with
    a `seed` do not use it: on quantised weights a cached prefix changes the last bits of the logits."""
    prefix_cache_mib: Annotated[int, msgspec.Meta(ge=0)] = 0
    """Memory for prompts that have lost their slot, in MiB; 0: only slots keep prompts."""
    memory_map: bool = True
    """Map the weights from the file instead of reading them into memory."""
    chat_template: str | None = None
    """Jinja text that replaces the model's own chat template."""
    chat_template_file: FilePath | None = None
    """File with Jinja text that replaces the model's own chat template."""
    pooling: Literal["mean", "cls", "last"] | None = None
    """How the tokens of a text become one vector, for a model with the task `embed`; default: as its weights say."""
    load_timeout_s: Annotated[float, msgspec.Meta(gt=0)] = 600.0
    """Loading fails after this time."""
    extra_arguments: tuple[str, ...] = ()
    """Further arguments for a llama-server program, as they are; the embedded engine takes none."""

    def __post_init__(self) -> None:
        if self.chat_template is not None and self.chat_template_file is not None:
            raise ValueError("give chat_template or chat_template_file, not both")
        if self.reproducible and (self.batch_tokens or 0) > 60:
            raise ValueError("reproducible needs steps of at most 60 tokens: leave batch_tokens out")
        if self.extra_arguments and self.start == "embedded":
            raise ValueError('extra_arguments need start = "binary"')
        if self.binary is not None and self.start == "embedded":
            raise ValueError('binary cannot be used with start = "embedded"')
        if self.cache_type_v not in ("f32", "f16", "bf16") and self.flash_attention == "off":
            raise ValueError("a quantised cache_type_v needs flash_attention")
        if "f32" in (self.cache_type_k, self.cache_type_v):
            if self.flash_attention == "on":
                raise ValueError("a KV cache in f32 has no effect with flash_attention: leave it out, or take f16")
            if self.cache_type_v not in ("f32", "f16", "bf16"):
                raise ValueError("cache_type_k f32 has no effect with flash_attention, which cache_type_v needs")

    @property
    def flash(self) -> Literal["auto", "on", "off"]:
        """What the engine is told of flash attention."""
        is_exact = self.flash_attention == "auto" and "f32" in (self.cache_type_k, self.cache_type_v)
        return "off" if is_exact else self.flash_attention
