"""What the owner may set on a placement with `backend = "mlx"`."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from enginehouse_plugin import FilePath

Positive = Annotated[int, msgspec.Meta(ge=1)]
DType = Literal["float32", "bfloat16", "float16"]


class MlxOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of one placement; every one has a default that suits a first start."""

    slots: Positive = 8
    """Sequences that run at once; each has `context_tokens` of its own."""
    batch_tokens: Positive | None = None
    """Prompt tokens of one sequence in one engine step, which running streams wait for; several prompts are read
    side by side. Default: 128 on a processor, 512 on Apple silicon."""
    dtype: DType | None = None
    """Type that floating-point weights are converted to; default: as stored. Quantised weights stay as they are."""
    prefix_cache: bool = True
    """Keep the KV cache of finished requests, so that a repeated prefix is not computed again. Requests with a
    `seed` do not read it: where a type is shorter than 32 bits, a cached prefix changes the last bits."""
    prefix_cache_mib: Annotated[int, msgspec.Meta(ge=0)] = 512
    """Memory for KV caches of finished requests, in MiB; the least recently used give way."""
    memory_limit_mib: Positive | None = None
    """Memory for weights and KV caches together, in MiB. A model that needs more fails to load; a request that
    would beside those that run is refused as overload, one that would alone as invalid. What a single step needs
    comes on top. Default: no limit."""
    chat_template: str | None = None
    """Jinja text that replaces the model's own chat template."""
    chat_template_file: FilePath | None = None
    """File with Jinja text that replaces the model's own chat template."""
    pooling: Literal["mean", "cls", "last"] | None = None
    """How the tokens of a text become one vector, for a model with the task `embed`; default: as its weights say."""
    load_timeout_s: Annotated[float, msgspec.Meta(gt=0)] = 600.0
    """Loading fails after this time."""

    def __post_init__(self) -> None:
        if self.chat_template is not None and self.chat_template_file is not None:
            raise ValueError("give chat_template or chat_template_file, not both")
